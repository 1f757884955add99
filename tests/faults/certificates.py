"""Certificates for 127.0.0.1, each with one thing wrong, and peers that show them."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

_DAY = timedelta(days=1)
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Flaw(StrEnum):
    """What is wrong with a certificate."""

    NONE = "sound"
    EXPIRED = "expired"
    NOT_YET = "not yet valid"
    WRONG_HOST = "of another host"
    SELF_SIGNED = "self-signed"
    UNKNOWN_ISSUER = "of an unknown issuer"
    WEAK = "with a weak key"


SAYS = {
    Flaw.EXPIRED: "certificate has expired",
    Flaw.NOT_YET: "certificate is not yet valid",
    Flaw.WRONG_HOST: "certificate is not valid for '127.0.0.1'",
    Flaw.SELF_SIGNED: "self-signed certificate",
    Flaw.UNKNOWN_ISSUER: "unable to get local issuer certificate",
    Flaw.WEAK: "key too weak",
}
"""What the refusal of each has to say."""


@dataclass(frozen=True)
class Authority:
    """An issuer of certificates."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def write(self, path: Path) -> Path:
        """Put the certificate where whoever is to trust it finds it."""
        path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        return path


def new_authority(name: str) -> Authority:
    """An issuer that nobody trusts yet."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(name, name, key, timedelta(0)).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    return Authority(builder.sign(key, hashes.SHA256()), key)


def server_context(flaw: Flaw, trusted: Authority, folder: Path) -> ssl.SSLContext:
    """What a server shows whose certificate has the flaw."""
    key: Key = ec.generate_private_key(ec.SECP256R1())
    if flaw is Flaw.WEAK:
        key = rsa.generate_private_key(public_exponent=65_537, key_size=1024)  # noqa: S505  # the flaw
    shift = {Flaw.EXPIRED: -10 * _DAY, Flaw.NOT_YET: 10 * _DAY}.get(flaw, timedelta(0))
    issuer = new_authority("somebody") if flaw is Flaw.UNKNOWN_ISSUER else trusted
    named = issuer.certificate.subject.rfc4514_string().removeprefix("CN=")
    host = x509.DNSName("other.example")
    if flaw is not Flaw.WRONG_HOST:
        host = x509.IPAddress(ip_address("127.0.0.1"))
    self_signed = flaw is Flaw.SELF_SIGNED
    builder = _builder("venue", "venue" if self_signed else named, key, shift)
    builder = builder.add_extension(x509.SubjectAlternativeName([host]), critical=False)
    certificate = builder.sign(key if self_signed else issuer.key, hashes.SHA256())
    path = folder / f"{flaw.name.lower()}.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # it is the client that has to mind a weak key
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.load_cert_chain(path)
    return context


def _builder(name: str, issuer: str, key: Key, shift: timedelta) -> x509.CertificateBuilder:
    now = datetime.now(UTC) + shift
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
    )
