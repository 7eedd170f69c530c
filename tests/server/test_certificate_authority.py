"""Certificates made here: accepted by TLS under their names, and by nobody under others."""

import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import AF_INET, SOCK_STREAM, create_connection, socket
from threading import Thread

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from federation.errors import IntegrityError
from server.certificate_authority import (
    KeyAndCertificate,
    days_left,
    loopback_identity,
    new_authority,
    new_key,
    server_certificate,
    signing_request,
)
from server.server_certificate import require_acceptable

NOW = datetime.now(UTC)
HOSTS = ("fed.example.org", "localhost", "127.0.0.1", "::1")
AUTHORITY = new_authority("f", NOW)


@pytest.fixture
def files(tmp_path) -> tuple[Path, Path]:
    return made(tmp_path, AUTHORITY, HOSTS, NOW, 30)


def made(folder: Path, authority: KeyAndCertificate, hosts, now, days) -> tuple[Path, Path]:
    certificate, key = folder / "server.pem", folder / "server.key"
    key.write_bytes(new_key())
    certificate.write_bytes(server_certificate(authority, hosts, key.read_bytes(), now, days))
    return certificate, key


def connect(certificate: Path, key: Path, ca: bytes, name: str) -> str:
    """The cipher of one TLS connection over a socket on loopback."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate, key)
    listener = socket(AF_INET, SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen(1)
    listener.settimeout(30)

    def serve() -> None:
        raw, _ = listener.accept()
        with raw:
            raw.settimeout(30)
            try:
                with serving.wrap_socket(raw, server_side=True) as secured:
                    secured.recv(1)
            except OSError:
                pass  # the client refused; the assertion is on its side

    thread = Thread(target=serve)
    thread.start()
    try:
        context = ssl.create_default_context(cadata=ca.decode())
        with (
            create_connection(listener.getsockname(), timeout=30) as raw,
            context.wrap_socket(raw, server_hostname=name) as client,
        ):
            return client.cipher()[0]
    finally:
        thread.join()
        listener.close()


@pytest.mark.parametrize("name", HOSTS)
def test_a_client_that_trusts_the_ca_connects_under_every_name(files, name: str) -> None:
    assert connect(*files, AUTHORITY.certificate, name)
    require_acceptable(*files, AUTHORITY.certificate, (name,), NOW)


@pytest.mark.parametrize(
    "name", ["example.org", "evil.example.org", "127.0.0.2", "fed.example.com"]
)
def test_no_client_connects_under_another_name(files, name: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        connect(*files, AUTHORITY.certificate, name)
    with pytest.raises(IntegrityError, match=f"is not for {name}"):
        require_acceptable(*files, AUTHORITY.certificate, (name,), NOW)


def test_no_client_connects_that_trusts_another_ca(files) -> None:
    other = new_authority("f", NOW).certificate
    with pytest.raises(ssl.SSLCertVerificationError, match="verify failed"):
        connect(*files, other, "localhost")
    with pytest.raises(IntegrityError, match="a site would refuse it under the name localhost"):
        require_acceptable(*files, other, ("localhost",), NOW)


def test_no_client_connects_after_the_end(tmp_path) -> None:
    old = NOW - timedelta(days=40)
    authority = new_authority("f", old)
    expired = made(tmp_path, authority, HOSTS, old, 30)
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        connect(*expired, authority.certificate, "localhost")
    with pytest.raises(IntegrityError, match=r"server\.pem expired at"):
        require_acceptable(*expired, authority.certificate, HOSTS, NOW)
    require = (*expired, authority.certificate, HOSTS)
    with pytest.raises(IntegrityError, match=r"is good from .* on only"):
        require_acceptable(*require, old - timedelta(days=1))


def test_nobody_connects_to_a_ca_that_expired(tmp_path) -> None:
    old = NOW - timedelta(days=40)
    authority = new_authority("f", old, days=30)
    files = made(tmp_path, authority, HOSTS, old, 397)
    assert days_left(files[0].read_bytes(), old) == pytest.approx(30)  # no longer than its CA
    with pytest.raises(IntegrityError, match="the CA expired at"):
        server_certificate(authority, HOSTS, new_key(), NOW, 30)


def test_a_key_of_another_certificate_is_refused(files) -> None:
    files[1].write_bytes(new_key())
    with pytest.raises(IntegrityError, match="is not for the key"):
        require_acceptable(*files, AUTHORITY.certificate, HOSTS, NOW)
    with pytest.raises(IntegrityError, match="not that of the CA's certificate"):
        server_certificate(
            KeyAndCertificate(new_key(), AUTHORITY.certificate), HOSTS, new_key(), NOW, 30
        )


def test_openssl_finds_the_chain_good_for_a_server_by_its_strictest_rules(files, tmp_path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(AUTHORITY.certificate)
    for name, option in (("fed.example.org", "-verify_hostname"), ("127.0.0.1", "-verify_ip")):
        command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", ca]
        told = subprocess.run(
            [*command, option, name, files[0]], capture_output=True, text=True, check=False
        )
        assert told.returncode == 0, told.stderr


def test_what_the_certificates_may_be_used_for() -> None:
    ca = x509.load_pem_x509_certificate(AUTHORITY.certificate)
    basic = ca.extensions.get_extension_for_class(x509.BasicConstraints)
    assert basic.critical
    assert (basic.value.ca, basic.value.path_length) == (True, 0)
    usage = ca.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.key_cert_sign, usage.digital_signature) == (True, False)
    leaf = x509.load_pem_x509_certificate(server_certificate(AUTHORITY, HOSTS, new_key(), NOW, 397))
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.key_cert_sign, usage.digital_signature) == (False, True)
    assert days_left(AUTHORITY.certificate, NOW) == pytest.approx(3650)


def test_a_server_cannot_pass_for_a_ca(files, tmp_path) -> None:
    """A site's TLS must not follow a certificate that a server signed with its own key."""
    forged_authority = KeyAndCertificate(files[1].read_bytes(), files[0].read_bytes())
    folder = tmp_path / "forged"
    folder.mkdir()
    forged = made(folder, forged_authority, ("localhost",), NOW, 10)
    forged[0].write_bytes(forged[0].read_bytes() + files[0].read_bytes())
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(*forged, AUTHORITY.certificate, "localhost")
    with pytest.raises(IntegrityError, match="a site would refuse it"):
        require_acceptable(*forged, AUTHORITY.certificate, ("localhost",), NOW)


