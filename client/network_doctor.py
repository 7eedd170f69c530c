"""The doctor's look at the way to the coordinator: name, port, certificate, clock, registration."""

import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from client.doctor_check import Check, fail, from_error, ok, warn
from client.site_home import SiteHome
from client.site_processes import read_node_state
from federation.errors import HedgerowError
from federation.network_address import address
from federation.site_connection import SiteConnection

CONNECT_SECONDS = 10.0
SOON_DAYS = 30
AHEAD_SECONDS, BEHIND_SECONDS = 5.0, 305.0
"""How far a site's clock may be from the coordinator's: Flower's SuperLink refuses beyond."""
OFF_SECONDS = 2.0
"""From which the doctor warns; the time in an answer is to the second."""
LONGEST_HEADERS = 64 * 1024

_REASONS: Mapping[int, tuple[str, str]] = {
    9: ("the certificate is not valid yet", "set this machine's clock, or wait"),
    10: (
        "the certificate has expired",
        "the coordinator renews it: hedgerow coordinator certificate renew",
    ),
    18: (
        "the certificate is signed by itself and not by the CA in ca.pem",
        "get a newer site package; ask the coordinator by phone which CA is theirs",
    ),
    19: (
        "the certificate is of another CA than the one in ca.pem",
        "somebody stands between (a proxy that opens TLS?), or ca.pem is old: compare by phone",
    ),
    20: (
        "the certificate is of another CA than the one in ca.pem",
        "somebody stands between (a proxy that opens TLS?), or ca.pem is old: compare by phone",
    ),
    62: ("the certificate is for another name", "the coordinator lists this name: hosts in "
         "coordinator.toml, then hedgerow coordinator certificate renew"),
    64: ("the certificate is for another address", "the coordinator lists this address: hosts in "
         "coordinator.toml, then hedgerow coordinator certificate renew"),
}  # fmt: skip
"""By OpenSSL's verification error: what it means and what to do."""


@dataclass(frozen=True, slots=True)
class Met:
    """What a TLS connection that was made told.

    Attributes:
        version: of TLS.
        not_after: when the coordinator's certificate ends, seconds since the epoch.
        ahead: seconds that this machine's clock is before the coordinator's; None if not told.
    """

    version: str
    not_after: float
    ahead: float | None


def check_network(home: SiteHome, clock: Callable[[], float] = time.time) -> list[Check]:
    """All checks of the way to the coordinator of a site that has joined.

    The first that fails ends them.
    """
    try:
        connection = SiteConnection.read(home.connection)
    except HedgerowError as error:
        return [from_error("coordinator", error, "join again with the site package")]
    host, port = connection.host_and_port
    checks = [check_name(host)]
    if not checks[-1].passed:
        return checks
    checks.append(check_port(host, port))
    if not checks[-1].passed:
        return checks
    checks += check_certificate(host, port, home.authority, clock)
    if all(check.passed for check in checks):
        checks.append(check_registration(home, connection))
    return checks


def check_name(host: str) -> Check:
    """Whether the coordinator's name has an address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return ok("name", f"{host} is an address; no name is looked up")
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        reason = error.strerror or str(error)
        return fail("name", f"{host}: {reason}", "ask IT for this name in the site's DNS")
    addresses = sorted({str(place[4][0]) for place in found})
    return ok("name", f"{host} is {', '.join(addresses)}")


def check_port(host: str, port: int) -> Check:
    """Whether the coordinator's port takes a connection."""
    where = address(host, port)
    try:
        socket.create_connection((host, port), CONNECT_SECONDS).close()
    except TimeoutError:
        return fail("port", f"{where} does not answer within {CONNECT_SECONDS:g} s",
                    f"ask IT to let this machine out to {where} (TCP)")  # fmt: skip
    except OSError as error:
        reason = error.strerror or str(error)
        return fail("port", f"{where}: {reason}",
                    "is the coordinator up? else ask IT to let this machine out to it")  # fmt: skip
    return ok("port", f"{where} takes connections")


def check_certificate(
    host: str, port: int, authority: Path, clock: Callable[[], float] = time.time
) -> list[Check]:
    """Whether the coordinator proves itself, for how long, and what the time is there."""
    try:
        met = meet(host, port, authority, clock)
    except ssl.SSLCertVerificationError as error:
        meaning, remedy = _REASONS.get(
            error.verify_code, ("the certificate is not believed", "show this to the coordinator")
        )
        told = f"{meaning} (OpenSSL {error.verify_code}: {error.verify_message})"
        return [fail("certificate", told, remedy)]
    except ssl.SSLError as error:
        reason = error.reason or type(error).__name__
        return [fail("certificate", f"no TLS at {address(host, port)}: {reason}",
                     "is it the coordinator's port? a proxy in between?")]  # fmt: skip
    except (OSError, HTTPException) as error:
        return [fail("certificate", f"the connection ended: {type(error).__name__}",
                     f"is {authority} there, and the coordinator whole?")]  # fmt: skip
    return [_lasting(met, clock()), _clock(met)]


