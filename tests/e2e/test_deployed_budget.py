"""Sites whose budget is spent: a further run gets nothing of them, and costs them nothing."""

import pytest
from loopback_federation import LoopbackFederation

from client.site_home import SiteHome
from federation.run_folder import RunFolder
from privacy.ledger import verify
from privacy.ledger_entry import Entry

SITES = ("cleveland", "hungary", "va_long_beach")
REFUSED = 4


def entries(federation: LoopbackFederation, site: str) -> tuple[Entry, ...]:
    home = SiteHome(federation.homes[site])
    return tuple(verify(home.ledger, home.read_identity().public_key()))


def charges(federation: LoopbackFederation, site: str) -> list[str]:
    return [one.hash for one in entries(federation, site) if one.kind in ("reserve", "commit")]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_spent_budget_ends_the_next_run_with_code_4_and_costs_nothing(tmp_path) -> None:
    federation = LoopbackFederation(tmp_path, SITES, epsilon=4.0)
    try:
        federation.start_coordinator()
        federation.start_sites()
        settings = federation.settings("privacy.epsilon=4.0", "run.rounds=2")
        first = federation.run(settings)
        assert first.returncode == 0, first.stdout + first.stderr
        before = {site: charges(federation, site) for site in SITES}
        assert all(before.values())

        second = federation.run(settings)
        assert second.returncode == REFUSED, second.stdout + second.stderr
        assert "budget" in second.stdout + second.stderr
        assert "Traceback" not in second.stderr
        assert {site: charges(federation, site) for site in SITES} == before
        summary = RunFolder.open(federation.last_run).read_summary()
        assert summary.run.stopped_by_budget
        assert summary.run.rounds_completed == 0
        for account in summary.privacy.sites.values():
            assert account.epsilon_spent <= 4.0
    finally:
        federation.end()
    assert federation.left() == []
