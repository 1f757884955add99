"""Signed headers verify with the public key, and keys are taken from safe files only."""

from __future__ import annotations

import base64
import os
import pickle
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from surveillance_core.venues.kalshi.signing import (
    WS_PATH,
    CredentialsError,
    Signer,
    load_signer,
)

KEY_ID = "00000000-0000-4000-8000-000000000000"
ENVIRONMENT = {"KEY_ID": KEY_ID}
AT_MS = 1_703_123_456_789
PEM = serialization.Encoding.PEM
PKCS1 = serialization.PrivateFormat.TraditionalOpenSSL
PKCS8 = serialization.PrivateFormat.PKCS8
PLAIN = serialization.NoEncryption()


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _write(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def _verifies(key: rsa.RSAPrivateKey, signature: str, text: bytes, salt: int = 32) -> bool:
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=salt)
    try:
        key.public_key().verify(base64.b64decode(signature), text, pss, hashes.SHA256())
    except InvalidSignature:
        return False
    return True


@pytest.mark.parametrize("form", [PKCS1, PKCS8])
def test_an_rsa_signature_verifies_and_covers_what_it_must(
    tmp_path: Path, rsa_key: rsa.RSAPrivateKey, form: serialization.PrivateFormat
) -> None:
    path = _write(tmp_path / "key.pem", rsa_key.private_bytes(PEM, form, PLAIN))
    signer = load_signer("KEY_ID", path, ENVIRONMENT)
    headers = signer.headers("get", "/trade-api/v2/markets?limit=1000&cursor=x", AT_MS)
    assert headers["KALSHI-ACCESS-KEY"] == KEY_ID
    assert headers["KALSHI-ACCESS-TIMESTAMP"] == str(AT_MS)
    signature, text = headers["KALSHI-ACCESS-SIGNATURE"], b"1703123456789GET/trade-api/v2/markets"
    assert _verifies(rsa_key, signature, text)
    assert not any(_verifies(rsa_key, signature, text, salt) for salt in (0, 20, 222))
    assert not _verifies(rsa_key, signature, text + b"?limit=1000&cursor=x")
    assert not _verifies(rsa_key, signature, b"1703123456GET/trade-api/v2/markets")
    assert not _verifies(rsa_key, signature, b"1703123456789GET/markets")


def test_a_handshake_is_signed_afresh(rsa_key: rsa.RSAPrivateKey) -> None:
    signer = Signer(KEY_ID, rsa_key)
    first, second = (signer.handshake_headers(AT_MS) for _ in range(2))
    assert first["KALSHI-ACCESS-SIGNATURE"] != second["KALSHI-ACCESS-SIGNATURE"]
    text = f"{AT_MS}GET{WS_PATH}".encode()
    assert _verifies(rsa_key, first["KALSHI-ACCESS-SIGNATURE"], text)


def test_an_ed25519_signature_verifies(tmp_path: Path) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    path = _write(tmp_path / "key.pem", key.private_bytes(PEM, PKCS8, PLAIN))
    headers = load_signer("KEY_ID", path, ENVIRONMENT).handshake_headers(AT_MS)
    signature = headers["KALSHI-ACCESS-SIGNATURE"]
    assert len(signature) == 88
    text = b"1703123456789GET/trade-api/ws/v2"
    key.public_key().verify(base64.b64decode(signature), text)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601, 0o610])
def test_a_key_that_others_may_use_is_refused(
    tmp_path: Path, rsa_key: rsa.RSAPrivateKey, mode: int
) -> None:
    path = _write(tmp_path / "key.pem", rsa_key.private_bytes(PEM, PKCS1, PLAIN), mode)
    with pytest.raises(CredentialsError, match="chmod 600"):
        load_signer("KEY_ID", path, ENVIRONMENT)


def test_what_is_not_a_plain_file_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    for path in (tmp_path, pipe):
        with pytest.raises(CredentialsError, match="regular file"):
            load_signer("KEY_ID", path, ENVIRONMENT)
    with pytest.raises(CredentialsError, match="cannot be opened"):
        load_signer("KEY_ID", tmp_path / "absent", ENVIRONMENT)


def test_a_key_of_another_user_is_refused(
    tmp_path: Path, rsa_key: rsa.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _write(tmp_path / "key.pem", rsa_key.private_bytes(PEM, PKCS1, PLAIN))
    if path.stat().st_uid == 0:
        if os.geteuid() != 0:
            pytest.skip("the file belongs to root")
        os.chown(path, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(CredentialsError, match="another user"):
        load_signer("KEY_ID", path, ENVIRONMENT)


def _unusable(rsa_key: rsa.RSAPrivateKey) -> dict[str, bytes]:
    whole = rsa_key.private_bytes(PEM, PKCS1, PLAIN)
    locked = serialization.BestAvailableEncryption(b"secret")
    small = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505
    return {
        "empty": b"",
        "text": b"sesame",
        "public": rsa_key.public_key().public_bytes(
            PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
        "cut off": whole[:400],
        "encrypted": rsa_key.private_bytes(PEM, PKCS8, locked),
        "encrypted the old way": rsa_key.private_bytes(PEM, PKCS1, locked),
        "elliptic": ec.generate_private_key(ec.SECP256R1()).private_bytes(PEM, PKCS8, PLAIN),
        "small": small.private_bytes(PEM, PKCS1, PLAIN),
        "large": whole + b"\n" * 70_000,
    }


def test_what_is_not_a_usable_key_is_refused_without_its_content(
    tmp_path: Path, rsa_key: rsa.RSAPrivateKey
) -> None:
    for name, content in _unusable(rsa_key).items():
        path = _write(tmp_path / "key.pem", content)
        with pytest.raises(CredentialsError) as caught:
            load_signer("KEY_ID", path, ENVIRONMENT)
        said = f"{caught.value!r} {caught.value.__cause__!r}"
        assert str(path) in said, name
        for line in content.splitlines():
            assert len(line) < 6 or line.startswith(b"-----") or line.decode() not in said, name


@pytest.mark.parametrize("value", ["", "  ", "two words", "line\nbreak", "schlüssel"])
def test_a_key_id_that_cannot_be_a_header_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(CredentialsError, match="KEY_ID") as caught:
        load_signer("KEY_ID", tmp_path / "key.pem", {"KEY_ID": value})
    assert not value.strip() or value not in str(caught.value)


def test_references_that_are_not_set_are_named(tmp_path: Path) -> None:
    for variable, path in (("", tmp_path / "key.pem"), ("KEY_ID", "")):
        with pytest.raises(CredentialsError, match="api_key_id_env"):
            load_signer(variable, path, ENVIRONMENT)


def test_a_signer_does_not_show_what_it_holds(rsa_key: rsa.RSAPrivateKey) -> None:
    signer = Signer(KEY_ID, rsa_key)
    assert KEY_ID not in f"{signer!r} {signer} {[signer]}"
    with pytest.raises(TypeError):
        pickle.dumps(signer)
