"""Bearer tokens through the whole ASGI app: who is let in, as whom, and every forged token that is not."""

from __future__ import annotations

import base64
import hmac
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

from serve.auth import bearer, tokens
from serve.auth.caller import Sources
from tests.serve.auth.api import Api
from tests.serve.auth.idp import AUDIENCE, Idp

PATH = "/fhir/RiskAssessment"
SCOPE = "system/RiskAssessment.s"


@pytest.fixture
def api(tmp_path: Path, idp: Idp) -> Api:
    return Api(tmp_path, auth_issuers=[idp.issuer_setting()])


def refusal(api: Api, token: str, **headers: str) -> tuple[int, str]:
    """Status and issue code; nothing of the token is in the answer, and the challenge is RFC 6750's."""
    answer = api.client.get(PATH, headers={"Authorization": f"Bearer {token}", **headers})
    body = answer.json()
    if answer.status_code == 200:
        return 200, ""
    assert answer.headers["content-type"] == "application/fhir+json"
    assert answer.headers["www-authenticate"].startswith('Bearer realm="lang1"')
    for part in (token, *token.split(".")):
        assert len(part) < 8 or part not in answer.text + str(answer.headers)
    return answer.status_code, body["issue"][0]["code"]


def part(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def test_a_good_token_is_let_in_as_its_client(api: Api, idp: Idp) -> None:
    for algorithm in ("RS256", "RS384", "ES384"):
        for kind in ("JWT", "at+jwt", "AT+JWT", "application/at+jwt", None):
            token = idp.token("notes-feed", SCOPE, algorithm=algorithm, header={"typ": kind})
            assert refusal(api, token) == (200, ""), (algorithm, kind)
            assert api.pipeline.contexts[-1].source == "notes-feed"


def test_clocks_may_differ_by_the_leeway(api: Api, idp: Idp) -> None:
    now = int(time.time())
    assert refusal(api, idp.token("a", SCOPE, exp=now - 20)) == (200, "")
    assert refusal(api, idp.token("a", SCOPE, nbf=now + 20, iat=now + 20)) == (200, "")
    assert refusal(api, idp.token("a", SCOPE, exp=now - 31)) == (401, "expired")


def test_an_audience_may_be_one_of_a_list(api: Api, idp: Idp) -> None:
    for aud in (AUDIENCE, [AUDIENCE], ["https://other.example", AUDIENCE]):
        assert refusal(api, idp.token("a", SCOPE, aud=aud)) == (200, "")


def with_hmac(idp: Idp, algorithm: str) -> str:
    """Signed with the public key, which everyone has, as if it were a secret."""
    body = f"{part({'alg': algorithm, 'kid': 'rsa-1'})}.{idp.token('a', SCOPE).split('.')[1]}"
    secret = bytes(idp.keys["RS384"].as_pem(private=False))
    return f"{body}.{part(hmac.digest(secret, body.encode(), 'sha256'))}"


def with_own_header(idp: Idp, text: str) -> str:
    """A token whose header is these very bytes, signed as a signer without checks would."""
    claims = idp.token("a", SCOPE).split(".")[1]
    head = part(text.encode())
    key = idp.keys["ES384"]
    algorithm = jws.JWSRegistry.algorithms["ES384"]
    signature = algorithm.sign(f"{head}.{claims}".encode(), key)
    return f"{head}.{claims}.{part(signature)}"


def with_own_claims(idp: Idp, text: str) -> str:
    key = idp.keys["ES384"]
    head = part({"alg": "ES384", "kid": key.kid})
    signature = jws.JWSRegistry.algorithms["ES384"].sign(f"{head}.{part(text.encode())}".encode(), key)
    return f"{head}.{part(text.encode())}.{part(signature)}"


def unsigned(idp: Idp, algorithm: str) -> str:
    return f"{part({'alg': algorithm, 'typ': 'JWT'})}.{idp.token('a', SCOPE).split('.')[1]}."


FORGED: dict[str, Callable[[Idp], str]] = {
    "alg none": lambda idp: unsigned(idp, "none"),
    "alg None in another case": lambda idp: unsigned(idp, "nOnE"),
    "alg missing": lambda idp: f"{part({'typ': 'JWT'})}.{idp.token('a', SCOPE).split('.', 1)[1]}",
    "alg a list": lambda idp: f"{part({'alg': ['ES384']})}.{idp.token('a', SCOPE).split('.', 1)[1]}",
    "HMAC with the public key as secret": lambda idp: with_hmac(idp, "HS256"),
    "HMAC with the public key, said to be RS256": lambda idp: with_hmac(idp, "RS256"),
    "an algorithm that is not offered": lambda idp: idp.token("a", SCOPE, algorithm="PS384", key=idp.keys["RS384"]),
    "another algorithm of the key's family": lambda idp: idp.token(
        "a", SCOPE, algorithm="ES256", key=ECKey.generate_key("P-256", {"kid": "ec-1"})
    ),
    "signed with none of the keys": lambda idp: idp.token("a", SCOPE, key=ECKey.generate_key("P-384", {"kid": "ec-1"})),
    "a kid of the other kind": lambda idp: idp.token("a", SCOPE, header={"kid": "rsa-1"}),
    "an unknown kid": lambda idp: idp.token("a", SCOPE, header={"kid": "ec-9"}),
    "a kid that is a path": lambda idp: idp.token("a", SCOPE, header={"kid": "../../../../dev/null"}),
    "a kid that is SQL": lambda idp: idp.token("a", SCOPE, header={"kid": "x' OR '1'='1"}),
    "a kid that is a number": lambda idp: with_own_header(idp, '{"alg": "ES384", "kid": 1}'),
    "a kid that is empty": lambda idp: with_own_header(idp, '{"alg": "ES384", "kid": ""}'),
    "a changed payload": lambda idp: (
        lambda t: ".".join([t[0], part({"iss": idp.issuer, "scope": SCOPE}), t[2]])
    )(idp.token("a", SCOPE).split(".")),
    "no signature": lambda idp: idp.token("a", SCOPE).rsplit(".", 1)[0] + ".",
    "the zero signature": lambda idp: idp.token("a", SCOPE).rsplit(".", 1)[0] + "." + part(b"\0" * 96),
    "an embedded key": lambda idp: (
        lambda key: idp.token("a", SCOPE, key=key, header={"kid": "ec-1", "jwk": key.as_dict(private=False)})
    )(ECKey.generate_key("P-384", {"kid": "mine"})),
    "crit": lambda idp: with_own_header(idp, '{"alg":"ES384","kid":"ec-1","crit":["exp"],"exp":1}'),
    "unencoded payload": lambda idp: with_own_header(idp, '{"alg":"ES384","kid":"ec-1","b64":false,"crit":["b64"]}'),
    "a name twice in the header": lambda idp: with_own_header(idp, '{"alg":"none","alg":"ES384","kid":"ec-1"}'),
    "a name twice in the claims": lambda idp: with_own_claims(
        idp, f'{{"iss": "{idp.issuer}", "aud": "{AUDIENCE}", "sub": "a", "exp": {int(time.time()) + 60}, '
        f'"scope": "x", "scope": "{SCOPE}"}}'
    ),
    "an exp of NaN": lambda idp: with_own_claims(
        idp, f'{{"iss": "{idp.issuer}", "aud": "{AUDIENCE}", "sub": "a", "exp": NaN, "scope": "{SCOPE}"}}'
    ),
    "deep nesting": lambda idp: idp.token("a", SCOPE, x=json.loads("[" * 40 + "]" * 40)),
    "another type of token": lambda idp: idp.token("a", SCOPE, header={"typ": "logout+jwt"}),
    "a type that is no text": lambda idp: with_own_header(idp, '{"alg":"ES384","kid":"ec-1","typ":7}'),
    "another issuer": lambda idp: idp.token("a", SCOPE, iss="https://evil.example"),
    "an issuer that begins alike": lambda idp: idp.token("a", SCOPE, iss=f"{idp.issuer}.evil.example"),
    "an issuer with a slash more": lambda idp: idp.token("a", SCOPE, iss=f"{idp.issuer}/"),
    "an issuer list": lambda idp: idp.token("a", SCOPE, iss=[idp.issuer]),
    "no issuer": lambda idp: idp.token("a", SCOPE, iss=None),
    "another audience": lambda idp: idp.token("a", SCOPE, aud="https://other.example"),
    "an audience that begins alike": lambda idp: idp.token("a", SCOPE, aud=f"{AUDIENCE}/more"),
    "an audience that is an object": lambda idp: idp.token("a", SCOPE, aud={AUDIENCE: 1}),
    "an empty audience": lambda idp: idp.token("a", SCOPE, aud=[]),
    "no audience": lambda idp: idp.token("a", SCOPE, aud=None),
    "no exp": lambda idp: idp.token("a", SCOPE, exp=None),
    "exp as text": lambda idp: idp.token("a", SCOPE, exp=str(int(time.time()) + 300)),
    "exp true": lambda idp: idp.token("a", SCOPE, exp=True),
    "exp in a hundred years": lambda idp: idp.token("a", SCOPE, exp=int(time.time()) + 100 * 365 * 86400),
    "exp beyond all numbers": lambda idp: idp.token("a", SCOPE, exp=10**400),
    "not valid yet": lambda idp: idp.token("a", SCOPE, nbf=int(time.time()) + 60),
    "issued in the future": lambda idp: idp.token("a", SCOPE, iat=int(time.time()) + 60),
    "no client": lambda idp: idp.token("a", SCOPE, sub=None, client_id=None),
    "a client that is too long": lambda idp: idp.token("a" * 300, SCOPE),
    "a huge token": lambda idp: idp.token("a", SCOPE, x="y" * 20_000),
    "not a JWT": lambda idp: "abcdefghijk",
    "an encrypted token": lambda idp: "a.b.c.d.e",
    "padding": lambda idp: idp.token("a", SCOPE) + "=",
    "more after it": lambda idp: idp.token("a", SCOPE) + ".x",
}  # fmt: skip


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Api, Idp]]:
    """A service that knows its issuer's keys."""
    idp = Idp()
    api = Api(tmp_path_factory.mktemp("known"), auth_issuers=[idp.issuer_setting()])
    assert refusal(api, idp.token("a", SCOPE)) == (200, "")
    yield api, idp
    idp.close()


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_token_is_refused(name: str, known: tuple[Api, Idp]) -> None:
    api, idp = known
    assert refusal(api, FORGED[name](idp)) == (401, "security")
    assert len(api.pipeline.contexts) == 1


