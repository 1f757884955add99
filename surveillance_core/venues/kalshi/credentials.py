"""Which key a Kalshi handshake is signed with: the configured one, or one made for simulation.

A simulated key is made by whoever needs it first, the simulated venue or the collector, in the
state directory of the lake that both work on; it opens nothing but the simulated venue.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from surveillance_core.lake.layout import SIMULATED_KEY
from surveillance_core.lake.store import ObjectStoreOptions, open_store
from surveillance_core.settings import ConfigurationError, Settings
from surveillance_core.venues.kalshi.signing import (
    CredentialsError,
    Signer,
    load_private_key,
    load_signer,
)

SIMULATED_KEY_ID: Final = "simulated"
_RSA_BITS: Final = 2048


def signer_of(settings: Settings) -> Signer:
    """The signer in force.

    Raises
    ------
    ConfigurationError
        If the credentials are missing or cannot be used; names the key of the settings and the
        next step, and no secret.
    """
    table = settings.venues.kalshi
    try:
        if settings.mock.enabled:
            return simulated_signer(settings)
        return load_signer(table.api_key_id_env, table.private_key_path)
    except CredentialsError as error:
        raise ConfigurationError(
            f"venues.kalshi: {error}. See api_key_id_env and private_key_path in the settings; "
            "`surveillance doctor` checks them. Without a key set venues.kalshi.enabled = false"
        ) from None


def signer_if_any(settings: Settings) -> Signer | None:
    """The signer in force, None where no key is configured: a listing can be had without one.

    Raises
    ------
    ConfigurationError
        If a key is configured and cannot be used.
    """
    table = settings.venues.kalshi
    if not settings.mock.enabled and not table.private_key_path:
        return None
    return signer_of(settings)


def simulated_signer(settings: Settings) -> Signer:
    """Signs as the simulated venue expects it; makes the key if nobody has yet.

    Raises
    ------
    CredentialsError
        If the key's file cannot be made or was changed by others.
    """
    return Signer(SIMULATED_KEY_ID, _simulated_key(settings))


def simulated_public_key(settings: Settings) -> rsa.RSAPublicKey:
    """What the simulated venue verifies handshakes with; makes the key if nobody has yet.

    Raises
    ------
    CredentialsError
        If the key's file cannot be made or was changed by others.
    """
    return _simulated_key(settings).public_key()


def _simulated_key(settings: Settings) -> rsa.RSAPrivateKey:
    options = ObjectStoreOptions(settings.storage.s3_endpoint_url, settings.storage.s3_region)
    path = open_store(settings.data_dir, options).state_dir() / SIMULATED_KEY
    if not path.exists():
        try:
            _make_key_file(path)
        except OSError as error:
            raise CredentialsError(f"{path}: cannot be made: {error.strerror}") from None
    key = load_private_key(path)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise CredentialsError(f"{path}: not a simulated key; remove it and it is made anew")
    return key


def _make_key_file(path: Path) -> None:
    """Make the key visible whole or not at all; another process's key is left as it is."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=_RSA_BITS)
    content = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    # readable by its owner alone from the beginning
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".simulated-", suffix=".pem")
    staged = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(staged, path)
    finally:
        staged.unlink()
