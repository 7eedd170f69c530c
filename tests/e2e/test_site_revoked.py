"""A site that is revoked while a run goes on is put out at once, and the others' run goes on."""

from collections.abc import Iterator

import pytest
from loopback_federation import LoopbackFederation, command, until
from scripted_agent import Script, Step
from site_accounts import assert_never_undercounted, rounds_of

from client.site_home import SiteHome
from client.site_processes import read_node_state
from federation.run_folder import RunFolder

SITES = ("cleveland", "hungary", "switzerland", "va_long_beach")
PACEMAKER, REVOKED = "cleveland", "switzerland"


@pytest.fixture
def federation(tmp_path) -> Iterator[LoopbackFederation]:
    made = LoopbackFederation(tmp_path, SITES)
    try:
        made.start_coordinator()
        made.start_scripted_sites()
        yield made
    finally:
        made.end()
    assert made.left() == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_site_that_is_revoked_within_a_run_is_put_out_and_the_run_goes_on(federation) -> None:
    pacemaker = Script(federation.homes[PACEMAKER])
    pacemaker.write(Step("train", "wait", round=2))
    home = SiteHome(federation.homes[REVOKED])
    config = federation.settings(
        "federation.quorum=3", "run.rounds=4", "federation.round_timeout_seconds=60"
    )
    with federation.running(config) as run:
        until(lambda: bool(pacemaker.met), run)
        command("coordinator", "revoke", federation.fed, REVOKED, "--reason", "a test")
        until(lambda: read_node_state(home)["state"] == "offline", run)
        pacemaker.open_gate()
        assert run.finished(900) == 0, run.text
    folder = RunFolder(federation.last_run)
    rounds = {one["round"]: one for one in rounds_of(folder)}
    assert {one["status"] for one in rounds.values()} == {"completed"}
    assert REVOKED not in rounds[3]["survivors"]
    assert REVOKED not in rounds[4]["survivors"]
    assert "ask the coordinator" in str(read_node_state(home)["remedy"])
    for path in federation.homes.values():
        assert_never_undercounted(path, folder)
