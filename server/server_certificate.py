"""Whether a server's certificate is one that sites will accept: tried, in a handshake in memory."""

import ipaddress
import ssl
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from cryptography import x509

from federation.errors import IntegrityError
from federation.network_address import is_ip
from server.certificate_authority import first_certificate, read_key

_MOST_STEPS = 16


def require_acceptable(
    certificate: Path, key: Path, authorities: bytes, hosts: Sequence[str], now: datetime
) -> None:
    """Return if a client that trusts these authorities accepts the server under each of its names.

    Args:
        certificate: PEM: the server's, then its intermediates.
        key: its private key.
        authorities: PEM.
        hosts: names and addresses that sites reach the server by.
        now: for the dates; the handshake itself takes the machine's clock.

    Raises:
        IntegrityError: key, dates, a name or the chain do not fit; the text says which and what to
            do.
    """
    try:
        leaf = first_certificate(certificate.read_bytes())
    except IntegrityError as error:
        raise IntegrityError(f"{certificate}: {error}") from error
    if read_key(key.read_bytes(), str(key)).public_key() != leaf.public_key():
        raise IntegrityError(
            f"{certificate} is not for the key {key}: have the CA sign the request beside that key"
        )
    _require_current(leaf, certificate, now)
    missing = [host for host in hosts if not _is_for(leaf, host)]
    if missing:
        raise IntegrityError(
            f"{certificate} is not for {', '.join(missing)}: coordinator.toml names "
            f"{', '.join(hosts)}; sites would refuse it"
        )
    for host in hosts:
        _shake_hands(certificate, key, authorities, host)


def _require_current(leaf: x509.Certificate, path: Path, now: datetime) -> None:
    if now > leaf.not_valid_after_utc:
        raise IntegrityError(f"{path} expired at {leaf.not_valid_after_utc.isoformat()}")
    if now < leaf.not_valid_before_utc:
        raise IntegrityError(
            f"{path} is good from {leaf.not_valid_before_utc.isoformat()} on only; this machine's "
            f"clock says {now.isoformat(timespec='seconds')}"
        )


def _is_for(leaf: x509.Certificate, host: str) -> bool:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    if is_ip(host):
        return ipaddress.ip_address(host) in names.get_values_for_type(x509.IPAddress)
    known = [name.lower() for name in names.get_values_for_type(x509.DNSName)]
    return host in known or f"*.{host.partition('.')[2]}" in known


def _shake_hands(certificate: Path, key: Path, authorities: bytes, host: str) -> None:
    """A TLS handshake between two ends in memory: what sites verify, by the same library."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate, key)
    connecting = ssl.create_default_context(cadata=authorities.decode())
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = serving.wrap_bio(to_server, to_client, server_side=True)
    client = connecting.wrap_bio(to_client, to_server, server_hostname=host)
    try:
        for _ in range(_MOST_STEPS):
            ended = [_has_ended(one) for one in (client, server)]
            if all(ended):
                return
    except ssl.SSLCertVerificationError as error:
        raise IntegrityError(
            f"{certificate}: a site would refuse it under the name {host}: {error.verify_message}; "
            "does the file hold the server's certificate and then every intermediate one?"
        ) from error
    except ssl.SSLError as error:
        raise IntegrityError(f"{certificate}: no TLS under the name {host}: {error}") from error
    raise IntegrityError(f"{certificate}: the TLS handshake under the name {host} did not end")


def _has_ended(end: ssl.SSLObject) -> bool:
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True