def meet(host: str, port: int, authority: Path, clock: Callable[[], float]) -> Met:
    """Connect, verify, and ask for /health.

    Raises:
        ssl.SSLError: no TLS, or a certificate that is not believed.
        OSError, HTTPException: the connection ended, or `authority` cannot be read.
    """
    context = ssl.create_default_context(cafile=str(authority))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection((host, port), CONNECT_SECONDS) as line,
        context.wrap_socket(line, server_hostname=host) as secured,
    ):
        certificate = secured.getpeercert() or {}
        not_after = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
        asked = clock()
        where = address(host, port)
        secured.sendall(
            f"GET /health HTTP/1.1\r\nHost: {where}\r\nConnection: close\r\n\r\n".encode()
        )
        answer = HTTPResponse(secured)
        answer.begin()  # it reads no more headers than the library bounds
        answered = clock()
        return Met(
            secured.version() or "TLS", not_after, _ahead(answer.getheader("Date"), asked, answered)
        )


def _ahead(date: str | None, asked: float, answered: float) -> float | None:
    """By how much this clock is ahead, at least; an answer's date is cut to the second."""
    if date is None:
        return None
    try:
        there = parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None
    # The coordinator's clock was in [there, there + 1) at some time from asked to answered.
    if there > answered:
        return answered - there
    return max(0.0, asked - (there + 1))


def _lasting(met: Met, now: float) -> Check:
    days = (met.not_after - now) / 86_400
    told = f"{met.version}, certificate of the CA in ca.pem, good for {days:.0f} days"
    if days < SOON_DAYS:
        return warn(
            "certificate", told, "tell the coordinator: hedgerow coordinator certificate renew"
        )
    return ok("certificate", told)


def _clock(met: Met) -> Check:
    remedy = "set the clock by NTP: chronyd or systemd-timesyncd"
    if met.ahead is None:
        return warn("clock", "the coordinator's answer has no time to compare with", remedy)
    told = f"{abs(met.ahead):.0f} s {'ahead of' if met.ahead > 0 else 'behind'} the coordinator's"
    if met.ahead > AHEAD_SECONDS - 1 or met.ahead < -(BEHIND_SECONDS - 1):
        bounds = f"{AHEAD_SECONDS:g} s ahead to {BEHIND_SECONDS:g} s behind"
        return fail("clock", f"{told}; Flower takes {bounds}", remedy)
    if abs(met.ahead) > OFF_SECONDS:
        return warn("clock", told, remedy)
    return ok("clock", f"within {OFF_SECONDS:g} s of the coordinator's")


def check_registration(home: SiteHome, connection: SiteConnection) -> Check:
    """Whether the coordinator knows this site's node: asked by coming online for a moment.

    Not asked while the node is online: a second one with its key would be turned away.
    """
    from client.fleet import (  # noqa: PLC0415 - imports Flower: a second
        Fleet,
        FleetError,
        Incompatible,
        NotKnown,
        StillLeased,
    )

    refusals: Mapping[type[FleetError], tuple[bool, str]] = {
        # Flower says the same of both.
        StillLeased: (False, "send the coordinator this site's request to enroll; or, if a node of "
                      "this site ended just now, look again in a minute"),
        NotKnown: (True, "send the coordinator this site's request to enroll"),
        Incompatible: (True, "install the coordinator's version of Flower"),
    }  # fmt: skip
    try:
        state = read_node_state(home)
        if state.get("state") == "online":
            return ok("registration", f"the node is online since {state.get('since')}")
        fleet = Fleet.connect(connection.superlink, home.authority, home.node_key)
    except HedgerowError as error:
        return from_error("registration", error, "restore the file from a backup")
    try:
        fleet.activate()
        fleet.leave()
    except FleetError as error:
        fails, remedy = refusals.get(type(error), (False, "is the coordinator up?"))
        told = f"{type(error).__name__}: {error}"
        return (fail if fails else warn)("registration", told, remedy)
    finally:
        fleet.close()
    return ok("registration", "the coordinator knows this node")
