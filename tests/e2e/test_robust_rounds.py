"""Rounds in groups, on census records: what attackers do to a mean and not to a median."""

import json
from dataclasses import replace

import pytest
from federation_in_process import Federation, Killed, asked

from federation import config_file
from federation.agreement import Agreement
from federation.envelope import Phase
from federation.sum_groups import sum_groups
from federation.summary import Summary
from federation.task_loading import load_task
from privacy.secure_sum.terms import tolerated_colluders
from simulations.simulate import run
from simulations.sites import prepare, read_config

ATTACKER = "region-05"
MEDIAN = {"aggregate": "median", "groups": 3}
TRIMMED = {"aggregate": "trimmed_mean", "groups": 3, "trim": 0.34}


@pytest.fixture(scope="module", autouse=True)
def _one_task_for_all_sites():
    """A task reads its table when it is made: once here, instead of once for every agent."""
    made = {}

    def load(name, options):
        key = (name, json.dumps(options))
        return made.get(key) or made.setdefault(key, load_task(name, options))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simulations.sites.load_task", load)
        patch.setattr("federation_in_process.load_task", load)
        yield


def table(regions: int, robustness: dict, **simulation: object) -> dict:
    return {
        "run": {"name": "test", "rounds": 3},
        "task": {"name": "acs-employment", "options": {"regions": regions, "hidden": [8]}},
        "training": {"local_steps": 10, "sampling_rate": 0.05, "learning_rate": 0.5},
        "privacy": {"mode": "off"},
        "robustness": robustness,
        "simulation": {"baselines": False, **simulation},
    }


def play(tmp_path_factory, robustness: dict, **attack: object) -> Summary:
    attackers = [{"site": ATTACKER, **attack}] if attack else []
    runs = tmp_path_factory.mktemp("runs")
    federation = Federation(runs, table(9, robustness, attackers=attackers))
    federation.play()
    return federation.folder.read_summary()


def accuracy(summary: Summary) -> float:
    value = summary.utility[-1].overall.accuracy.value
    assert value is not None
    return value


@pytest.fixture(scope="module")
def honest(tmp_path_factory) -> float:
    return accuracy(play(tmp_path_factory, {}))


FAR = {"kind": "scaled_update", "factor": 1000.0}


def test_one_scaled_update_destroys_a_mean(honest: float, tmp_path_factory) -> None:
    assert honest > 0.7
    assert accuracy(play(tmp_path_factory, {}, **FAR)) < 0.6


@pytest.mark.parametrize(
    ("robustness", "attack"),
    [(MEDIAN, {}), (MEDIAN, FAR), (TRIMMED, FAR), (MEDIAN, {"kind": "label_flip"})],
    ids=["median, honest", "median, scaled", "trimmed mean, scaled", "median, labels"],
)
def test_and_neither_attack_nor_honesty_costs_a_robust_mean_much(
    honest: float, tmp_path_factory, robustness: dict, attack: dict
) -> None:
    assert accuracy(play(tmp_path_factory, robustness, **attack)) > honest - 0.03


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Federation:
    federation = Federation(tmp_path_factory.mktemp("runs"), table(12, MEDIAN | {"groups": 4}))
    federation.play()
    return federation


def test_the_summary_and_the_report_say_how_updates_were_summed(undisturbed) -> None:
    summary = undisturbed.folder.read_summary()
    assert summary.robustness is not None
    assert summary.robustness.model_dump() == {
        "aggregate": "median", "group_sizes": (3, 3, 3, 3), "quorum": 3, "threshold": 2,
        "trimmed": None, "tolerated_sites": 1,
    }  # fmt: skip
    agreement = Agreement.from_bytes(undisturbed.folder.agreement.read_bytes())
    for one in summary.rounds[:3]:
        drawn = sum_groups(agreement, one.round)
        assert one.groups == tuple(group.sites for group in drawn)
        assert one.survivors == agreement.sites
    assert [r.exchanges for r in summary.rounds] == [5, 5, 5, 5]
    assert [(r.kind, r.groups) for r in summary.rounds[3:]] == [("evaluate", ())]
    # Training rounds in groups count no held-out rows: one point, of the final model.
    assert [point.after_round for point in summary.utility] == [3]
    assert "each of 4 random groups, over at least 3 of the 3" in " ".join(summary.privacy.covered)
    assert "ever other groups" in " ".join(summary.privacy.not_covered)
    assert "4 random groups" in undisturbed.folder.report.read_text()
    # A group of three, of which all must be left, tolerates fewer than the sum of all does.
    rules = agreement.federation
    assert tolerated_colluders(rules.threshold, rules.quorum, len(agreement.sites)) > 1
    assert summary.secure_sum.tolerated_colluders == 1