def test_a_token_has_a_largest_size(api: Api, idp: Idp) -> None:
    long = idp.token("a", SCOPE, x="y" * 12_050)
    assert tokens.MAX_TOKEN_CHARS < len(long) < tokens.MAX_TOKEN_CHARS + 500
    assert refusal(api, idp.token("a", SCOPE, x="y" * 11_000)) == (200, "")
    assert refusal(api, long) == (401, "security")


def test_a_token_without_kid_is_taken_where_one_key_fits_alone(api: Api, idp: Idp) -> None:
    assert refusal(api, idp.token("a", SCOPE, header={"kid": None})) == (200, "")


def test_a_token_without_kid_is_refused_where_several_fit(api: Api, idp: Idp) -> None:
    idp.published.append(ECKey.generate_key("P-384", {"kid": "ec-2"}))
    assert refusal(api, idp.token("a", SCOPE, header={"kid": None})) == (401, "security")
    assert refusal(api, idp.token("a", SCOPE)) == (200, "")


@contextmanager
def listening() -> Iterator[tuple[str, list[int]]]:
    """A port that counts who connects."""
    connections: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        over = threading.Event()

        def count() -> None:
            while not over.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                connections.append(1)
                connection.close()

        thread = threading.Thread(target=count)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/jwks", connections
        finally:
            time.sleep(0.1)  # a connection that was begun is counted
            over.set()
            thread.join()