def test_an_intermediate_that_is_left_out_is_noticed(tmp_path) -> None:
    root = new_authority("root", NOW)
    middle = _intermediate(root)
    files = made(tmp_path, middle, HOSTS, NOW, 30)
    with pytest.raises(IntegrityError, match="every intermediate one"):
        require_acceptable(*files, root.certificate, HOSTS, NOW)
    files[0].write_bytes(files[0].read_bytes() + middle.certificate)
    require_acceptable(*files, root.certificate, HOSTS, NOW)


def _intermediate(root: KeyAndCertificate) -> KeyAndCertificate:
    """An existing company's CA of two stages; the root of `new_authority` allows none."""
    made_here = new_authority("middle", NOW)
    old = x509.load_pem_x509_certificate(made_here.certificate)
    issuer = x509.load_pem_x509_certificate(root.certificate)
    signer = load_pem_private_key(root.key, password=None)
    root_again = _signed(issuer, issuer, signer, path_length=1)
    object.__setattr__(root, "certificate", root_again)
    return KeyAndCertificate(made_here.key, _signed(old, issuer, signer, path_length=0))


def _signed(like: x509.Certificate, issuer: x509.Certificate, signer, path_length: int) -> bytes:
    builder = (
        x509.CertificateBuilder()
        .subject_name(like.subject)
        .issuer_name(issuer.subject)
        .public_key(like.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(like.not_valid_before_utc)
        .not_valid_after(like.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
    )
    for extension in like.extensions:
        if isinstance(extension.value, x509.KeyUsage | x509.SubjectKeyIdentifier):
            builder = builder.add_extension(extension.value, extension.critical)
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())
    return (
        builder.add_extension(authority, critical=False)
        .sign(signer, SHA256())
        .public_bytes(Encoding.PEM)
    )


def test_the_signing_request_names_every_host_and_is_signed() -> None:
    key = new_key()
    request = x509.load_pem_x509_csr(signing_request(HOSTS, key))
    assert request.is_signature_valid
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["fed.example.org", "localhost"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]


def test_the_superlink_behind_the_edge_is_for_this_machine_alone(tmp_path) -> None:
    ca, pair = loopback_identity(NOW)
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    certificate.write_bytes(pair.certificate)
    key.write_bytes(pair.key)
    require_acceptable(certificate, key, ca, ("localhost", "127.0.0.1", "::1"), NOW)
    with pytest.raises(IntegrityError, match=r"is not for fed\.example\.org"):
        require_acceptable(certificate, key, ca, ("fed.example.org",), NOW)


def test_keys_do_not_show_in_messages() -> None:
    assert b"PRIVATE" in AUTHORITY.key
    assert "PRIVATE" not in repr(AUTHORITY)
