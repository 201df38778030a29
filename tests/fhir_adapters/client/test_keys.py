"""Keys of the client: which are taken, what is published of them, and a file that is replaced."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from fhir_adapters.client.errors import ClientConfigError
from fhir_adapters.client.keys import KeyFile, public_jwks, read_signing_key

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def pem(key: PrivateKey, password: bytes | None = None) -> bytes:
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        encryption = serialization.BestAvailableEncryption(password)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1())


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("key", "algorithm"), [(rsa_key(), "RS384"), (ec_key(), "ES384")])
def test_the_type_of_key_decides_the_algorithm_and_its_thumbprint_is_its_id(
    tmp_path: Path, key: PrivateKey, algorithm: str
) -> None:
    file = write(tmp_path / "key.pem", pem(key))
    read = read_signing_key(file)
    assert read.algorithm == algorithm
    assert len(read.key_id) == 43  # SHA-256, base64url
    assert read_signing_key(file).key_id == read.key_id
    assert read_signing_key(file, "mine").key_id == "mine"


def test_a_jwk_brings_its_own_id(tmp_path: Path) -> None:
    from joserfc.jwk import ECKey

    private = ECKey.import_key(pem(ec_key())).as_dict(private=True) | {"kid": "2026-11", "alg": "ES384", "use": "sig"}
    read = read_signing_key(write(tmp_path / "key.json", json.dumps(private).encode()))
    assert (read.key_id, read.algorithm) == ("2026-11", "ES384")
    other = {**private, "alg": "ES256"}
    with pytest.raises(ClientConfigError, match="algorithm"):
        read_signing_key(write(tmp_path / "other.json", json.dumps(other).encode()))


def test_only_public_parts_are_published(tmp_path: Path) -> None:
    keys = [read_signing_key(write(tmp_path / "key", pem(key))) for key in (rsa_key(), ec_key())]
    published = public_jwks(*keys)
    assert [sorted(each) for each in published["keys"]] == [
        sorted(["kty", "n", "e", "kid", "alg", "use", "key_ops"]),
        sorted(["kty", "crv", "x", "y", "kid", "alg", "use", "key_ops"]),
    ]
    assert [each["kid"] for each in published["keys"]] == [key.key_id for key in keys]


WRONG = {
    "short RSA": pem(rsa_key(1024)),
    "P-256": pem(ec.generate_private_key(ec.SECP256R1())),
    "Ed25519": pem(ed25519.Ed25519PrivateKey.generate()),
    "with a passphrase": pem(ec_key(), b"secret"),
    "public": ec_key().public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ),
    "symmetric": b'{"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQ"}',
    "set": b'{"keys": []}',
    "broken JSON": b'{"kty": "EC", "d": "SECRETPART"',
    "broken JWK": b'{"kty": "EC", "crv": "P-384", "d": "SECRETPART"}',
    "text": b"SECRETPART",
    "empty": b"",
    "long": b"x" * 100_000,
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Key size")
@pytest.mark.parametrize("name", WRONG)
def test_another_key_is_refused_without_its_text(tmp_path: Path, name: str) -> None:
    with pytest.raises(ClientConfigError, match="key file") as caught:
        read_signing_key(write(tmp_path / "key", WRONG[name]))
    assert "SECRETPART" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_missing_file_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ClientConfigError, match="FileNotFoundError"):
        KeyFile(tmp_path / "none")


def test_a_replaced_file_is_read_again_and_a_half_written_one_is_not_used(tmp_path: Path) -> None:
    path = write(tmp_path / "key.pem", pem(ec_key()))
    file = KeyFile(path)
    first = file.current()
    assert file.current() is first
    new = pem(rsa_key())
    path.write_bytes(new[:100])
    assert file.current() is first
    path.unlink()
    assert file.current() is first
    write(tmp_path / "new", new)
    os.replace(tmp_path / "new", path)  # noqa: PTH105  # the atomic rename by which files are replaced
    second = file.current()
    assert (first.algorithm, second.algorithm) == ("ES384", "RS384")
    assert second.key_id != first.key_id


def test_nothing_private_is_shown(tmp_path: Path) -> None:
    key = ec_key()
    path = write(tmp_path / "key.pem", pem(key))
    private = f"{key.private_numbers().private_value:x}"
    read = read_signing_key(path)
    shown = repr(read) + str(read) + repr(KeyFile(path)) + json.dumps(public_jwks(read))
    assert private not in shown
    assert "PRIVATE" not in shown
    assert "_key=" not in repr(read)
