"""The TLS certificates of a coordinator: its own CA, or an existing one that signs its request.

EC keys (P-384 for a CA, P-256 for servers) and the extensions of RFC 5280: a CA that may only sign
leaves (`pathlen 0`), servers whose names stand in subjectAltName, as clients demand (RFC 9525).
Pure: keys, names and the time come in, PEM goes out.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from federation.errors import IntegrityError
from federation.network_address import is_ip

AUTHORITY_DAYS = 3650
"""Ten years: sites pin it, and replacing it means that all of them join again."""
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
BACKDATED = timedelta(hours=1)
"""So that a site whose clock is a little slow can connect at once."""


@dataclass(frozen=True, slots=True)
class KeyAndCertificate:
    """Both as PEM."""

    key: bytes = field(repr=False)
    certificate: bytes


def new_key() -> bytes:
    """A fresh key for a server, PEM: EC P-256."""
    return _key_pem(ec.generate_private_key(ec.SECP256R1()))


def new_authority(name: str, now: datetime, days: int = AUTHORITY_DAYS) -> KeyAndCertificate:
    """A CA for one federation.

    Args:
        name: of the federation.
        now: when it begins.
        days: that it is good for.
    """
    key = ec.generate_private_key(ec.SECP384R1())
    subject = _name(f"hedgerow CA of {name}"[:64])
    builder = (
        _builder(subject, subject, key.public_key(), (now - BACKDATED, now + timedelta(days)))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
        )
    )
    return KeyAndCertificate(_key_pem(key), _pem(builder.sign(key, SHA384())))


def server_certificate(
    authority: KeyAndCertificate, hosts: Sequence[str], key: bytes, now: datetime, days: int
) -> bytes:
    """A certificate for a server, PEM; it ends no later than its CA.

    Args:
        authority: that signs it.
        hosts: DNS names and IP addresses; the first is its common name, too.
        key: the server's private key, PEM.
        now: when it begins.
        days: that it is good for.

    Raises:
        IntegrityError: the CA's key is not of its certificate, or has expired.
    """
    issuer = x509.load_pem_x509_certificate(authority.certificate)
    signer = read_key(authority.key, "the CA's key")
    if signer.public_key() != issuer.public_key():
        raise IntegrityError("the CA's key is not that of the CA's certificate")
    until = min(now + timedelta(days), issuer.not_valid_after_utc)
    if until <= now:
        raise IntegrityError(
            f"the CA expired at {issuer.not_valid_after_utc.isoformat()}: make a new one with "
            "hedgerow coordinator certificate renew FED --new-authority"
        )
    public = read_key(key, "the server's key").public_key()
    begin = max(now - BACKDATED, issuer.not_valid_before_utc)
    builder = (
        _builder(_name(_common_name(hosts)), issuer.subject, public, (begin, until))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(_alternative_names(hosts), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    return _pem(builder.sign(signer, SHA384()))


def signing_request(hosts: Sequence[str], key: bytes) -> bytes:
    """What an existing CA is asked to sign, PEM (PKCS #10)."""
    builder = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(_name(_common_name(hosts)))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(_alternative_names(hosts), critical=False)
    )
    signed = builder.sign(read_key(key, "the server's key"), SHA256())
    return signed.public_bytes(Encoding.PEM)


def loopback_identity(now: datetime) -> tuple[bytes, KeyAndCertificate]:
    """A CA, and a server of this machine alone under it; nobody can sign with that CA again.

    For the SuperLink behind the edge: an existing CA would not sign for localhost.
    """
    authority = new_authority("this machine", now)
    key = new_key()
    signed = server_certificate(authority, LOOPBACK_HOSTS, key, now, AUTHORITY_DAYS)
    return authority.certificate, KeyAndCertificate(key, signed)


def first_certificate(pem: bytes) -> x509.Certificate:
    """The leaf of a chain.

    Raises:
        IntegrityError: the file holds no certificate.
    """
    try:
        return x509.load_pem_x509_certificates(pem)[0]
    except (ValueError, IndexError) as error:
        raise IntegrityError("it holds no certificate in PEM") from error


def days_left(pem: bytes, now: datetime | None = None) -> float:
    """Days until the first certificate in a file ends; below 0 when it has.

    Args:
        pem: of one certificate, or a chain.
        now: the present time if None.

    Raises:
        IntegrityError: the file holds no certificate.
    """
    end = first_certificate(pem).not_valid_after_utc
    return (end - (now or datetime.now(UTC))) / timedelta(days=1)


def read_key(pem: bytes, what: str) -> ec.EllipticCurvePrivateKey:
    """An EC private key.

    Args:
        pem: without a password.
        what: it is, for errors.

    Raises:
        IntegrityError: it is none.
    """
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise IntegrityError(f"{what} is no private key in PEM without a password") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise IntegrityError(f"{what} is no EC key")
    return key


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    validity: tuple[datetime, datetime],
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(validity[0])
        .not_valid_after(validity[1])
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative_names(hosts: Sequence[str]) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName(
        [
            x509.IPAddress(ipaddress.ip_address(host)) if is_ip(host) else x509.DNSName(host)
            for host in hosts
        ]
    )


def _common_name(hosts: Sequence[str]) -> str:
    short = [host for host in hosts if len(host) <= 64]  # X.520's bound on common names
    return short[0] if short else "hedgerow coordinator"


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
