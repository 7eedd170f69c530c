"""Surplus noise in real rounds: taken off if nobody is lost, there if somebody is, never too much.

Four hospitals with a quorum of three: one dropout is provided for.
"""

import os
from collections import defaultdict

import pytest
from federation_in_process import Federation

from client import agent
from client.journal import Journal
from client.site_home import SiteHome
from federation.agreement import Agreement
from federation.envelope import Phase, parse_reply
from privacy.ledger import verify
from privacy.run_plan import noise_in_the_sum
from privacy.surplus_noise import component_seed

SITES = ("cleveland", "hungary", "switzerland", "va_long_beach")
WHOLE = {"noise_multiplier": 0.9, "meter_coordinates": 4096, "colluders": 0}
KEPT = {"privacy": {"epsilon": 2.0, "site_level": WHOLE}, "run": {"name": "test", "rounds": 2}}
REMOVED = KEPT | {"privacy": {"epsilon": 2.0, "site_level": WHOLE | {"remove_surplus": True}}}


def played(path, table: dict, *lost: tuple[str, str], attempts: int = 1) -> Federation:
    """A run of two rounds; in the second each of `lost` falls silent from a phase on."""
    dropouts = [{"site": site, "round": 2, "phase": phase} for site, phase in lost]
    changes = {
        "run": {"name": "test", "rounds": 2, "attempts_per_round": attempts},
        "simulation": {"dropouts": dropouts, "baselines": False},
    }
    federation = Federation(path, table | changes)
    federation.play()
    return federation


def noise_of(federation: Federation, round_: int):
    return federation.folder.read_summary().rounds[round_ - 1].noise


def plan_of(federation: Federation):
    return noise_in_the_sum(Agreement.from_bytes(federation.folder.agreement.read_bytes()))


@pytest.fixture(scope="module")
def removed(tmp_path_factory) -> Federation:
    return played(tmp_path_factory.mktemp("runs"), REMOVED)


def test_with_all_sites_there_no_more_noise_is_left_than_the_guarantee_rests_on(removed) -> None:
    for round_ in (1, 2):
        noise = noise_of(removed, round_)
        assert noise.noise_multiplier == pytest.approx(0.9)
        assert 0.8 < noise.ratio < 1.2
        assert not noise.alarm


def test_without_removal_the_noise_of_four_shares_is_left(tmp_path, removed) -> None:
    kept = played(tmp_path, KEPT)
    noise = noise_of(kept, 1)
    assert noise.noise_multiplier == pytest.approx(0.9 * (4 / 3) ** 0.5)
    assert not noise.alarm
    # Which of the two a run does changes neither what it costs nor its sum's ring.
    costs = [f.folder.read_summary().privacy.site_level.epsilon for f in (kept, removed)]
    assert costs[0] == pytest.approx(costs[1], rel=0.01)


@pytest.mark.parametrize("phase", ["share", "train", "sign"])
def test_a_site_that_is_lost_takes_its_noise_along_and_none_is_removed(
    tmp_path, phase: str
) -> None:
    federation = played(tmp_path, REMOVED, ("hungary", phase))
    lost = federation.folder.read_summary().rounds[1]
    # Whoever is lost after it sent its vector is in the sum, and silent about its noise.
    in_sum = 4 if phase == "sign" else 3
    assert len(lost.survivors) == in_sum
    silent_share = 1 / 3 - 1 / 4 if phase == "sign" else 0
    assert lost.noise.noise_multiplier == pytest.approx(0.9 * (1 + silent_share) ** 0.5)
    assert not lost.noise.alarm


def test_a_survivor_that_is_silent_at_the_end_leaves_more_noise_and_not_less(tmp_path) -> None:
    federation = played(tmp_path, REMOVED, ("hungary", "open"))
    noise = noise_of(federation, 2)
    assert noise.noise_multiplier == pytest.approx(0.9 * (1 + 1 / 12) ** 0.5)
    assert not noise.alarm