def dropped(undisturbed: Federation, groups: int, **changes: object) -> dict:
    """A table in which one site of each of so many groups of round 2 is lost."""
    agreement = Agreement.from_bytes(undisturbed.folder.agreement.read_bytes())
    lost = [group.sites[0] for group in sum_groups(agreement, 2)[:groups]]
    dropouts = [{"site": site, "round": 2, "phase": "train"} for site in lost]
    base = table(12, MEDIAN | {"groups": 4}, dropouts=dropouts)
    return base | {"run": base["run"] | changes}


def test_a_round_goes_on_without_a_group_that_has_no_sum(undisturbed, tmp_path) -> None:
    federation = Federation(tmp_path, dropped(undisturbed, 1))
    federation.play()
    summary = federation.folder.read_summary()
    second = summary.rounds[1]
    assert (second.status, len(second.groups), len(second.survivors)) == ("completed", 3, 9)
    assert any("the simulated site is down" in reason for reason in second.dropped.values())
    assert sum("its group has no sum" in reason for reason in second.dropped.values()) == 2
    assert any("a group of sites had no sum" in note for note in summary.notes)


def test_but_not_without_two_of_four(undisturbed, tmp_path) -> None:
    federation = Federation(tmp_path, dropped(undisturbed, 2))
    outcome = federation.play()
    assert outcome.stopped is not None
    assert "2 of 4 groups have a sum, 3 are needed" in outcome.stopped.reason
    federation.play()
    assert federation.folder.read_summary().run.status == "completed"
    assert federation.model == undisturbed.model


def test_a_retry_comes_to_the_same_model(undisturbed, tmp_path) -> None:
    federation = Federation(tmp_path, dropped(undisturbed, 2, attempts_per_round=2))
    federation.play()
    assert federation.folder.read_summary().rounds[1].attempts == 2
    assert federation.model == undisturbed.model


def test_a_killed_run_resumes_to_the_same_model(undisturbed, tmp_path) -> None:
    federation = Federation(tmp_path, table(12, MEDIAN | {"groups": 4}))
    federation.play_until_killed(asked(2, Phase.OPEN, node=7))
    federation.restart_agents()
    federation.play()
    assert federation.folder.read_summary().run.status == "completed"
    assert federation.model == undisturbed.model


def test_a_set_signed_in_one_group_binds_a_retry_of_that_group(undisturbed, tmp_path) -> None:
    """Killed while opening, with one site lost before: that group's retry is without it, too."""
    options = table(12, MEDIAN | {"groups": 3})
    agreement = Agreement.from_bytes(undisturbed.folder.agreement.read_bytes())
    federation = Federation(tmp_path, options)
    three = agreement.model_copy(
        update={
            "robustness": federation.config.robustness,
            "federation": federation.config.federation,
        }
    )
    lost = sum_groups(three, 1)[0].sites[0]
    at = agreement.sites.index(lost)
    line = federation.transport()

    def disturb(node: int, request) -> None:
        if (request.round, request.phase, node) == (1, Phase.TRAIN, at):
            raise ConnectionError("down")
        if (request.round, request.phase) == (1, Phase.OPEN):
            raise Killed

    line.before = disturb
    with pytest.raises(Killed):
        federation.play(line)
    federation.play()
    first = federation.folder.read_summary().rounds[0]
    assert (first.status, first.attempts, set(first.dropped)) == ("completed", 2, {lost})
    assert "signed a sum without it" in first.dropped[lost]


def test_sites_do_not_sum_in_groups_that_a_coordinator_chose(tmp_path, monkeypatch) -> None:
    def chosen(agreement, round_):
        groups = sum_groups(agreement, round_)
        if len(groups) == 1:
            return groups
        everyone = agreement.sites
        thirds = [everyone[at : at + 3] for at in range(0, len(everyone), 3)]
        return tuple(replace(one, sites=own) for one, own in zip(groups, thirds, strict=True))

    monkeypatch.setattr("server.secure_sums.sum_groups", chosen)
    federation = Federation(tmp_path, table(9, MEDIAN))
    outcome = federation.play()
    assert outcome.stopped is not None
    assert "not signed by the site for these terms" in outcome.stopped.reason


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow), 3])
def test_any_number_of_workers_gives_the_same_bits(undisturbed, tmp_path, workers: int) -> None:
    options = table(12, MEDIAN | {"groups": 4}, workers=workers)
    folder = prepare(config_file.parse(options), tmp_path)
    played = run(folder, read_config(folder.path), lambda _: None)
    assert played.run.status == "completed"
    assert folder.model.read_bytes() == undisturbed.model
