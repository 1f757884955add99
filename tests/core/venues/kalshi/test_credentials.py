"""Which key signs: the configured one or a simulated one, made once whoever comes first."""

from __future__ import annotations

import base64
import stat
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from surveillance_core.markets import Venue
from surveillance_core.settings import ConfigurationError, Settings
from surveillance_core.venues.kalshi import credentials
from surveillance_core.venues.kalshi.credentials import (
    SIMULATED_KEY_ID,
    signer_of,
    simulated_public_key,
    simulated_signer,
)
from surveillance_core.venues.kalshi.signing import CredentialsError
from surveillance_core.venues.registry import adapter_of

AT_MS = 1_790_000_000_123
SALT = 32


def _verify(key: rsa.RSAPublicKey, headers: dict[str, str], path: str) -> None:
    """Raises ``InvalidSignature`` unless the headers are signed as the venue asks (kalshi.md 2)."""
    text = f"{headers['KALSHI-ACCESS-TIMESTAMP']}GET{path}".encode()
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=SALT)
    key.verify(base64.b64decode(headers["KALSHI-ACCESS-SIGNATURE"]), text, pss, hashes.SHA256())


@pytest.fixture
def simulated(tmp_path: Path) -> Settings:
    return Settings.model_validate({"data_dir": str(tmp_path / "lake"), "mock": {"enabled": True}})


def _key_file(settings: Settings) -> Path:
    return Path(f"{settings.data_dir}.state") / "simulated-kalshi.pem"


def test_both_sides_of_a_simulation_have_one_key(simulated: Settings) -> None:
    key = simulated_public_key(simulated)
    headers = simulated_signer(simulated).handshake_headers(AT_MS)
    assert headers["KALSHI-ACCESS-KEY"] == SIMULATED_KEY_ID
    assert headers["KALSHI-ACCESS-TIMESTAMP"] == str(AT_MS)
    _verify(key, headers, "/trade-api/ws/v2")
    assert stat.S_IMODE(_key_file(simulated).stat().st_mode) == 0o600
    assert [path.name for path in _key_file(simulated).parent.iterdir()] == [
        "simulated-kalshi.pem"
    ], "nothing is left of the making"


def test_who_comes_at_the_same_time_gets_the_same_key(simulated: Settings) -> None:
    with ThreadPoolExecutor(4) as pool:
        keys = list(pool.map(simulated_public_key, [simulated] * 4))
    assert len({key.public_numbers() for key in keys}) == 1


def test_a_key_that_another_made_meanwhile_is_not_replaced(
    simulated: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = simulated_public_key(simulated).public_numbers()
    content = _key_file(simulated).read_bytes()
    credentials._make_key_file(_key_file(simulated))
    assert _key_file(simulated).read_bytes() == content
    assert simulated_public_key(simulated).public_numbers() == first


def test_a_simulated_key_that_others_may_read_is_refused(simulated: Settings) -> None:
    simulated_public_key(simulated)
    _key_file(simulated).chmod(0o644)
    with pytest.raises(CredentialsError, match="chmod 600"):
        simulated_signer(simulated)


def test_an_object_store_keeps_the_simulated_key_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    settings = Settings.model_validate({"data_dir": "s3://bucket/lake", "mock": {"enabled": True}})
    assert simulated_public_key(settings).key_size == 2048
    _verify(
        simulated_public_key(settings),
        simulated_signer(settings).handshake_headers(AT_MS),
        "/trade-api/ws/v2",
    )
    assert len(list(tmp_path.glob("*.state/simulated-kalshi.pem"))) == 1


def test_the_handshake_is_signed_for_the_path_that_is_asked_for(simulated: Settings) -> None:
    make = adapter_of(Venue.KALSHI).handshake(simulated)
    first, second = dict(make(AT_MS)), dict(make(AT_MS + 1))
    _verify(simulated_public_key(simulated), first, "/trade-api/ws/v2")
    _verify(simulated_public_key(simulated), second, "/trade-api/ws/v2")
    assert second["KALSHI-ACCESS-TIMESTAMP"] == str(AT_MS + 1)
    assert adapter_of(Venue.POLYMARKET).handshake(simulated)(AT_MS) == {}


def test_a_configured_key_is_used_and_its_absence_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    path = tmp_path / "key.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    path.chmod(0o600)
    table = {"api_key_id_env": "TEST_KEY_ID", "private_key_path": str(path)}
    settings = Settings.model_validate(
        {"venues": {"kalshi": table | {"ws_url": "wss://venue.example/other/path"}}}
    )
    with pytest.raises(ConfigurationError, match=r"venues\.kalshi: TEST_KEY_ID: not set.*doctor"):
        signer_of(settings)
    monkeypatch.setenv("TEST_KEY_ID", "an-id")
    headers = dict(adapter_of(Venue.KALSHI).handshake(settings)(AT_MS))
    assert headers["KALSHI-ACCESS-KEY"] == "an-id"
    _verify(key.public_key(), headers, "/other/path")
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        signer_of(settings)
    with pytest.raises(ConfigurationError, match="must both be set"):
        signer_of(Settings())
