"""The line between a site's node and the coordinator fails: the node says how and comes back."""

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from deployment import Process
from faulty_line import FaultyLine, answering
from loopback_federation import LoopbackFederation, until

from client.site_home import SiteHome
from client.site_processes import read_node_state
from federation.node_key import generate_node_key, private_bytes
from server.certificate_authority import (
    KeyAndCertificate,
    first_certificate,
    new_authority,
    read_key,
    server_certificate,
)
from server.federation_home import FederationHome

SITES = ("cleveland", "hungary", "va_long_beach")
SITE = "cleveland"
FOREIGN = Path(__file__).with_name("foreign_node.py")


@pytest.fixture(scope="module")
def federation(tmp_path_factory) -> Iterator[LoopbackFederation]:
    made = LoopbackFederation(tmp_path_factory.mktemp("l"), SITES)
    try:
        made.start_coordinator()
        yield made
    finally:
        made.end()
    assert made.left() == []


@pytest.fixture(scope="module")
def line(federation) -> Iterator[FaultyLine]:
    """Between the node of SITE and the edge."""
    faulty = FaultyLine(FederationHome(federation.fed).config().port)
    federation.route(SITE, faulty.port)
    yield faulty
    faulty.close()


@pytest.fixture(scope="module")
def node(federation, line) -> Process:
    return federation.start("site", "node", federation.homes[SITE], says="online")


@pytest.fixture
def home(federation) -> SiteHome:
    return SiteHome(federation.homes[SITE])


def goes_offline(home: SiteHome, *words: str) -> None:
    """Wait until the node tells so, with these words in its reason."""

    def tells() -> bool:
        state = read_node_state(home)
        return state["state"] == "offline" and all(word in str(state["reason"]) for word in words)

    until(tells)


def comes_back(home: SiteHome, node: Process) -> None:
    until(lambda: read_node_state(home)["state"] in ("online", "reached"))
    assert node.status is None


def test_a_line_that_is_cut_is_told_and_heals_by_itself(home, line, node) -> None:
    told = len(node.lines)
    line.cut()
    goes_offline(home, "Unreachable")
    assert "trying again" in str(read_node_state(home)["remedy"])
    line.heal()
    comes_back(home, node)
    said: list[str] = []

    def is_told() -> bool:
        # The state is written before the line is read here.
        said[:] = [text.partition(":")[0].strip() for text in node.lines[told:]]
        return bool(said) and said[-1] in {"reached", "online"}

    until(is_told)
    # Once each, however often it was tried in between.
    assert said[0] == "offline"
    assert said[-1] in ("reached", "online")
    assert len(said) <= 4


@pytest.mark.slow
def test_a_line_that_stalls_is_told_and_heals_by_itself(home, line, node) -> None:
    line.cut()
    goes_offline(home, "Unreachable")
    line.heal()
    line.stalls = True
    goes_offline(home, "Timeout")
    line.heal()
    comes_back(home, node)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b""),
        (429, b"slow down"),
        (404, b"<html>not found</html>"),
        (413, b"<html>too large</html>"),
        (502, b""),
        (302, b""),
        (200, b"<html>please sign in to the network</html>"),
        (200, b""),
        (400, b'{"code": 1, "message": "no"}'),
        (400, b"\xff\xfe\x00" * 100_000),
    ],
)
def test_garbage_from_a_box_in_between_makes_no_zombie(
    federation, home, line, node, status, body
) -> None:
    fed = FederationHome(federation.fed)
    edge = line.target
    with answering(fed.server_certificate, fed.server_key, status, body) as port:
        line.divert(port)
        line.wait_for_connections(1)
        if (status, body) != (200, b""):  # which is what "no message for you" looks like
            goes_offline(home)
    line.divert(edge)
    comes_back(home, node)


def copied(federation: LoopbackFederation, name: str) -> Path:
    """The home of SITE on another machine, with a line of its own."""
    copy = federation.folder / name
    left = shutil.ignore_patterns("*.sock", ".*lock", "node.json")
    shutil.copytree(federation.homes[SITE], copy, ignore=left)
    federation.route_home(copy, FederationHome(federation.fed).config().port)
    return copy


