"""Signed headers of a request or a WebSocket handshake, and the key they are made with.

Recipe (reference kalshi.md 2): the text ``timestamp_ms + METHOD + path``, the path from the host's
root without query, signed with RSA-PSS (SHA-256, MGF1 of SHA-256, a salt of 32 bytes) or Ed25519,
in base64. The venue wants them even for public channels, and afresh for each connection.

A key is a secret: it never stands in a message, a ``repr`` or a log.
"""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

WS_PATH: Final = "/trade-api/ws/v2"

_PEM_BEGINNINGS: Final = (b"-----BEGIN RSA PRIVATE KEY-----", b"-----BEGIN PRIVATE KEY-----")
_LEAST_RSA_BITS: Final = 2048
_LARGEST_KEY_FILE: Final = 65_536
_SALT_BYTES: Final = 32

PrivateKey = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


class CredentialsError(Exception):
    """Credentials that cannot be used; names the variable or the file and what to do, no secret."""


class Signer:
    """Makes signed headers; shows neither the key nor its id."""

    __slots__ = ("_key", "_key_id")

    def __init__(self, key_id: str, key: PrivateKey) -> None:
        self._key_id = key_id
        self._key = key

    def headers(self, method: str, path: str, timestamp_ms: int) -> dict[str, str]:
        """Headers that authorise one request at that time.

        Parameters
        ----------
        path
            From the host's root, as sent; a query is left out of the signed text.
        timestamp_ms
            Milliseconds since the epoch, by a clock the venue would agree with.
        """
        text = signed_text(method, path, timestamp_ms)
        if isinstance(self._key, rsa.RSAPrivateKey):
            pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=_SALT_BYTES)
            signature = self._key.sign(text, pss, hashes.SHA256())
        else:
            signature = self._key.sign(text)
        return {
            "KALSHI-ACCESS-KEY": self._key_id,
            "KALSHI-ACCESS-TIMESTAMP": str(timestamp_ms),
            "KALSHI-ACCESS-SIGNATURE": base64.b64encode(signature).decode(),
        }

    def handshake_headers(self, timestamp_ms: int, path: str = WS_PATH) -> dict[str, str]:
        """Headers of a WebSocket handshake."""
        return self.headers("GET", path, timestamp_ms)

    def __repr__(self) -> str:
        return "Signer(...)"

    def __reduce__(self) -> str:
        raise TypeError("a signer holds a secret and cannot be pickled")


def signed_text(method: str, path: str, timestamp_ms: int) -> bytes:
    """What is signed.

    Examples
    --------
    >>> signed_text("get", "/trade-api/v2/markets?limit=1", 1703123456789)
    b'1703123456789GET/trade-api/v2/markets'
    """
    return f"{timestamp_ms}{method.upper()}{path.partition('?')[0]}".encode()


def load_signer(
    api_key_id_env: str, private_key_path: str | Path, environment: Mapping[str, str] | None = None
) -> Signer:
    """A signer from the references in the settings.

    Parameters
    ----------
    api_key_id_env
        Name of the environment variable that holds the key's id.
    private_key_path
        The key's file: PEM, unencrypted, readable by its owner alone.
    environment
        Defaults to the process's.

    Raises
    ------
    CredentialsError
        If either is missing or cannot be used, or if others may read the file.
    """
    if not api_key_id_env or not str(private_key_path):
        raise CredentialsError(
            "api_key_id_env and private_key_path must both be set: "
            "the venue wants a signed handshake even for public channels"
        )
    found = (os.environ if environment is None else environment).get(api_key_id_env, "").strip()
    if not found:
        raise CredentialsError(f"{api_key_id_env}: not set; put the key's id in this variable")
    if not found.isascii() or not found.isprintable() or " " in found:
        raise CredentialsError(f"{api_key_id_env}: does not hold a key id; it goes in a header")
    return Signer(found, load_private_key(Path(private_key_path).expanduser()))


def load_private_key(path: Path) -> PrivateKey:
    """The key in a file: PEM, unencrypted, readable by its owner alone.

    Raises
    ------
    CredentialsError
        If it cannot be used, or if others may read the file.
    """
    return _parse_key(_read_key_file(path), path)


def _read_key_file(path: Path) -> bytes:
    """Content of the file, judged by the descriptor that it is read from."""
    try:
        # not blocking: the path may be a pipe that nobody writes to
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise CredentialsError(f"{path}: cannot be opened: {error.strerror}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise CredentialsError(f"{path}: not a regular file")
        if status.st_uid not in (os.geteuid(), 0):
            raise CredentialsError(f"{path}: belongs to another user; make it your own")
        if status.st_mode & 0o077:
            mode = stat.S_IMODE(status.st_mode)
            raise CredentialsError(
                f"{path}: others may read or change it (mode {mode:04o}); run chmod 600 on it"
            )
        if status.st_size > _LARGEST_KEY_FILE:
            raise CredentialsError(f"{path}: too large for a key ({status.st_size} bytes)")
        return os.read(descriptor, _LARGEST_KEY_FILE)
    except OSError as error:
        raise CredentialsError(f"{path}: cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)


def _parse_key(content: bytes, path: Path) -> PrivateKey:
    if not content.lstrip().startswith(_PEM_BEGINNINGS):
        raise CredentialsError(
            f"{path}: not a private key in PEM (PKCS#1 or PKCS#8, not encrypted); "
            "use the file that the venue offered when the key was made"
        )
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # the cause may quote the content
        raise CredentialsError(f"{path}: the key is damaged or encrypted") from None
    if isinstance(key, rsa.RSAPrivateKey):
        if key.key_size < _LEAST_RSA_BITS:
            raise CredentialsError(f"{path}: RSA of {key.key_size} bits; at least 2048 are wanted")
        return key
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key
    raise CredentialsError(f"{path}: neither an RSA nor an Ed25519 key")
