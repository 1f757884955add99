"""The settings tree: precedence, validation, and messages that name the key and its origin."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from surveillance_core.markets import Venue
from surveillance_core.settings import (
    DEFAULT_CONFIG,
    ConfigurationError,
    Settings,
    flatten_settings,
    load_settings,
)
from surveillance_core.settings_tables import VenueSettings


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.upper().startswith("SURVEILLANCE_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    return path


def test_defaults_stand_without_a_file() -> None:
    loaded = load_settings()
    assert loaded.path is None
    assert loaded.origins == {}
    assert loaded.settings.storage.top_k == 50
    assert loaded.settings.venues.enabled == []


def test_command_line_beats_environment_beats_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _file(
        tmp_path, 'data_dir = "file"\n[storage]\ntop_k = 1\nflush_rows = 2\nflush_seconds = 3.0\n'
    )
    monkeypatch.setenv("SURVEILLANCE__STORAGE__TOP_K", "10")
    monkeypatch.setenv("SURVEILLANCE__STORAGE__FLUSH_ROWS", "20")
    loaded = load_settings(path, {"storage": {"top_k": 100}, "data_dir": None})
    storage = loaded.settings.storage
    assert (storage.top_k, storage.flush_rows, storage.flush_seconds) == (100, 20, 3.0)
    assert loaded.settings.data_dir == "file"
    assert loaded.origins == {
        "data_dir": "file",
        "storage.top_k": "command line",
        "storage.flush_rows": "environment",
        "storage.flush_seconds": "file",
    }


def test_a_file_named_by_the_environment_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SURVEILLANCE_CONFIG", str(_file(tmp_path, 'data_dir = "elsewhere"')))
    assert load_settings().settings.data_dir == "elsewhere"


def test_one_reading_leaves_nothing_behind_for_the_next(tmp_path: Path) -> None:
    load_settings(_file(tmp_path, 'data_dir = "first"'))
    assert Settings().data_dir == "data"
    assert load_settings().settings.data_dir == "data"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("typo = 1", r"typo: unknown key \(.*settings\.toml\)"),
        ("[storage]\ntop = 1", r"storage\.top: unknown key \(.*settings\.toml\)"),
        ("[venues.polymarket]\nx = 1", r"venues\.polymarket\.x: unknown key"),
        ("[venues.predictit]\nenabled = true", r"venues\.predictit.*: unknown key"),
        ('[storage]\ntop_k = "many"', r"storage\.top_k: .*integer.*settings\.toml"),
        ("[storage]\ntop_k = 0", r"storage\.top_k: .*greater"),
        ("[storage]\nbucket_minutes = 7", r"storage\.bucket_minutes: .*divide an hour"),
        ("[storage]\nbucket_minutes = nan", r"storage\.bucket_minutes: "),
        ("[venues.kalshi]\nhot_count = 300", r"venues\.kalshi\.hot_count \(300\) exceeds max_subs"),
        ("[venues.kalshi]\nrequests_per_second = nan", r"venues\.kalshi\.requests_per_second: "),
        ("[storage\n", r"settings\.toml: not valid TOML"),
        ("[mock]\nhttp_port = 70000", r"mock\.http_port: "),
        ("storage = 3", r"storage: "),
        ("[health]\nhost = '0.0.0.0'", r"health: .*reached by others.*expose = true"),
        ("[health]\nport = 70000", r"health\.port: "),
        ("[mock]\nspeed = 60.0", r"mock: .*epoch_ms"),
        ("[mock]\nstart_ms = 1", r"mock: .*epoch_ms"),
        ("[mock]\nepoch_ms = 1\nspeed = 0.0", r"mock\.speed: "),
        ("[venues.polymarket]\nassets_per_connection = 701", r"venues\.polymarket: .*never come"),
        ("[venues.polymarket]\nprivate_key_path = 'x'", r"private_key_path: unknown key"),
    ],
)
def test_a_bad_file_is_refused_naming_key_and_origin(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_settings(_file(tmp_path, text))


def test_every_bad_key_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(_file(tmp_path, "[storage]\ntop_k = 0\nflush_rows = 0\n"))
    assert "storage.top_k" in str(caught.value)
    assert "storage.flush_rows" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("SURVEILLANCE__STORAGE__TOPK", "1", r"storage\.topk: unknown key \(environment\)"),
        ("SURVEILLANCE__STORGE__TOP_K", "1", r"storge\.top_k: unknown key \(environment: SURV"),
        ("SURVEILLANCE__STORAGE__TOP_K", "x", r"storage\.top_k: .*\(environment\)"),
        ("SURVEILLANCE__STORAGE", "{", r"environment: "),
    ],
)
def test_a_bad_variable_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=message):
        load_settings()


def test_a_bad_option_says_it_came_from_the_command_line() -> None:
    with pytest.raises(ConfigurationError, match=r"storage\.top_k: .*\(command line\)"):
        load_settings(None, {"storage": {"top_k": -1}})


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such file"):
        load_settings(tmp_path / "absent.toml")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_settings(tmp_path)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_settings(binary)


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("http://example.com", "for loopback only"),
        ("ws://127.0.0.1.example.com/ws", "for loopback only"),
        ("https://user:secret@example.com", "credentials"),
        ("ftp://example.com", "not a web address"),
        ("example.com", "not a web address"),
        ("https://", "not a web address"),
    ],
)
def test_an_address_that_is_open_to_others_is_refused(url: str, cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        VenueSettings(rest_url=url)


@pytest.mark.parametrize("url", ["https://a.example/api/", "ws://127.0.0.1:1/x", "http://[::1]:80"])
def test_addresses_lose_their_last_slash_only(url: str) -> None:
    assert VenueSettings(ws_url=url).ws_url == url.rstrip("/")


def test_mock_replaces_every_address_by_loopback_and_marks_the_data() -> None:
    real = load_settings(None, {"venues": {"polymarket": {"rest_url": "https://g.example"}}})
    endpoints = real.settings.endpoints(Venue.POLYMARKET)
    assert (endpoints.rest_url, endpoints.clob_url) == ("https://g.example", "https://g.example")
    assert real.settings.origin == "real"
    mock = load_settings(None, {"mock": {"enabled": True, "http_port": 1, "ws_port": 2}})
    endpoints = mock.settings.endpoints(Venue.POLYMARKET)
    assert endpoints.rest_url == endpoints.clob_url == "http://127.0.0.1:1"
    assert endpoints.ws_url.startswith("ws://127.0.0.1:2/")
    assert mock.settings.origin == "simulated"


def test_each_simulated_venue_has_an_address_of_its_own() -> None:
    ports = {"enabled": True, "kalshi_http_port": 3, "kalshi_ws_port": 4}
    endpoints = load_settings(None, {"mock": ports}).settings.endpoints(Venue.KALSHI)
    assert endpoints.rest_url == endpoints.clob_url == "http://127.0.0.1:3/trade-api/v2"
    assert endpoints.ws_url == "ws://127.0.0.1:4/trade-api/ws/v2"
    defaults = load_settings(None, {"mock": {"enabled": True}}).settings
    addresses = [defaults.endpoints(venue) for venue in Venue]
    assert len({a.rest_url for a in addresses} | {a.ws_url for a in addresses}) == 4


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("api_key_id_env", "00000000-0000-4000-8000-0000deadbeef"),
        ("private_key_path", "-----BEGIN RSA PRIVATE KEY-----deadbeef"),
        ("private_key_path", "a\ndeadbeef"),
    ],
)
def test_a_secret_in_place_of_a_reference_is_refused_and_not_repeated(key: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"venues\.kalshi\.{key}: ") as caught:
        load_settings(None, {"venues": {"kalshi": {key: value}}})
    assert "deadbeef" not in str(caught.value)


def test_kalshi_takes_more_markets_on_a_connection_than_polymarket_tokens() -> None:
    loaded = load_settings(None, {"venues": {"kalshi": {"assets_per_connection": 5_000}}})
    assert loaded.settings.venues[Venue.KALSHI].assets_per_connection == 5_000


def test_the_shipped_file_says_every_key_of_the_tree_and_no_other() -> None:
    loaded = load_settings(Path(__file__).resolve().parents[2] / DEFAULT_CONFIG)
    known = set(flatten_settings(loaded.settings))
    assert set(loaded.origins) <= known
    unsaid = known - set(loaded.origins)
    # Kalshi's table leaves out what it would repeat of Polymarket's
    assert {key for key in unsaid if not key.startswith("venues.kalshi.")} == set()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_health_pages_stay_on_loopback(host: str) -> None:
    assert load_settings(None, {"health": {"host": host}}).settings.health.host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "localhost.example", ""])  # noqa: S104
def test_others_reach_health_pages_only_where_that_is_said(host: str) -> None:
    with pytest.raises(ConfigurationError, match="can be reached by others"):
        load_settings(None, {"health": {"host": host}})
    assert load_settings(None, {"health": {"host": host, "expose": True}}).settings.health.expose
