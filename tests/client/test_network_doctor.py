"""The doctor's look at a coordinator, against real TLS servers: each wrong one by its own words."""

import socket
import threading
import time

import pytest
from loopback_tls import Authority, tls_server

from client.doctor_check import Verdict
from client.network_doctor import check_certificate, check_name, check_network, check_port
from client.site_home import SiteHome

HOST = "127.0.0.1"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


def look(port: int, authority: Authority, host: str = HOST):
    return check_certificate(host, port, authority.pem)


def test_a_coordinator_that_is_as_it_should_be_is_ok(authority):
    with tls_server(authority.issue()) as port:
        assert check_port(HOST, port).verdict is Verdict.OK
        certificate, clock = look(port, authority)
    assert (certificate.verdict, clock.verdict) == (Verdict.OK, Verdict.OK)
    assert "good for 365 days" in certificate.finding


def test_a_certificate_that_ends_soon_is_a_warning(authority):
    with tls_server(authority.issue((-1, 29))) as port:
        certificate, _ = look(port, authority)
    assert certificate.verdict is Verdict.WARN
    assert "good for 29 days" in certificate.finding


@pytest.mark.parametrize(
    ("days", "host", "says"),
    [
        ((-3, -1), HOST, "has expired (OpenSSL 10"),
        ((1, 3), HOST, "is not valid yet (OpenSSL 9"),
        ((-1, 3), "127.0.0.2", "is for another address (OpenSSL 64"),
        ((-1, 3), "fed.example.org", "is for another address (OpenSSL 64"),
    ],
)
def test_a_certificate_that_is_wrong_fails_with_the_exact_reason(authority, days, host, says):
    with tls_server(authority.issue(days, host)) as port:
        (certificate,) = look(port, authority)
    assert certificate.verdict is Verdict.FAIL
    assert says in certificate.finding
    assert certificate.remedy


def test_a_certificate_for_another_name_fails(authority):
    with tls_server(authority.issue(host="fed.example.org")) as port:
        (certificate,) = look(port, authority, "localhost")
    assert "is for another name (OpenSSL 62" in certificate.finding


def test_a_certificate_of_another_authority_fails_even_if_it_bears_the_same_name(
    authority, tmp_path
):
    for impostor in (Authority(tmp_path, "Another CA"), Authority(tmp_path)):
        with tls_server(impostor.issue()) as port:
            (certificate,) = look(port, authority)
        assert certificate.verdict is Verdict.FAIL
        # Of the same name with another key, OpenSSL finds that the signature is wrong.
        assert "another CA" in certificate.finding or "not believed" in certificate.finding


def test_a_port_without_tls_fails(authority):
    with tls_server(None) as port:
        (certificate,) = look(port, authority)
    assert certificate.verdict is Verdict.FAIL
    assert "no TLS at 127.0.0.1" in certificate.finding


@pytest.mark.parametrize(
    ("server_ahead", "verdict", "says"),
    [
        (1, Verdict.OK, "within 2 s"),
        (-3600, Verdict.FAIL, "ahead of the coordinator's; Flower takes 5 s ahead to 305 s"),
        (-8, Verdict.FAIL, "ahead of"),
        (60, Verdict.WARN, "behind the coordinator's"),
        (400, Verdict.FAIL, "behind the coordinator's; Flower"),
    ],
)
def test_a_clock_that_is_off_is_told_as_flower_would_take_it(
    authority, server_ahead, verdict, says
):
    with tls_server(authority.issue(), server_ahead) as port:
        _, clock = look(port, authority)
    assert clock.verdict is verdict
    assert says in clock.finding


def test_a_server_that_does_not_tell_the_time_is_a_warning(authority):
    with tls_server(authority.issue(), dated=False) as port:
        _, clock = look(port, authority)
    assert clock.verdict is Verdict.WARN
    assert "no time" in clock.finding


def test_a_closed_port_fails(authority):
    with socket.socket() as taken:
        taken.bind((HOST, 0))  # bound and not listening: nobody else gets it meanwhile
        check = check_port(HOST, taken.getsockname()[1])
    assert check.verdict is Verdict.FAIL
    assert "refused" in check.finding


def test_a_port_that_never_answers_fails_in_bounded_time(monkeypatch):
    def silent(*_: object):
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", silent)
    assert "does not answer within 10 s" in check_port(HOST, 9).finding


def hang_up(server: socket.socket) -> None:
    server.accept()[0].close()


def test_a_server_that_hangs_up_fails(authority):
    with socket.create_server((HOST, 0)) as server:
        threading.Thread(target=hang_up, args=(server,), daemon=True).start()
        (certificate,) = look(server.getsockname()[1], authority)
    assert certificate.verdict is Verdict.FAIL


def test_a_name_that_has_no_address_fails():
    check = check_name("no-such-host.invalid")
    assert check.verdict is Verdict.FAIL
    assert check_name("localhost").verdict is Verdict.OK
    assert "no name is looked up" in check_name("::1").finding


def test_a_connection_that_was_altered_ends_the_look(tmp_path):
    (tmp_path / "connection.toml").write_text("superlink = 1")
    (check,) = check_network(SiteHome(tmp_path))
    assert check.verdict is Verdict.FAIL
    assert "connection.toml" in check.finding


def test_the_clock_that_is_asked_is_the_sites(authority):
    with tls_server(authority.issue()) as port:
        _, clock = check_certificate(HOST, port, authority.pem, lambda: time.time() - 1000)
    assert clock.verdict is Verdict.FAIL
    assert "behind" in clock.finding
