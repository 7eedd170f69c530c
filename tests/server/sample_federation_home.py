"""A coordinator's folder with certificates and free ports, made without the commands that make it."""

import datetime
import ipaddress
import socket
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from server.coordinator_config import CoordinatorConfig
from server.federation_home import FederationHome

Issued = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on right now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def sample_home(path: Path) -> FederationHome:
    """A folder whose own CA signed a certificate for 127.0.0.1 and localhost."""
    port, superlink, health, metrics, console = free_ports(5)
    config = CoordinatorConfig(
        name="trial",
        hosts=("localhost", "127.0.0.1"),
        port=port,
        bind="127.0.0.1",
        superlink_port=superlink,
        health_port=health,
        metrics_port=metrics,
        console_port=console,
    )
    home = FederationHome(path)
    home.create(config)
    for ca_path, certificate, key in (
        (home.ca, home.server_certificate, home.server_key),
        (home.loopback_ca, home.loopback_certificate, home.loopback_key),
    ):
        authority = issue("CA", None)
        write(ca_path, authority[0].public_bytes(Encoding.PEM))
        issued = issue("localhost", authority)
        write(certificate, issued[0].public_bytes(Encoding.PEM))
        write(key, private_pem(issued[1]))
    return home


def issue(name: str, issuer: Issued | None) -> Issued:
    """A certificate by an issuer, or a CA of its own."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"trial {name}")])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=90))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if issuer is not None:
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    path.chmod(0o600)