def test_a_retry_reveals_the_same_seeds_and_charges_once(tmp_path, removed) -> None:
    dropouts = [{"site": site, "round": 2, "phase": "open"} for site in SITES[:2]]
    changes = {
        "run": {"name": "test", "rounds": 2, "attempts_per_round": 2},
        "simulation": {"dropouts": dropouts, "baselines": False},
    }
    federation = Federation(tmp_path, REMOVED | changes)
    line = federation.transport()
    federation.play(line)
    assert federation.folder.read_summary().rounds[1].attempts == 2
    assert federation.model == removed.model
    seeds = defaultdict(set)
    for node, request, reply in line.wire:
        if (request.round, request.phase) == (2, Phase.OPEN) and reply:
            seeds[node].add(parse_reply(reply)[0].body[-32:])
    assert [len(told) for told in seeds.values()] == [1] * 4


def test_an_agent_that_restarts_before_it_opens_still_knows_its_seeds(tmp_path, removed) -> None:
    """It is lost to this attempt, its session being gone; in the next it reveals what it must."""
    federation = Federation(
        tmp_path, REMOVED | {"run": {"name": "test", "rounds": 2, "attempts_per_round": 2}}
    )
    line, restarted = federation.transport(), []

    def before(_node, request) -> None:
        if (request.round, request.phase, request.attempt) == (2, Phase.OPEN, 1) and not restarted:
            restarted.append(1)
            federation.restart_agents()

    line.before = before
    federation.play(line)
    assert restarted
    assert federation.folder.read_summary().rounds[1].attempts == 2
    assert federation.model == removed.model


def test_the_wire_has_the_surplus_seed_and_never_what_the_rest_follows_from(
    tmp_path, monkeypatch
) -> None:
    honest, told = agent.revealed_seeds, []

    def spy(plan, secret, survivors):
        told.append((secret, survivors))
        return honest(plan, secret, survivors)

    monkeypatch.setattr(agent, "revealed_seeds", spy)
    federation = Federation(tmp_path, REMOVED)
    line = federation.transport()
    federation.play(line)
    crossed = b"".join(request.to_bytes() + (reply or b"") for _, request, reply in line.wire)
    opened = [reply for _, request, reply in line.wire if request.phase is Phase.OPEN]
    assert len(told) == 8
    for secret, survivors in told:
        assert survivors == 4
        assert secret not in crossed
        assert component_seed(secret, 0) not in crossed
        assert sum(component_seed(secret, 1) in reply for reply in opened) == 1


@pytest.mark.parametrize("wrong", ["other seeds", "too few"])
def test_a_site_that_tells_wrong_seeds_only_adds_noise(tmp_path, monkeypatch, wrong: str) -> None:
    honest, calls = agent.revealed_seeds, []

    def lie(plan, secret, survivors):
        calls.append(1)
        if len(calls) % 4 != 1:
            return honest(plan, secret, survivors)
        return (os.urandom(32),) if wrong == "other seeds" else ()

    monkeypatch.setattr(agent, "revealed_seeds", lie)
    federation = Federation(tmp_path, REMOVED)
    federation.play()
    summary = federation.folder.read_summary()
    assert [one.status for one in summary.rounds] == ["completed"] * 3
    noise = summary.rounds[0].noise
    if wrong == "too few":
        # Its answer cannot be read: it counts as a survivor that was silent.
        assert noise.noise_multiplier == pytest.approx(0.9 * (1 + 1 / 12) ** 0.5)
        assert not noise.alarm
    else:
        # What was not added is subtracted: 2 of 36 more than promised, seen if measured enough.
        assert noise.noise_multiplier == pytest.approx(0.9)
        assert noise.ratio > 1


def test_the_ledger_says_that_surplus_is_removed(removed) -> None:
    key = SiteHome(removed.folder.site_home(SITES[0])).read_identity().public_key()
    entries = verify(removed.folder.ledger(SITES[0]), key)
    charged = [entry.body["site_level"] for entry in entries if entry.kind == "reserve"]
    assert [charge["dropouts"] for charge in charged] == [1, 1]
    assert plan_of(removed).dropouts == 1


def test_a_completed_run_forgets_its_secrets(removed) -> None:
    journal = Journal(SiteHome(removed.folder.site_home(SITES[0])).journal)
    try:
        assert journal.contribution(removed.folder.id, 2) is None
    finally:
        journal.close()
