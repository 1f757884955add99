"""One typed settings tree: TOML file, then environment, then command line.

Every key is validated here and shipped with a comment in ``config/surveillance.toml``. An unknown
key, a wrong type or an unreadable file is a ``ConfigurationError`` naming the key's path and where
the value came from; commands turn it into exit code 78.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self, cast

from pydantic import ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from surveillance_core.markets import Venue
from surveillance_core.settings_tables import (
    CompactionSettings,
    HealthSettings,
    JournalSettings,
    MockSettings,
    OrchestrationSettings,
    RotationSettings,
    StorageSettings,
    UniverseSettings,
    VenueEndpoints,
    VenuesSettings,
)

ENVIRONMENT_PREFIX = "SURVEILLANCE__"
DEFAULT_CONFIG = Path("config/surveillance.toml")
EXIT_CONFIGURATION = 78
"""Exit code of a bad configuration (sysexits EX_CONFIG)."""


class ConfigurationError(Exception):
    """The configuration cannot be used; the message names key, cause and origin."""


class _TomlSource(PydanticBaseSettingsSource):
    """The parsed file, already read, as the lowest source."""

    def __init__(self, settings_cls: type[BaseSettings], content: dict[str, Any]) -> None:
        super().__init__(settings_cls)
        self._content = content

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        return self._content.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return self._content


_file_content: dict[str, Any] = {}


class Settings(BaseSettings):
    """The whole tree. Build it with ``load_settings``."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        case_sensitive=False,
    )

    data_dir: str = "data"
    venues: VenuesSettings = VenuesSettings()
    storage: StorageSettings = StorageSettings()
    journal: JournalSettings = JournalSettings()
    rotation: RotationSettings = RotationSettings()
    mock: MockSettings = MockSettings()
    universe: UniverseSettings = UniverseSettings()
    health: HealthSettings = HealthSettings()
    orchestration: OrchestrationSettings = OrchestrationSettings()
    compaction: CompactionSettings = CompactionSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Highest first: command line, environment, file."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, _TomlSource(settings_cls, _file_content)

    @model_validator(mode="after")
    def _hot_fits(self) -> Self:
        for venue in Venue:
            table = self.venues[venue]
            if table.hot_count > table.max_subs:
                raise ValueError(
                    f"venues.{venue}.hot_count ({table.hot_count}) exceeds max_subs "
                    f"({table.max_subs})"
                )
        return self

    @property
    def origin(self) -> Literal["real", "simulated"]:
        """Whether what is collected comes from the real venues; a lake holds one kind only."""
        return "simulated" if self.mock.enabled else "real"

    def endpoints(self, venue: Venue) -> VenueEndpoints:
        """Addresses in force: the venue's own, or the simulated ones where mock is enabled."""
        if self.mock.enabled and venue is Venue.KALSHI:
            http = f"http://127.0.0.1:{self.mock.kalshi_http_port}/trade-api/v2"
            return VenueEndpoints(
                rest_url=http,
                clob_url=http,
                ws_url=f"ws://127.0.0.1:{self.mock.kalshi_ws_port}/trade-api/ws/v2",
            )
        if self.mock.enabled:
            http = f"http://127.0.0.1:{self.mock.http_port}"
            return VenueEndpoints(
                rest_url=http,
                clob_url=http,
                ws_url=f"ws://127.0.0.1:{self.mock.ws_port}/ws/market",
            )
        table = self.venues[venue]
        return VenueEndpoints(
            rest_url=table.rest_url, clob_url=table.clob_url or table.rest_url, ws_url=table.ws_url
        )


class LoadedSettings:
    """Settings with the origin of each value.

    Attributes
    ----------
    settings
        The validated tree.
    origins
        ``"file"``, ``"environment"`` or ``"command line"`` by dotted key; absent keys are defaults.
    path
        The file read, None where none was given and none is at the default place.
    """

    def __init__(self, settings: Settings, origins: Mapping[str, str], path: Path | None) -> None:
        self.settings = settings
        self.origins = origins
        self.path = path


def load_settings(
    config: Path | None = None, overrides: Mapping[str, Any] | None = None
) -> LoadedSettings:
    """Read, merge and validate the settings.

    Parameters
    ----------
    config
        The TOML file. None takes ``$SURVEILLANCE_CONFIG`` or ``config/surveillance.toml``, which
        may be absent; a file that is named must exist.
    overrides
        Command-line values as a nested mapping; None values are left out.

    Raises
    ------
    ConfigurationError
        With the key's dotted path, the cause and where the value came from.
    """
    global _file_content
    path = _config_path(config)
    content = _read_toml(path) if path is not None else {}
    from_cli = _without_none(overrides or {})
    origins = dict.fromkeys(_flatten(content), "file")
    origins |= dict.fromkeys(_environment_keys(), "environment")
    origins |= dict.fromkeys(_flatten(from_cli), "command line")
    _file_content = content
    try:
        settings = Settings(**from_cli)
    except ValidationError as error:
        raise ConfigurationError(_explain(error, origins, path)) from error
    except Exception as error:  # pydantic-settings wraps JSON errors of variables in its own class
        raise ConfigurationError(f"environment: {error}") from error
    finally:
        _file_content = {}
    return LoadedSettings(settings, origins, path)


def flatten_settings(settings: Settings) -> dict[str, object]:
    """Every key with its value in force, dotted, in the tree's order."""
    return _flatten(settings.model_dump())


def _config_path(config: Path | None) -> Path | None:
    if config is not None:
        return config
    named = os.environ.get("SURVEILLANCE_CONFIG")
    if named:
        return Path(named)
    return DEFAULT_CONFIG if DEFAULT_CONFIG.exists() else None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"{path}: no such file. Name an existing one with --config."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: not valid TOML: {error}") from error


def _environment_keys() -> dict[str, object]:
    """Dotted keys set in the environment; refuses top-level names the tree does not have."""
    keys: dict[str, object] = {}
    for name, value in os.environ.items():
        if name.upper().startswith(ENVIRONMENT_PREFIX):
            dotted = name[len(ENVIRONMENT_PREFIX) :].lower().replace("__", ".")
            # pydantic-settings overlooks unknown variables at the top level
            if dotted.split(".")[0] not in Settings.model_fields:
                raise ConfigurationError(f"{dotted}: unknown key (environment: {name})")
            keys[dotted] = value
    return keys


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flatten(cast("Mapping[str, Any]", value), f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _without_none(tree: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            inner = _without_none(cast("Mapping[str, Any]", value))
            if inner:
                kept[key] = inner
        elif value is not None:
            kept[key] = value
    return kept


def _explain(error: ValidationError, origins: Mapping[str, str], path: Path | None) -> str:
    lines: list[str] = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        origin = origins.get(key)
        where = f" ({path if origin == 'file' else origin})" if origin else ""
        cause = "unknown key" if problem["type"] == "extra_forbidden" else problem["msg"]
        lines.append(f"{key}: {cause}{where}" if key else f"{cause}")
    return "; ".join(lines)