def expired(certificate: Path, authority: KeyAndCertificate) -> bytes:
    """The same certificate, but that it ended yesterday."""
    now, real = datetime.now(UTC), first_certificate(certificate.read_bytes())
    builder = x509.CertificateBuilder(
        real.issuer, real.subject, real.public_key(), x509.random_serial_number(),
        now - timedelta(9), now - timedelta(1), list(real.extensions),
    )  # fmt: skip
    signed = builder.sign(read_key(authority.key, "the CA's key"), hashes.SHA384())
    return signed.public_bytes(Encoding.PEM)


def certificate(fed: FederationHome, folder: Path, kind: str) -> tuple[Path, Path]:
    """A certificate that a site must not believe, and its key."""
    now, key = datetime.now(UTC), fed.server_key.read_bytes()
    own = KeyAndCertificate(fed.ca_key.read_bytes(), fed.ca.read_bytes())
    made = {
        "expired": lambda: expired(fed.server_certificate, own),
        "other host": lambda: server_certificate(own, ["example.org"], key, now, 30),
        "other CA": lambda: server_certificate(
            new_authority("other", now), ["localhost"], key, now, 30
        ),
    }
    path = folder / "server.pem"
    path.write_bytes(made[kind]())
    return path, fed.server_key


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        pytest.param("expired", "certificate has expired", marks=pytest.mark.slow),
        pytest.param("other host", "Hostname mismatch", marks=pytest.mark.slow),
        pytest.param("other CA", "unable to get local issuer certificate", marks=pytest.mark.slow),
    ],
)
def test_a_certificate_that_is_not_trusted_is_told_from_a_line_that_is_down(
    federation, home, line, node, tmp_path, kind, says
) -> None:
    fed, edge = FederationHome(federation.fed), line.target
    pem, key = certificate(fed, tmp_path, kind)
    with answering(pem, key, 200) as port:
        line.divert(port)
        goes_offline(home, "NotTrusted", says)
        assert "do not go on" in str(read_node_state(home)["remedy"])
    line.divert(edge)
    comes_back(home, node)


@pytest.mark.slow
@pytest.mark.parametrize("software", ["flwr", "hedgerow"])
def test_another_version_is_told_at_both_ends(federation, software) -> None:
    edge_log = FederationHome(federation.fed).log / "edge.jsonl"
    before = edge_log.read_text()
    copy = copied(federation, f"foreign-{software}")
    foreign = federation.start_script(FOREIGN, copy, software, "0.0.9", says="offline")
    foreign.end()
    says = f"the node runs {software} 0.0.9 and this machine {software} {version(software)}"
    assert f"Incompatible: {says}" in foreign.text
    assert "install the version that the coordinator has" in foreign.text
    told = [json.loads(one) for one in edge_log.read_text()[len(before) :].splitlines()]
    assert any(says in one["fields"].get("reason", "") for one in told)


@pytest.mark.slow
def test_a_second_node_of_the_same_home_is_refused(federation, node) -> None:
    second = federation.start("site", "node", federation.homes[SITE])
    assert second.finished(120) == 2
    assert "another hedgerow site node is running" in second.text
    assert node.status is None


@pytest.mark.slow
def test_a_copy_of_a_home_elsewhere_does_not_take_over(federation, home, node) -> None:
    """Two machines with one key: the first stays, the second says what that means."""
    second = federation.start("site", "node", copied(federation, "copy"), says="offline")
    assert "another machine uses the key" in second.text
    second.end()
    assert node.status is None
    comes_back(home, node)


def test_a_node_whose_key_nobody_enrolled_is_told_so(federation) -> None:
    stranger = copied(federation, "stranger")
    (stranger / "node-key").write_bytes(private_bytes(generate_node_key()))
    node = federation.start("site", "node", stranger, says="offline")
    assert "unknown" in node.text
    node.end()


@pytest.mark.slow
@pytest.mark.parametrize("ahead", [60, -600])
def test_a_nodes_clock_that_is_wrong_is_told_at_both_ends(federation, ahead) -> None:
    edge_log = FederationHome(federation.fed).log / "edge.jsonl"
    before = edge_log.read_text()
    copy = copied(federation, f"clock{ahead}")
    skewed = federation.start_script(FOREIGN, copy, "clock", ahead, says="offline")
    skewed.end()
    assert "the clocks differ by more than seconds: check the time" in skewed.text
    told = [json.loads(one) for one in edge_log.read_text()[len(before) :].splitlines()]
    assert any("the clocks differ" in one["fields"].get("reason", "") for one in told)
