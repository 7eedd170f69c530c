"""The certificate files of a federation's folder: made, renewed, installed, looked at."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from federation.bounded_file import read_bounded
from federation.durable_file import write_atomically
from federation.errors import IntegrityError, UsageError
from federation.membership import read_membership
from federation.site_package import require_authorities
from server.certificate_authority import (
    KeyAndCertificate,
    days_left,
    loopback_identity,
    new_authority,
    new_key,
    server_certificate,
    signing_request,
)
from server.federation_home import FederationHome
from server.server_certificate import require_acceptable

LARGEST_BYTES = 2**18
"""No file of certificates is longer."""


def create_own(home: FederationHome, now: datetime) -> None:
    """A CA of the federation's own, and the server's certificate under it."""
    _new_authority(home, now)
    write_atomically(home.server_key, new_key(), mode=0o600)
    _issue(home, now)
    _create_loopback(home, now)


def create_for_existing(home: FederationHome, authorities: Path, now: datetime) -> None:
    """A key and a signing request for a CA that there is already.

    Raises:
        UsageError, IntegrityError: the CA's file cannot be read, or is no CA's.
    """
    pem = _read_authorities(authorities)
    write_atomically(home.ca, pem)
    write_atomically(home.server_key, new_key(), mode=0o600)
    _write_request(home)
    _create_loopback(home, now)


def install(home: FederationHome, certificate: Path, now: datetime) -> None:
    """Take what an existing CA signed, if sites will accept it.

    Raises:
        UsageError, IntegrityError: it cannot be read; key, dates, names or chain do not fit.
    """
    data = read_bounded(certificate, LARGEST_BYTES, "the server's certificate")
    require_acceptable(certificate, home.server_key, home.ca.read_bytes(), home.config().hosts, now)
    write_atomically(home.server_certificate, data)


def renew(home: FederationHome, now: datetime, *, new_server_key: bool, new_ca: bool) -> Path:
    """A new certificate for the server, or a new request for an existing CA; returns which file.

    Raises:
        UsageError: a new CA is asked for where an existing one is used.
        IntegrityError: the CA has expired, or its key is not there or not its own.
    """
    own = home.ca_key.exists()
    if new_ca:
        if not own:
            raise UsageError(
                "this federation uses an existing CA; whoever runs it makes a new one, and "
                "hedgerow coordinator certificate authority FED CA.pem takes it"
            )
        _new_authority(home, now)
    if new_server_key:
        write_atomically(home.server_key, new_key(), mode=0o600)
    if own:
        _issue(home, now)
        return home.server_certificate
    _write_request(home)
    return home.server_request


def replace_authority(home: FederationHome, authorities: Path) -> None:
    """Use another existing CA from now on, and ask it for a certificate.

    Raises:
        UsageError, IntegrityError: the CA's file cannot be read, or is no CA's.
    """
    pem = _read_authorities(authorities)
    home.ca_key.unlink(missing_ok=True)
    write_atomically(home.ca, pem)
    _write_request(home)


def _read_authorities(path: Path) -> bytes:
    pem = read_bounded(path, LARGEST_BYTES, "the CA's certificate")
    try:
        require_authorities(pem)
    except IntegrityError as error:
        raise IntegrityError(f"{path}: {error}") from error
    return pem


@dataclass(frozen=True, slots=True)
class Expiry:
    """How long something is still good.

    Attributes:
        what: it is, in words.
        days: left; below 0 when it has ended.
    """

    what: str
    days: float


def expiries(home: FederationHome, now: datetime) -> list[Expiry]:
    """Of every certificate of the federation that is there, the one that ends first at the top."""
    found = [
        Expiry(what, days_left(path.read_bytes(), now))
        for what, path in (
            ("the coordinator's certificate", home.server_certificate),
            ("the CA", home.ca),
            ("the certificate of the SuperLink behind the edge", home.loopback_certificate),
        )
        if path.exists()
    ]
    members = read_membership(home.given)
    for one in members.roster.certificates if members else ():
        end = datetime.fromtimestamp(one.not_after, UTC)
        found.append(Expiry(f"the certificate of {one.site}", (end - now).total_seconds() / 86_400))
    return sorted(found, key=lambda one: one.days)


def _new_authority(home: FederationHome, now: datetime) -> None:
    made = new_authority(home.config().name, now)
    write_atomically(home.ca_key, made.key, mode=0o600)
    write_atomically(home.ca, made.certificate)


def _issue(home: FederationHome, now: datetime) -> None:
    config = home.config()
    authority = KeyAndCertificate(home.ca_key.read_bytes(), home.ca.read_bytes())
    key = home.server_key.read_bytes()
    signed = server_certificate(authority, config.hosts, key, now, config.server_certificate_days)
    write_atomically(home.server_certificate, signed)


def _write_request(home: FederationHome) -> None:
    request = signing_request(home.config().hosts, home.server_key.read_bytes())
    write_atomically(home.server_request, request)


def _create_loopback(home: FederationHome, now: datetime) -> None:
    authority, made = loopback_identity(now)
    write_atomically(home.loopback_key, made.key, mode=0o600)
    write_atomically(home.loopback_ca, authority)
    write_atomically(home.loopback_certificate, made.certificate)