@pytest.mark.parametrize("header", ["jku", "x5u"])
def test_a_url_in_a_token_is_never_fetched(header: str, api: Api, idp: Idp) -> None:
    mine = RSAKey.generate_key(2048, {"kid": "mine"})
    with listening() as (url, connections):
        for key, kid in ((mine, "mine"), (idp.keys["RS384"], "rsa-1")):
            token = idp.token("a", SCOPE, algorithm="RS384", key=key, header={"kid": kid, header: url})
            assert refusal(api, token) == (401, "security")
        assert connections == []


def test_a_jku_may_say_what_is_configured(api: Api, idp: Idp) -> None:
    assert refusal(api, idp.token("a", SCOPE, header={"jku": idp.jwks_url})) == (200, "")


def test_where_a_token_is_looked_for(api: Api, idp: Idp) -> None:
    token = idp.token("a", SCOPE)
    assert api.client.get(f"{PATH}?access_token={token}").status_code == 401
    assert api.client.get(PATH, headers={"Cookie": f"access_token={token}"}).status_code == 401
    two = [("Authorization", f"Bearer {token}"), ("Authorization", f"Bearer {token}")]
    assert api.client.get(PATH, headers=two).status_code == 401
    for value, status in (
        (f"bearer {token}", 200), (f"BEARER  {token}", 200), (token, 401), (f"Basic {token}", 401), ("Bearer", 401),
        ("Bearer ", 401), (f"Bearer {token}, Bearer {token}", 401), (f"Bearer\t{token}", 401), ("", 401),
    ):  # fmt: skip
        answer = api.client.get(PATH, headers={"Authorization": value})
        assert answer.status_code == status, value[:12]
    answer = api.client.get(PATH)
    assert answer.json()["issue"][0]["code"] == "login"
    assert answer.headers["www-authenticate"] == 'Bearer realm="lang1"'


