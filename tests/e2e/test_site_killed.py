"""A site's agent, its node, or both killed (SIGKILL) in every phase of a run, and brought back."""

from collections.abc import Iterator

import pytest
from loopback_federation import LoopbackFederation, until
from scripted_agent import Script, Step
from site_accounts import assert_never_undercounted, rounds_of

from client.agent_socket import LineError, ask_status
from client.site_home import SiteHome
from client.site_processes import read_node_state
from federation.run_folder import RunFolder

SITES = ("cleveland", "hungary", "switzerland", "va_long_beach")
VICTIM, PACEMAKER = "va_long_beach", "cleveland"
SETTINGS = ("federation.quorum=3", "run.attempts_per_round=3", "privacy.epsilon=4.0",
            "federation.round_timeout_seconds=100.0")  # fmt: skip
"""The example's, but for three of four sites in a round. An agent that is killed takes a session
with it, so such a round lasts as long as its timeout: longer than the way back."""
END_SECONDS = 900


@pytest.fixture(scope="module")
def federation(tmp_path_factory) -> Iterator[LoopbackFederation]:
    made = LoopbackFederation(tmp_path_factory.mktemp("k"), SITES, epsilon=100.0)
    try:
        made.start_coordinator()
        made.start_scripted_sites()
        yield made
    finally:
        made.end()
    assert made.left() == []


def is_back(home: SiteHome) -> bool:
    """Whether the site's agent answers and its node is online."""
    try:
        ask_status(home.socket)
    except LineError:
        return False
    return read_node_state(home).get("state") in ("online", "reached")


def play(federation: LoopbackFederation, steps: list[Step], rounds: int, name: str) -> RunFolder:
    """A run in which the victim meets with `steps`, one in three rounds; to its good end.

    In the round after each kill the pacemaker's agent holds its vector back until the victim is
    there again, which then advertises for the round after that: so however slow the machine is,
    the next step finds the victim where the script wants it.
    """
    home = SiteHome(federation.homes[VICTIM])
    victim, pacemaker = Script(home.path), Script(federation.homes[PACEMAKER])
    before = len(victim.met)
    victim.write(*steps)
    within = [number for number, step in enumerate(steps) if step.round]
    pacemaker.write(*(Step("train", "wait", round=HELD[steps[n].phase](steps[n])) for n in within))
    config = federation.settings(*SETTINGS, f"run.rounds={rounds}", f"run.name={name}")
    with federation.running(config) as run:
        for number in within:
            until(lambda n=number: len(victim.met) > before + n and is_back(home), run)
            pacemaker.open_gate()
        assert run.finished(END_SECONDS) == 0, run.text
    assert [step["phase"] for step in victim.met[before:]] == [step.phase for step in steps]
    until(lambda: is_back(home))
    return RunFolder(federation.last_run)


HELD = {
    "advertise": lambda step: step.round,  # rides on the round before
    "share": lambda step: step.round,
    "train": lambda step: step.round + 1,
    "sign": lambda step: step.round + 1,
    "open": lambda step: step.round + 1,
}
"""The round in whose training the pacemaker waits for the victim, by the phase of the kill."""


def every_phase(do: str) -> list[Step]:
    return [
        Step("enlist", do),
        Step("agree", do, "after"),
        Step("advertise", do, round=3),
        Step("share", do, round=6),
        Step("train", do, "after", round=8),
        Step("sign", do, round=11),
        Step("open", do, "after", round=14),
        Step("close", do),
    ]


ROUNDS = 16
BACK_AT = (4, 7, 10, 13, 16)
"""Rounds in which the victim is among the survivors again, each after one of the kills."""


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("do", ["agent", "node", "both"])
def test_a_site_killed_in_every_phase_costs_no_round_and_is_never_undercounted(
    federation, do
) -> None:
    run = play(federation, every_phase(do), ROUNDS, f"all-{do}")
    rounds = rounds_of(run)
    assert [one["status"] for one in rounds] == ["completed"] * (ROUNDS + 1)
    by_number = {one["round"]: one for one in rounds}
    if do != "node":  # an agent that lives gives the answer again; a session dies with its agent
        assert VICTIM not in by_number[8]["survivors"]
    assert VICTIM in by_number[11]["survivors"]  # its vector was in before it was killed
    for number in BACK_AT:
        assert VICTIM in by_number[number]["survivors"], by_number[number]["dropped"]
    for home in federation.homes.values():
        assert assert_never_undercounted(home, run) >= 10
