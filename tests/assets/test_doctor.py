"""What the doctor says of a key: missing, open to others, usable; never the key."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from surveillance_assets.doctor import Finding, examine
from surveillance_core.settings import Settings

NOWHERE = "http://127.0.0.1:9"


def _found(
    tmp_path: Path, key_path: Path | None = None, *, mock: bool = False, enabled: bool = True
) -> Finding | None:
    kalshi = {
        "enabled": enabled, "rest_url": NOWHERE, "ws_url": "ws://127.0.0.1:9/trade-api/ws/v2",
        "api_key_id_env": "TEST_KALSHI_KEY_ID",
        "private_key_path": "" if key_path is None else str(key_path),
    }  # fmt: skip
    tree = {
        "data_dir": str(tmp_path / "lake"), "venues": {"kalshi": kalshi}, "mock": {"enabled": mock}
    }  # fmt: skip
    findings = {f.check: f for f in examine(Settings.model_validate(tree))}
    return findings.get("credentials kalshi")


@pytest.fixture
def key_path(tmp_path: Path) -> Path:
    path = tmp_path / "key.pem"
    path.write_bytes(
        ed25519.Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    path.chmod(0o600)
    return path


def test_what_is_missing_of_a_key_is_said(
    tmp_path: Path, key_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEST_KALSHI_KEY_ID", raising=False)
    no_path = _found(tmp_path)
    assert no_path is not None
    assert no_path.verdict == "failed"
    assert "private_key_path" in no_path.found
    assert "0600" in no_path.next_step
    no_id = _found(tmp_path, key_path)
    assert no_id is not None
    assert (no_id.verdict, "TEST_KALSHI_KEY_ID: not set" in no_id.found) == ("failed", True)
    monkeypatch.setenv("TEST_KALSHI_KEY_ID", "secret-id")
    absent = _found(tmp_path, tmp_path / "absent.pem")
    assert absent is not None
    assert (absent.verdict, "cannot be opened" in absent.found) == ("failed", True)


def test_a_key_is_judged_by_its_rights_and_never_shown(
    tmp_path: Path, key_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_KALSHI_KEY_ID", "secret-id")
    good = _found(tmp_path, key_path)
    assert good is not None
    assert good.verdict == "ok"
    key_path.chmod(0o644)
    open_to_all = _found(tmp_path, key_path)
    assert open_to_all is not None
    assert (open_to_all.verdict, "0644" in open_to_all.found) == ("failed", True)
    assert "secret-id" not in f"{good} {open_to_all}"


def test_where_no_key_is_needed_none_is_asked_for(tmp_path: Path) -> None:
    simulated = _found(tmp_path, mock=True)
    assert simulated is not None
    assert simulated.verdict == "ok"
    assert not (tmp_path / "lake.state").exists(), "an examination makes nothing"
    assert _found(tmp_path, enabled=False) is None
