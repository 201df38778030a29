"""Keys of an issuer: rotation, an issuer that is away, and how often it is asked."""

from __future__ import annotations

import asyncio
import json
import ssl
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey, RSAKey

from serve.auth import jwks
from serve.auth.fetching import MAX_BYTES, Fetcher, FetchError
from serve.auth.jwks import JwksUrl, KeySet
from serve.errors import ServiceError
from tests.serve.auth.idp import Idp


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def source(idp: Idp, clock: Clock) -> JwksUrl:
    return JwksUrl(idp.jwks_url, Fetcher(total_s=2), stale_s=24 * 3600, clock=clock)


async def kids(source: JwksUrl, kid: str) -> list[str | None]:
    return [key.kid for key in await source.find(kid, "ES384")]


def test_many_at_once_cost_one_fetch(source: JwksUrl, idp: Idp) -> None:
    async def ask() -> list[list[str | None]]:
        return await asyncio.gather(*(kids(source, "ec-1") for _ in range(50)))

    assert asyncio.run(ask()) == [["ec-1"]] * 50
    assert idp.requests == ["/jwks"]


def test_an_unknown_kid_is_looked_up_at_most_once_in_half_a_minute(source: JwksUrl, idp: Idp, clock: Clock) -> None:
    async def run() -> None:
        await kids(source, "ec-1")
        clock.now += 5
        idp.rotate("ec-2", keep=True)
        assert await kids(source, "ec-2") == ["ec-2"]  # a rotation is found at once
        assert await kids(source, "ec-1") == ["ec-1"]
        assert len(idp.requests) == 2
        clock.now += 5
        for forged in range(200):
            assert await kids(source, f"forged-{forged}") == []
        assert len(idp.requests) == 2
        clock.now += jwks.UNKNOWN_KID_S
        await asyncio.gather(*(kids(source, f"forged-{forged}") for forged in range(200)))
        assert len(idp.requests) == 3

    asyncio.run(run())


def test_a_stale_set_is_fetched_again_behind_the_answer(source: JwksUrl, idp: Idp, clock: Clock) -> None:
    async def run() -> None:
        assert await kids(source, "ec-1") == ["ec-1"]
        before = source.generation
        idp.rotate("ec-2")
        clock.now += 61  # over its max-age
        assert await kids(source, "ec-1") == ["ec-1"]  # not waited for
        await source._wait()
        assert await kids(source, "ec-1") == []
        assert source.generation == before + 1
        clock.now += 61
        source.refresh_if_due()
        await source._wait()
        assert source.generation == before + 1  # the same keys are no change

    asyncio.run(run())


def test_known_keys_outlive_their_issuer_for_a_day(source: JwksUrl, idp: Idp, clock: Clock) -> None:
    async def run() -> None:
        assert await kids(source, "ec-1") == ["ec-1"]
        idp.down = True
        for _ in range(23):
            clock.now += 3600
            assert await kids(source, "ec-1") == ["ec-1"]
            await source._wait()
        clock.now += 3700
        with pytest.raises(ServiceError) as caught:
            await kids(source, "ec-1")
        assert (caught.value.problem.status, caught.value.problem.retry_after_s) == (503, 5)
        idp.down = False
        clock.now += 5
        assert await kids(source, "ec-1") == ["ec-1"]

    asyncio.run(run())


def test_an_issuer_that_never_answered_is_not_asked_by_each_request(source: JwksUrl, idp: Idp) -> None:
    async def run() -> None:
        idp.down = True
        for _ in range(20):
            with pytest.raises(ServiceError):
                await kids(source, "ec-1")
        assert len(idp.requests) == 1

    asyncio.run(run())


def test_an_issuer_that_is_away_is_asked_again_after_a_while(source: JwksUrl, idp: Idp, clock: Clock) -> None:
    async def run() -> None:
        await kids(source, "ec-1")
        idp.down = True
        clock.now += 61
        for _ in range(20):
            assert await kids(source, "ec-1") == ["ec-1"]
            await source._wait()
        assert len(idp.requests) == 2
        clock.now += jwks.RETRY_S
        await kids(source, "ec-1")
        await source._wait()
        assert len(idp.requests) == 3

    asyncio.run(run())


def test_max_age_is_kept_within_bounds() -> None:
    assert jwks._max_age_s({"cache-control": "public, max-age=300"}) == 300
    assert jwks._max_age_s({"cache-control": "max-age=0"}) == jwks.MIN_AGE_S
    assert jwks._max_age_s({"cache-control": "max-age=99999999"}) == jwks.MAX_AGE_S
    assert jwks._max_age_s({"cache-control": "no-store, s-max-age=9"}) == jwks.DEFAULT_AGE_S
    assert jwks._max_age_s({}) == jwks.DEFAULT_AGE_S


def test_only_keys_that_sign_here_are_taken() -> None:
    ec, rsa = ECKey.generate_key("P-384", {"kid": "e"}), RSAKey.generate_key(2048, {"kid": "r"})
    weak = RSAKey.generate_key(1024, {"kid": "weak"})
    entries: list[Any] = [
        ec.as_dict(private=True), rsa.as_dict(private=False) | {"alg": "RS384"}, weak.as_dict(private=False),
        ECKey.generate_key("P-256", {"kid": "p256"}).as_dict(private=False),
        OctKey.generate_key(256, {"kid": "secret"}).as_dict(private=True),
        rsa.as_dict(private=False) | {"kid": "for-encryption", "use": "enc"},
        rsa.as_dict(private=False) | {"kid": "wraps", "key_ops": ["wrapKey"]},
        {"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA", "kid": "broken"}, {"kty": "LATER"}, {}, 7, None,
    ]  # fmt: skip
    found = KeySet({"keys": entries})
    assert {kid for kid, _, _ in found.thumbprints} == {"e", "r"}
    assert [key.kid for key in found.find("r", "RS384")] == ["r"]
    assert found.find("r", "RS256") == []  # it is said to be for RS384
    assert not found.find("e", "ES384")[0].is_private
    broken_sets: list[dict[str, Any]] = [{}, {"keys": []}, {"keys": {}}, {"keys": [weak.as_dict(private=False)]}]
    for broken in broken_sets:
        with pytest.raises(ValueError, match="no key"):
            KeySet(broken)


def test_what_is_not_a_key_set_keeps_the_known_keys(source: JwksUrl, idp: Idp, clock: Clock) -> None:
    async def run() -> None:
        await kids(source, "ec-1")
        idp.published = []
        clock.now += 61
        source.refresh_if_due()
        await source._wait()
        assert await kids(source, "ec-1") == ["ec-1"]

    asyncio.run(run())


def test_fetching_has_limits(idp: Idp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    fetcher = Fetcher(total_s=1)
    assert asyncio.run(fetcher.get_json(idp.jwks_url))[0] == json.loads(json.dumps(idp.jwks))
    with pytest.raises(FetchError, match="302"):  # not followed
        asyncio.run(fetcher.get_json(f"{idp.issuer}/authorize?redirect_uri={idp.jwks_url}&state=s"))
    idp.id_token_changes = {}
    monkeypatch.setattr(Idp, "jwks", {"keys": ["x" * MAX_BYTES]})
    with pytest.raises(FetchError, match="oversize"):
        asyncio.run(fetcher.get_json(idp.jwks_url))


def test_a_ca_file_that_is_none_is_named(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")
    with pytest.raises(ValueError, match="auth_ca_file"):
        Fetcher(file)
    assert ssl.OPENSSL_VERSION_INFO >= (1, 1)
