"""What befalls one of four sites, or what one of them does, while the others' run goes on."""

import json
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty_line import FaultyLine
from loopback_federation import LoopbackFederation, command, until
from scripted_agent import Script, Step
from site_accounts import assert_never_undercounted, rounds_of

from client.agent_socket import AgentLine, LineError, ask_status
from client.site_home import SiteHome
from client.site_processes import read_node_state
from federation.approvals import Approvals
from federation.envelope import Phase, Request, parse_reply
from federation.run_folder import RunFolder
from server.federation_home import FederationHome

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SITES = ("cleveland", "hungary", "switzerland", "va_long_beach")
PACEMAKER, ACCOMPLICE, ROGUE, VICTIM = SITES
"""Whose agent waits for the test; whose key is misused; whose node does wrong; who is befallen."""
TIMEOUT = 30
SETTINGS = (
    "federation.quorum=3",
    "run.attempts_per_round=2",
    "privacy.epsilon=4.0",
    f"federation.round_timeout_seconds={TIMEOUT}",
)
TOO_LATE = (f"no reply within {TIMEOUT} s", "no reply before the message expired")
"""The second, if the SuperLink is asked at the very moment."""
EVIL_NODE = Path(__file__).with_name("scripted_node.py")
AGENT = Path(__file__).with_name("scripted_agent.py")
END_SECONDS = 900
OWN_TASK = "own_heart:task"
OWN_CODE = """\
from simulations.tasks.heart import HeartTask

task = HeartTask()
"""


@pytest.fixture(scope="module")
def federation(tmp_path_factory) -> Iterator[LoopbackFederation]:
    """All sites with scripts; ROGUE has an agent alone: its node is each test's own."""
    made = LoopbackFederation(tmp_path_factory.mktemp("f"), SITES, epsilon=100.0)
    (made.folder / "own_heart.py").write_text(OWN_CODE)
    for site, home in made.homes.items():
        (home / "tasks").mkdir()
        (home / "tasks" / "own_heart.py").write_text(OWN_CODE)
        made.set_policy(site, tasks=("heart", OWN_TASK))
        command("site", "approve-task", home, OWN_TASK, "--yes")
    faulty = FaultyLine(FederationHome(made.fed).config().port)
    made.route(VICTIM, faulty.port)
    made.lines[VICTIM] = faulty
    try:
        made.start_coordinator()
        made.start_scripted_sites(*(site for site in SITES if site != ROGUE))
        made.start_script(AGENT, made.homes[ROGUE], says="listens")
        yield made
    finally:
        made.end()
        faulty.close()
    assert made.left() == []


@pytest.fixture
def honest(federation) -> Iterator[None]:
    """ROGUE's node is the product's."""
    node = federation.start("site", "node", federation.homes[ROGUE], says="online")
    yield
    node.end()


def script(federation: LoopbackFederation, site: str, *steps: Step) -> Script:
    made = Script(federation.homes[site])
    made.write(*steps)
    return made


def last(federation: LoopbackFederation) -> tuple[RunFolder, dict[int, dict]]:
    run = RunFolder(federation.last_run)
    return run, {one["round"]: one for one in rounds_of(run)}


def recorded(federation: LoopbackFederation, number: int) -> bool:
    """Whether the running run has recorded a round."""
    return any(one["round"] == number for one in rounds_of(RunFolder(federation.last_run)))


def assert_all_counted(federation: LoopbackFederation, run: RunFolder) -> None:
    for home in federation.homes.values():
        assert_never_undercounted(home, run)


def test_a_site_slower_than_the_deadline_is_left_out_and_does_no_stale_work(
    federation, honest
) -> None:
    slow = script(federation, VICTIM, Step("train", "wait", "after", round=1))
    config = federation.settings(*SETTINGS, "run.rounds=3", "run.name=slow")
    with federation.running(config) as run:
        until(lambda: slow.met[-1:] and slow.met[-1]["do"] == "wait", run)
        until(lambda: recorded(federation, 1), run)
        slow.open_gate()
        assert run.finished(END_SECONDS) == 0, run.text
    folder, rounds = last(federation)
    assert any(said in rounds[1]["dropped"][VICTIM] for said in TOO_LATE)
    assert VICTIM in rounds[3]["survivors"]
    made = [one["round"] for one in slow.vectors if one["run"] == folder.id and one["entry"]]
    # The first was paid for and came too late; of what nobody waited for any more, nothing.
    assert made == [1, *[n for n in (2, 3) if VICTIM in rounds[n]["survivors"]]]
    assert_all_counted(federation, folder)


