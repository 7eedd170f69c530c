"""A site that will not: the run ends with exit code 4 and one line that names site and reason."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from loopback_federation import LoopbackFederation, command

from client.site_home import SiteHome
from federation.audit_log import AuditLog
from privacy.ledger import verify

SITES = ("cleveland", "hungary", "va_long_beach")
REFUSED = 4


def closed_now() -> str:
    """Opening hours that do not begin for another six hours."""
    opens = datetime.now(UTC) + timedelta(hours=6)
    return f"mon-sun {opens:%H:00}-{opens + timedelta(hours=1):%H:00}"


@pytest.fixture(scope="module")
def federation(tmp_path_factory) -> Iterator[LoopbackFederation]:
    made = LoopbackFederation(tmp_path_factory.mktemp("r"), SITES)
    made.set_policy("cleveland", hours=(closed_now(),))
    made.set_policy("hungary", minimum_threshold=3)
    try:
        made.start_coordinator()
        made.start_sites()
        yield made
    finally:
        made.end()
    assert made.left() == []


def refusals(federation: LoopbackFederation, site: str) -> list[tuple[object, object]]:
    """Phase and code of what the site's audit log says it refused; the log is verified."""
    log = AuditLog(SiteHome(federation.homes[site]).audit)
    log.verify()
    return [
        (one.details["phase"], one.details["code"])
        for one in log.entries()
        if one.event == "refused"
    ]


def last_line(text: str) -> str:
    return text.strip().splitlines()[-1]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_policies_refuse_is_named_by_site_and_code_and_costs_nothing(federation) -> None:
    done = federation.run(federation.settings("privacy.epsilon=4.0"))
    assert done.returncode == REFUSED, done.stdout + done.stderr
    line = last_line(done.stderr)
    assert "cleveland: agree: refused: outside_hours: " in line
    assert "hungary: agree: refused: threshold_too_small: " in line
    assert "Traceback" not in done.stderr
    for site, code in (
        ("cleveland", "outside_hours"),
        ("hungary", "threshold_too_small"),
    ):
        assert ("agree", code) in refusals(federation, site)
        home = SiteHome(federation.homes[site])
        entries = verify(home.ledger, home.read_identity().public_key())
        assert [one.kind for one in entries if one.kind == "reserve"] == []


@pytest.mark.timeout(600)
@pytest.mark.slow
def test_a_bundle_that_one_site_has_not_approved_starts_no_run(federation) -> None:
    (bundle,) = SiteHome(federation.homes["hungary"]).bundles.glob("*.fab")
    command("site", "approve", federation.homes["hungary"], bundle.stem, "--withdraw")
    try:
        done = federation.run(federation.settings())
    finally:
        command("site", "approve", federation.homes["hungary"], bundle.stem, "--yes")
    assert done.returncode == REFUSED, done.stdout + done.stderr
    line = last_line(done.stderr)
    assert "hungary: refused: bundle_not_approved: this site has not approved" in line
    assert refusals(federation, "hungary").count(("enlist", "bundle_not_approved")) == 1
    # The site's people find what was offered, to look into it.
    assert bundle.is_file()