def test_algorithms_of_an_issuer_can_be_fewer(tmp_path: Path, idp: Idp) -> None:
    api = Api(tmp_path, auth_issuers=[idp.issuer_setting(algorithms=["ES384"])])
    assert refusal(api, idp.token("a", SCOPE)) == (200, "")
    assert refusal(api, idp.token("a", SCOPE, algorithm="RS384")) == (401, "security")


def test_scopes_in_other_claims(tmp_path: Path, idp: Idp) -> None:
    api = Api(tmp_path, auth_issuers=[idp.issuer_setting(scope_claims=["roles"], client_claim="appid")])
    assert refusal(api, idp.token("a", "", roles=[SCOPE], appid="of-azure")) == (200, "")
    assert api.pipeline.contexts[-1].source == "of-azure"
    assert refusal(api, idp.token("a", SCOPE, appid="of-azure")) == (403, "forbidden")
    assert refusal(api, idp.token("a", "", roles=[SCOPE])) == (401, "security")


def test_clients_of_one_system_share_a_source(tmp_path: Path, idp: Idp) -> None:
    api = Api(tmp_path, auth_issuers=[idp.issuer_setting()], auth_sources={"notes": "epic", "adt": "epic"})
    sources = []
    for client in ("notes", "adt", "other", "epic", "c-1", "not a name", "login", "ü"):
        assert refusal(api, idp.token(client, SCOPE)) == (200, ""), client
        sources.append(api.pipeline.contexts[-1].source)
    assert sources[:3] == ["epic", "epic", "other"]
    assert len(set(sources[3:])) == 5  # none is another's, and none is a name that is taken
    assert all(source.startswith("c-") and len(source) == 42 for source in sources[3:])