def test_a_full_disk_at_a_site_costs_its_part_until_there_is_room(federation, honest) -> None:
    befallen = script(federation, VICTIM, Step("train", "wait", round=2))
    pacemaker = script(federation, PACEMAKER, Step("train", "wait", round=4))
    home = SiteHome(federation.homes[VICTIM])
    agent = int(str(ask_status(home.socket)["pid"]))
    config = federation.settings(*SETTINGS, "run.rounds=6", "run.name=full")
    met = len(befallen.met), len(pacemaker.met)
    try:
        with federation.running(config) as run:
            until(lambda: len(befallen.met) > met[0], run)
            # Not a byte more in any file: as on a full disk, but for the error's number.
            resource.prlimit(agent, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
            befallen.open_gate()
            until(lambda: len(pacemaker.met) > met[1], run)
            resource.prlimit(agent, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
            pacemaker.open_gate()
            assert run.finished(END_SECONDS) == 0, run.text
    finally:
        resource.prlimit(agent, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    folder, rounds = last(federation)
    assert {one["status"] for one in rounds.values()} == {"completed"}
    assert "train: failed: internal: the site failed with " in rounds[2]["dropped"][VICTIM]
    assert VICTIM not in rounds[3]["survivors"]
    assert VICTIM in rounds[6]["survivors"]
    assert ask_status(home.socket)["pid"] == agent  # it went on all the while
    assert_all_counted(federation, folder)


def test_a_line_cut_within_a_message_costs_that_sites_part_at_most(federation, honest) -> None:
    befallen = script(federation, VICTIM, Step("train", "wait", "after", round=1))
    pacemaker = script(federation, PACEMAKER, Step("train", "wait", round=3))
    home, line = SiteHome(federation.homes[VICTIM]), federation.lines[VICTIM]
    config = federation.settings(*SETTINGS, "run.rounds=5", "run.name=cut")
    met = len(befallen.met), len(pacemaker.met)
    try:
        with federation.running(config) as run:
            until(lambda: len(befallen.met) > met[0], run)
            line.allowance = 20_000  # a heartbeat or two, and then the middle of the reply
            befallen.open_gate()
            until(lambda: read_node_state(home)["state"] == "offline", run)
            until(lambda: len(pacemaker.met) > met[1], run)
            line.heal()
            until(lambda: read_node_state(home)["state"] in ("online", "reached"), run)
            pacemaker.open_gate()
            assert run.finished(END_SECONDS) == 0, run.text
    finally:
        line.heal()
    folder, rounds = last(federation)
    assert {one["status"] for one in rounds.values()} == {"completed"}
    assert VICTIM in rounds[5]["survivors"]
    assert_all_counted(federation, folder)


def test_a_clock_that_is_wrong_is_told_at_both_ends(federation, honest) -> None:
    skewed = Script(federation.homes[VICTIM])
    skewed.skew_clock(3600.0)
    try:
        done = federation.run(federation.settings(*SETTINGS, "run.rounds=1"), seconds=END_SECONDS)
    finally:
        skewed.skew_clock(0.0)
    assert done.returncode == 5, done.stdout + done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert f"missing: {VICTIM}" in line
    assert "by this site's clock" in line
    assert "the clocks differ" in line
    log = SiteHome(federation.homes[VICTIM]).log("agent").read_text()
    told = [json.loads(one) for one in log.splitlines()]
    assert any("the clocks differ" in one["fields"].get("reason", "") for one in told)


@pytest.mark.parametrize(
    ("deed", "says"),
    [
        ("forged", "the signature is not valid"),
        ("other", f"a reply in the name of '{ACCOMPLICE}' came from '{ROGUE}'"),
        ("half", "parts of one did not get through"),
        ("late", TOO_LATE),
        ("large", TOO_LATE),
    ],
)
def test_a_node_that_does_wrong_costs_its_own_part_and_no_more(federation, deed, says) -> None:
    rogue = federation.start_script(
        EVIL_NODE, federation.homes[ROGUE], "train", deed, federation.homes[ACCOMPLICE],
        says="online",
    )  # fmt: skip
    try:
        done = federation.run(
            federation.settings(*SETTINGS, "run.rounds=2", f"run.name={deed}"), seconds=END_SECONDS
        )
    finally:
        rogue.end()
    assert done.returncode == 0, done.stdout + done.stderr
    folder, rounds = last(federation)
    for number in (1, 2):
        assert ROGUE in rounds[number]["dropped"], rounds[number]
        dropped = rounds[number]["dropped"][ROGUE]
        assert any(said in dropped for said in ([says] if isinstance(says, str) else says))
        assert set(rounds[number]["survivors"]) == set(SITES) - {ROGUE}
        assert rounds[number]["attempts"] == 1
    assert_all_counted(federation, folder)


def test_a_bundle_withdrawn_within_a_run_ends_that_sites_part_at_once(federation, honest) -> None:
    home = SiteHome(federation.homes[VICTIM])
    script(federation, VICTIM, Step("train", "wait", round=2))
    met = len(Script(home.path).met)
    (digest,) = Approvals.read(home.approvals).bundles
    config = federation.settings(*SETTINGS, "run.rounds=3", "run.name=withdrawn")
    with federation.running(config) as run:
        until(lambda: len(Script(home.path).met) > met, run)
        command("site", "approve", home.path, digest, "--withdraw")
        Script(home.path).open_gate()
        assert run.finished(END_SECONDS) == 0, run.text
    folder, rounds = last(federation)
    assert VICTIM in rounds[2]["survivors"]  # what was begun before was given
    assert "bundle_not_approved" in rounds[3]["dropped"][VICTIM]
    assert_all_counted(federation, folder)
    # With every site needed, the same ends the run, as a refusal.
    done = federation.run(federation.settings(*SETTINGS, "federation.quorum=4"))
    assert done.returncode == 4, done.stderr
    assert f"{VICTIM}: refused: bundle_not_approved" in done.stderr
    command("site", "approve", home.path, digest, "--yes")


def test_a_refusal_within_a_run_that_needs_every_site_ends_it_with_code_4(
    federation, honest
) -> None:
    home = SiteHome(federation.homes[VICTIM])
    script(federation, VICTIM, Step("train", "wait", round=1))
    met = len(Script(home.path).met)
    (digest,) = Approvals.read(home.approvals).bundles
    config = federation.settings(*SETTINGS, "run.rounds=3", "federation.quorum=4")
    with federation.running(config) as run:
        until(lambda: len(Script(home.path).met) > met, run)
        command("site", "approve", home.path, digest, "--withdraw")
        Script(home.path).open_gate()
        assert run.finished(END_SECONDS) == 4, run.text
    command("site", "approve", home.path, digest, "--yes")
    assert f"{VICTIM}: " in run.text
    assert "bundle_not_approved" in run.text


def test_code_of_a_task_that_changed_since_it_was_approved_is_not_run(federation, honest) -> None:
    (federation.homes[VICTIM] / "tasks" / "own_heart.py").write_text(OWN_CODE + "# changed\n")
    config = federation.settings(*SETTINGS, "run.rounds=1", f'task.name="{OWN_TASK}"')
    done = federation.run(config, seconds=END_SECONDS)
    assert done.returncode == 4, done.stdout + done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert f"{VICTIM}: agree: refused: task_code_not_approved: " in line
    assert [site for site in SITES if f"{site}: " in line] == [VICTIM]


def test_messages_that_are_too_large_or_of_another_release_are_refused_with_a_reason(
    federation,
) -> None:
    home = SiteHome(federation.homes[VICTIM])
    (bundle,) = Approvals.read(home.approvals).bundles
    asked = Request("r", 0, 0, Phase.ENLIST, "0" * 32, time.time() + 60, bytes(300))
    with AgentLine(home.socket, bundle) as line:
        refused = parse_reply(line.answer(asked.to_bytes()))[0]
    assert (refused.status, refused.code) == ("refused", "protocol")
    assert refused.reason == "a body of 300 bytes in phase enlist: the largest that can be is 256"
    newer = asked.to_bytes().replace(b'"v":2', b'"v":3', 1)
    with AgentLine(home.socket, bundle) as line, pytest.raises(LineError):
        line.answer(newer)
    # It hangs up first, and notes why then.
    until(lambda: "message version 3: expected 2" in home.log("agent").read_text())


def test_a_second_agent_on_a_home_and_a_second_site_up_are_refused(federation) -> None:
    home = SiteHome(federation.homes[VICTIM])
    before = ask_status(home.socket)["pid"]
    agent = federation.start("site", "agent", home.path)
    both = federation.start("site", "up", home.path)
    assert agent.finished(300) == 2
    assert both.finished(300) == 2
    assert "another agent is running" in agent.text
    assert "another hedgerow site up is running" in both.text
    assert ask_status(home.socket)["pid"] == before
