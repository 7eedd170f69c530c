"""TLS servers on loopback with any certificate and any clock, for the doctor to look at."""

import datetime as dt
import ipaddress
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class Authority:
    """A CA in a folder."""

    folder: Path
    name: str = "Sample CA"

    def __post_init__(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        object.__setattr__(self, "key", key)
        certificate = _signed(self.name, self.name, key, key, (-1, 3650), ca=True, hosts=())
        object.__setattr__(self, "certificate", certificate)
        self.pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    @property
    def pem(self) -> Path:
        return self.folder / f"{self.name}.pem"

    def issue(self, days: tuple[float, float] = (-1, 365), host: str = "127.0.0.1") -> Path:
        """PEM of a key and a certificate that is valid so many days from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _signed(host, self.name, key, self.key, days, ca=False, hosts=(host,))
        path = self.folder / f"server {self.name} {host} {days}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        return path


def _signed(subject, issuer, key, signer, days, *, ca, hosts):
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + days[0] * DAY)
        .not_valid_after(now + days[1] * DAY)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if hosts:
        names = [_name(host) for host in hosts]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(signer, hashes.SHA256())


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


class _Answers(BaseHTTPRequestHandler):
    ahead = 0.0
    dated = True

    def do_GET(self) -> None:
        self.send_response_only(200)
        if self.dated:
            self.send_header("Date", formatdate(time.time() + self.ahead, usegmt=True))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:  # a client that does not believe us hangs up
        pass


@contextmanager
def tls_server(pem: Path | None, ahead: float = 0.0, *, dated: bool = True) -> Iterator[int]:
    """The port of a server with this certificate (None: no TLS), whose clock is so far ahead."""
    answers = type("Answers", (_Answers,), {"ahead": ahead, "dated": dated})
    server = _Server(("127.0.0.1", 0), answers)
    if pem is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
