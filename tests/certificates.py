"""Certificates for tests: a server's, signed by itself, for 127.0.0.1 and localhost."""

import ipaddress
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True)
class Pair:
    """A chain of one certificate and its key, in PEM; `der` is how a client sees the certificate."""

    chain: bytes
    key: bytes
    der: bytes

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Put both into `folder`, whole at once as the tools that renew certificates do. Returns the two paths."""
        folder.mkdir(exist_ok=True)
        chain, key = folder / "tls.crt", folder / "tls.key"
        replace(chain, self.chain)
        replace(key, self.key)
        return chain, key


def replace(path: Path, content: bytes) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.rename(path)


def make_pair(*, days: float = 90, password: bytes = b"", key: PrivateKey | None = None) -> Pair:
    """A fresh pair that is valid from a month ago until `days` from now; of an EC key unless one is given."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    # Of two issuers of one name OpenSSL would try the first only.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Test {serial:x}")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - timedelta(days=30))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return Pair(
        certificate.public_bytes(Encoding.PEM),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption),
        certificate.public_bytes(Encoding.DER),
    )


def make_rsa_pair() -> Pair:
    return make_pair(key=rsa.generate_private_key(65537, 2048))


def trusting(*pairs: Pair) -> ssl.SSLContext:
    """A client's context that trusts these certificates and no others."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata="".join(pair.chain.decode() for pair in pairs))
    return context
