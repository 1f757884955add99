"""Whether a request is signed by a known key (reference kalshi.md 2).

Pure: headers and the time in, a verdict out. The text, the padding and the salt are written out
here anew rather than taken from the client's signer, which this has to be able to contradict.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

PublicKey = RSAPublicKey | Ed25519PublicKey

KEY_HEADER: Final = "KALSHI-ACCESS-KEY"
TIME_HEADER: Final = "KALSHI-ACCESS-TIMESTAMP"
SIGNATURE_HEADER: Final = "KALSHI-ACCESS-SIGNATURE"
_SALT_BYTES: Final = 32


class Caller(msgspec.Struct, frozen=True):
    """Who asks: a key's id, or nobody with the reason why not."""

    key_id: str | None
    refusal: str | None = None
    """Why the headers were refused; None where they are right or where there are none."""


class Verifier:
    """Checks signatures against the keys of an account.

    Parameters
    ----------
    public_keys
        By key id.
    skew_ms
        Furthest that a signature's time may be from the clock, milliseconds.
    """

    def __init__(self, public_keys: Mapping[str, PublicKey], skew_ms: int) -> None:
        self._keys = dict(public_keys)
        self._skew_ms = skew_ms

    def identify(self, headers: Mapping[str, str], method: str, target: str, now_ms: int) -> Caller:
        """Who made a request.

        Parameters
        ----------
        headers
            Looked up without regard to case by the mapping itself.
        target
            The path from the host's root as sent; a query is no part of what is signed.
        """
        key_id, stamp, signature = (
            headers.get(name) for name in (KEY_HEADER, TIME_HEADER, SIGNATURE_HEADER)
        )
        if key_id is None and stamp is None and signature is None:
            return Caller(None)
        if not key_id or not stamp or not signature:
            return Caller(None, "missing header")
        key = self._keys.get(key_id)
        if key is None:
            return Caller(None, "unknown key")
        if not (stamp.isascii() and stamp.isdigit()) or len(stamp) > 15:
            return Caller(None, "malformed timestamp")
        if abs(int(stamp) - now_ms) > self._skew_ms:
            return Caller(None, "timestamp expired")
        text = f"{stamp}{method.upper()}{target.partition('?')[0]}".encode()
        if not _verifies(key, signature, text):
            return Caller(None, "wrong signature")
        return Caller(key_id)


def _verifies(key: PublicKey, signature: str, text: bytes) -> bool:
    try:
        raw = base64.b64decode(signature, validate=True)
        if isinstance(key, Ed25519PublicKey):
            key.verify(raw, text)
        else:
            key.verify(raw, text, PSS(mgf=MGF1(SHA256()), salt_length=_SALT_BYTES), SHA256())
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True