def test_two_issuers_do_not_name_each_others_clients(tmp_path: Path, idp: Idp) -> None:
    second = Idp()
    try:
        key = f"{idp.issuer}|ehr"
        issuers = [idp.issuer_setting(), second.issuer_setting()]
        api = Api(tmp_path, auth_issuers=issuers, auth_sources={key: "epic"})
        for each in (idp, second):
            assert refusal(api, each.token("ehr", SCOPE)) == (200, "")
            assert refusal(api, each.token("other", SCOPE)) == (200, "")
        sources = [context.source for context in api.pipeline.contexts]
        assert sources[0] == "epic"
        assert len(set(sources)) == 4
        forged = second.token("ehr", SCOPE, iss=idp.issuer)
        second.keys["ES384"] = ECKey.generate_key("P-384", {"kid": "ec-1"})
        assert refusal(api, forged) == (200, "")  # the two share the test's keys; of its own it is refused
        assert refusal(api, second.token("ehr", SCOPE, iss=idp.issuer)) == (401, "security")
    finally:
        second.close()


def test_a_token_is_checked_once(api: Api, idp: Idp, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = 0
    check = tokens._is_signed_by

    def counted(*args: Any) -> bool:
        nonlocal checks
        checks += 1
        return check(*args)

    monkeypatch.setattr(tokens, "_is_signed_by", counted)
    token = idp.token("a", SCOPE)
    for _ in range(100):
        assert refusal(api, token) == (200, "")
    assert checks == 1
    assert idp.requests.count("/jwks") == 1
    other = idp.token("a", SCOPE, jti="2")
    assert refusal(api, other) == (200, "")
    assert checks == 2
    for _ in range(3):  # a bad one is not remembered as good
        assert refusal(api, token[:-8] + "AAAAAAAA") == (401, "security")
    assert checks == 5


def test_what_is_known_is_bounded_and_ends_with_the_token(api: Api, idp: Idp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bearer, "MAX_KNOWN", 3)
    options: Any = api.app.user_middleware[-1].kwargs
    known = options["authenticator"]._bearer
    for number in range(6):
        assert refusal(api, idp.token("a", SCOPE, jti=str(number))) == (200, "")
    assert len(known._known) == 3
    last = idp.token("a", SCOPE, jti="last", exp=int(time.time()) + 60)
    assert refusal(api, last) == (200, "")
    monkeypatch.setattr(known, "_clock", lambda: time.time() + 91)
    assert refusal(api, last) == (401, "expired")


def test_a_key_file_is_read_and_read_again(tmp_path: Path, idp: Idp, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps(idp.jwks))
    setting = {"issuer": idp.issuer, "audience": AUDIENCE, "jwks_file": str(file)}
    monkeypatch.setattr("serve.auth.jwks.FILE_CHECK_S", 0.0)
    api = Api(tmp_path, auth_issuers=[setting])
    old = idp.token("a", SCOPE)
    assert refusal(api, old) == (200, "")
    idp.rotate("ec-2")
    assert refusal(api, idp.token("a", SCOPE)) == (401, "security")
    file.write_text(json.dumps(idp.jwks))
    assert refusal(api, idp.token("a", SCOPE)) == (200, "")
    assert refusal(api, old) == (401, "security")  # its key was withdrawn
    file.write_text("{")
    assert refusal(api, idp.token("a", SCOPE)) == (200, "")
    assert idp.requests == []


def test_a_client_does_not_take_the_name_of_a_cds_client() -> None:
    names = {"https://ehr.example": "epic", "https://a.example|feed": "notes"}
    several = Sources(names, hashed=True)
    assert several.of("https://a.example", "feed") == "notes"
    assert several.of("https://a.example", "https://ehr.example").startswith("c-")
    assert several.of("https://b.example", "feed") != several.of("https://a.example", "feed")
    assert several.of_cds("https://ehr.example", None) == "epic"
    assert several.of_cds("https://other.example", "west") != several.of_cds("https://other.example", "east")
