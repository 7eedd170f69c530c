"""SCAFFOLD and layers that stay at the site over real agents: killed, lost, resumed and lied to."""

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from federation_in_process import Federation, asked
from safetensors import safe_open
from safetensors.torch import load

from client.agent import SiteAgent
from client.journal import Journal
from client.observation import outcome_tallies
from client.site_home import SiteHome
from evaluation import findings
from evaluation.run_layout import run_tally_spec
from federation.agreement import Agreement
from federation.broadcast import broadcast_shape
from federation.envelope import Phase, parse_reply
from federation.errors import UsageError
from federation.round_layout import RoundKind
from federation.round_messages import Work
from federation.site_state import SiteState
from federation.task import SiteRequest
from federation.task_loading import load_task
from federation.trained_task import as_trained
from server.checkpoint import read_checkpoint
from server.evaluation_run import Evaluator
from server.rounds import Rounds
from simulations import simulate
from simulations.baselines import baselines

SITES = ("cleveland", "hungary", "switzerland", "va_long_beach")
OPTIONS = {"hidden": [5]}
BODY, HEAD = 45 * 5 + 5, 5 * 2 + 2
CHOICES = {
    "scaffold": {"algorithm": "scaffold"},
    "layers": {"local_layers": ["2.*"]},
    "both": {"algorithm": "scaffold", "local_layers": ["2.*"]},
}


def table(choice: dict, rounds: int = 4, **more: object) -> dict:
    return {
        "run": {"name": "test", "rounds": rounds},
        "task": {"name": "heart", "options": OPTIONS},
        "training": {"local_steps": 4, **choice},
        **more,
    }


def journal_of(federation: Federation, site: str) -> Path:
    return SiteHome(federation.folder.site_home(site)).journal


def states_of(federation: Federation, site: str) -> dict[int, bytes]:
    with closing(sqlite3.connect(journal_of(federation, site))) as db:
        return dict(db.execute("SELECT round, state FROM states").fetchall())


def states_at_the_end(federation: Federation, line) -> dict[str, dict[int, bytes]]:
    """Filled when the run is played: what the sites kept before they were told to forget it."""
    kept: dict[str, dict[int, bytes]] = {}

    def watch(_, request) -> None:
        if request.phase is Phase.CLOSE and not kept:
            kept.update({site: states_of(federation, site) for site in SITES})

    line.before = watch
    return kept


def agreement_of(federation: Federation) -> Agreement:
    return Agreement.from_bytes(federation.folder.agreement.read_bytes())


def checkpoint_of(federation: Federation, outcome):
    last = outcome.record.last_training
    return read_checkpoint(federation.folder, last.round.round, last.checkpoint_sha256)


def sent(federation: Federation, line, kind: RoundKind) -> list:
    """What travelled to the first site, round for round."""
    agreed = agreement_of(federation)
    task = as_trained(load_task("heart", OPTIONS), agreed.training, None)
    parameters = BODY if agreed.training.local_layers else BODY + HEAD
    shape = broadcast_shape(agreed, task, parameters, kind)
    bodies = [
        Work.from_bytes(request.body).model
        for node, request, _ in line.wire
        if node == 0 and request.phase is Phase.TRAIN
        and (request.round > agreed.rounds) is (kind is RoundKind.EVALUATE)
    ]  # fmt: skip
    return [shape.split(np.frombuffer(body, "<f4").astype(float)) for body in bodies]


@pytest.fixture(scope="module", params=CHOICES)
def played(request, tmp_path_factory):
    federation = Federation(tmp_path_factory.mktemp(request.param), table(CHOICES[request.param]))
    line = federation.transport()
    kept = states_at_the_end(federation, line)
    outcome = federation.play(line)
    return CHOICES[request.param], federation, outcome, line, kept


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    federation = Federation(tmp_path_factory.mktemp("plain"), table({}))
    federation.play()
    return federation


def test_a_run_completes_at_the_same_charge_and_says_what_it_was(played, plain) -> None:
    choice, federation, _, _, _ = played
    summary, theirs = federation.folder.read_summary(), plain.folder.read_summary()
    assert summary.run.status == "completed"
    assert summary.privacy.noise_multiplier == theirs.privacy.noise_multiplier
    for site in SITES:
        ours, others = (one.privacy.sites[site] for one in (summary, theirs))
        assert (ours.epsilon_spent, ours.reserved, ours.committed) == (
            others.epsilon_spent, others.reserved, others.committed,
        )  # fmt: skip
    assert summary.strategy.algorithm == choice.get("algorithm", "sgd")
    names = ("2.weight", "2.bias") if "local_layers" in choice else ()
    assert summary.strategy.local_layers == names
    assert any("stay at the sites" in note for note in summary.notes) == bool(names)
    assert summary.run.model_parameters == (BODY if names else BODY + HEAD)
    assert theirs.strategy.algorithm == "sgd"
    assert federation.model != plain.model


def test_an_agreement_without_either_does_not_speak_of_it(plain) -> None:
    training = agreement_of(plain).model_dump(mode="json")["training"]
    assert not {"algorithm", "local_layers"} & set(training)


def test_what_travels_is_what_was_agreed(played) -> None:
    choice, federation, _, line, _ = played
    trained, judged = (
        sent(federation, line, kind) for kind in (RoundKind.TRAIN, RoundKind.EVALUATE)
    )
    scaffold, layers = "algorithm" in choice, "local_layers" in choice
    assert len(trained) == 4
    assert [len(one.control) > 0 for one in trained] == [scaffold] * 4
    np.testing.assert_array_equal(trained[0].counted, np.zeros(4))
    np.testing.assert_array_equal(trained[3].counted, np.full(4, 3.0))
    (last,) = judged
    assert len(last.control) == 0
    assert last.counted.tolist() == ([4.0] * 4 if layers else [])


def test_the_coordinators_control_is_the_mean_of_what_the_sites_keep(played) -> None:
    choice, federation, outcome, _, kept = played
    if "algorithm" not in choice:
        return
    agreed, checkpoint = agreement_of(federation), checkpoint_of(federation, outcome)
    shares = {s: rows / sum(agreed.public_rows.values()) for s, rows in agreed.public_rows.items()}
    length = len(checkpoint.control)
    own = {
        site: SiteState.from_bytes(states[4], length, HEAD if "local_layers" in choice else 0)
        for site, states in kept.items()
    }
    mean = sum(shares[site] * state.control for site, state in own.items())
    np.testing.assert_allclose(checkpoint.control, mean, atol=1e-12)
    assert np.linalg.norm(mean) > 1e-3
    # Two of them: that which the sum was made of, and the one before, should it have failed.
    assert all(sorted(states) == [3, 4] for states in kept.values())


def test_a_completed_run_leaves_no_state_in_the_journal(played) -> None:
    _, federation, _, _, kept = played
    assert all(len(states) == 2 for states in kept.values())
    assert all(states_of(federation, site) == {} for site in SITES)


def test_every_site_keeps_its_own_layers_as_a_file_that_completes_the_model(played) -> None:
    choice, federation, outcome, _, kept = played
    homes = {site: SiteHome(federation.folder.site_home(site)) for site in SITES}
    files = {site: home.layers(federation.folder.id) for site, home in homes.items()}
    if "local_layers" not in choice:
        assert not any(file.exists() for file in files.values())
        return
    with safe_open(federation.folder.model, "pt") as file:
        assert file.metadata() == {"as_initialised": "2.weight, 2.bias"}
    task = load_task("heart", OPTIONS)
    spec = run_tally_spec(task.schema, agreement_of(federation))
    model = task.build_model()
    model.load_state_dict(load(federation.model))
    summary = federation.folder.read_summary()
    tallies = []
    for site, file in files.items():
        assert file.stat().st_mode & 0o077 == 0
        layers = load(file.read_bytes())
        flat = torch.cat([layers[name].flatten() for name in ("2.weight", "2.bias")])
        controls = len(checkpoint_of(federation, outcome).control)
        state = SiteState.from_bytes(kept[site][4], controls, HEAD)
        np.testing.assert_array_equal(flat.numpy(), state.local.astype(np.float32))
        model.load_state_dict(layers, strict=False)
        tallies.append(_tallies(task, model, federation, site, spec))
    sums = {name: np.sum([one[name] for one in tallies], axis=0) for name in tallies[0]}
    assert findings.utility(spec, sums) == summary.utility[-1].overall


def _tallies(task, model, federation, site, spec):
    data = task.load(SiteRequest(site, federation.config.run.seed))
    return outcome_tallies(task, model, data, spec)


def test_a_killed_run_resumes_to_the_same_model(played, tmp_path) -> None:
    choice, undisturbed, outcome, _, _ = played
    federation = Federation(tmp_path, table(choice))
    federation.play_until_killed(asked(3, Phase.TRAIN, node=2))
    federation.restart_agents()
    assert federation.play().model == outcome.model
    assert federation.model == undisturbed.model


def losing(federation: Federation, *places: tuple[int, Phase], before: bool):
    """A line on which hungary is lost in some places, before or after it answers."""
    line = federation.transport()

    def gone(node: int, request) -> None:
        if SITES[node] == "hungary" and (request.round, request.phase) in places:
            raise ConnectionError("lost")

    def silenced(node: int, request, reply: bytes) -> bytes:
        gone(node, request)
        return reply

    if before:
        line.before = gone
    else:
        line.alter = silenced
    return line


def test_a_vector_that_is_lost_on_its_way_leaves_no_trace(played, tmp_path) -> None:
    choice, undisturbed, _, _, _ = played
    models = []
    for before in (True, False):
        federation = Federation(tmp_path / str(before), table(choice))
        # With a lost answer goes the one that rode on it: the site's keys for round 3.
        places = ((2, Phase.TRAIN), (3, Phase.ADVERTISE))
        federation.play(losing(federation, *places, before=before))
        assert "hungary" in federation.folder.read_summary().rounds[1].dropped
        models.append(federation.model)
    assert models[0] == models[1] != undisturbed.model


def test_a_site_that_is_lost_after_its_vector_came_goes_on_from_that_vector(tmp_path) -> None:
    # It signed nothing and cannot know that the sum was opened: it is told.
    federation = Federation(tmp_path, table(CHOICES["both"]))
    line = losing(federation, (2, Phase.SIGN), before=True)
    federation.play(line)
    assert "hungary" in federation.folder.read_summary().rounds[1].survivors
    third = sent(federation, line, RoundKind.TRAIN)[2]
    np.testing.assert_array_equal(third.counted, np.full(4, 2.0))


def test_a_failed_round_is_no_round_that_a_site_goes_on_from(tmp_path) -> None:
    # All have sent a vector when too few are left to sign: the model stays, and so do the states.
    run = {"name": "test", "rounds": 4, "on_failed_round": "continue"}
    federation = Federation(tmp_path, table(CHOICES["both"]) | {"run": run})
    line = federation.transport()

    def gone(node: int, request) -> None:
        if node >= 2 and (request.round, request.phase) == (2, Phase.SIGN):
            raise ConnectionError("lost")

    line.before = gone
    federation.play(line)
    assert federation.folder.read_summary().rounds[1].status == "failed"
    counted = [one.counted.tolist() for one in sent(federation, line, RoundKind.TRAIN)]
    assert counted == [[0.0] * 4, [1.0] * 4, [1.0] * 4, [3.0] * 4]


def refused(line, code: str) -> set[tuple[int, int]]:
    said = [
        (node, request.round, parse_reply(reply)[0]) for node, request, reply in line.wire if reply
    ]
    return {(node, number) for node, number, reply in said if reply.code == code}


def reservations(federation: Federation, site: str) -> int:
    return federation.folder.read_summary().privacy.sites[site].reserved


def test_a_site_whose_state_is_gone_refuses_and_is_charged_nothing(tmp_path) -> None:
    federation = Federation(tmp_path, table(CHOICES["both"]))
    line = federation.transport()

    def lose(node: int, request) -> None:
        if SITES[node] == "hungary" and (request.round, request.phase) == (3, Phase.TRAIN):
            with closing(sqlite3.connect(journal_of(federation, "hungary"))) as db, db:
                db.execute("DELETE FROM states")

    line.before = lose
    federation.play(line)
    assert refused(line, "state_lost") == {(1, 3), (1, 4), (1, 5)}
    assert reservations(federation, "hungary") == 2
    assert reservations(federation, "cleveland") == 4


def test_a_site_goes_on_from_no_training_that_it_gave_to_nobody(tmp_path, monkeypatch) -> None:
    # Its vector of round 2 is made and kept, and never leaves; so it may be had back from the
    # ledger, and a coordinator that says it counts would have it released by what follows.
    federation = Federation(tmp_path, table(CHOICES["both"]))
    honest_mark, honest_count = SiteAgent._mark, Rounds._counted

    def mark(agent, request) -> None:
        if (agent._site, request.round, request.phase) == ("hungary", 2, Phase.TRAIN):
            raise OSError("the disk is full")
        honest_mark(agent, request)

    def count(rounds, number, counted, outcome):
        said = honest_count(rounds, number, counted, outcome)
        return np.full(4, 2.0) if number == 2 else said

    monkeypatch.setattr(SiteAgent, "_mark", mark)
    monkeypatch.setattr(Rounds, "_counted", count)
    line = federation.transport()
    kept = {}

    def watch(node: int, request) -> None:
        if (request.round, request.phase) == (3, Phase.TRAIN):
            kept.setdefault("rounds", sorted(states_of(federation, "hungary")))

    line.before = watch
    federation.play(line)
    assert kept["rounds"] == [1, 2]  # so it is not for want of it that it refuses
    assert (1, 3) in refused(line, "state_lost")


def test_the_sites_own_layers_are_what_yardsticks_judge_by(played) -> None:
    choice, federation, outcome, _, _ = played
    if "local_layers" not in choice:
        return
    task = load_task("heart", OPTIONS)
    model = task.build_model()
    model.load_state_dict(load(federation.model))
    layers = simulate._own_layers(federation.folder, federation.config)
    assert set(layers) == set(SITES)
    beside = baselines(task, outcome.agreement, model, 4, {"hungary": layers["hungary"]})
    own = {one.name.removeprefix("alone: "): one.federated_on_own_rows for one in beside}
    assert own["cleveland"] is None
    spec = run_tally_spec(task.schema, outcome.agreement)
    model.load_state_dict(layers["hungary"], strict=False)
    judged = findings.utility(spec, _tallies(task, model, federation, "hungary", spec))
    assert own["hungary"] == judged


def test_an_evaluation_after_the_run_asks_for_the_model_that_was_judged(played) -> None:
    choice, federation, _, line, _ = played
    run = Evaluator(line, federation.folder, federation.config, load_task("heart", OPTIONS))
    if "local_layers" in choice:
        with pytest.raises(UsageError, match="stayed at the sites"):
            _ = run.model
        return
    (judged,) = sent(federation, line, RoundKind.EVALUATE)
    assert run.model == judged.to_bytes()


def test_worker_processes_give_the_same_model(played, tmp_path) -> None:
    choice, undisturbed, _, _, _ = played
    if choice != CHOICES["both"]:
        return
    federation = Federation(
        tmp_path, table(choice) | {"simulation": {"baselines": False, "workers": 2}}
    )
    simulate.run(federation.folder, federation.config, lambda _: None)
    assert federation.model == undisturbed.model


def test_states_stand_in_the_journal_with_the_vector_they_belong_to_or_not_at_all(
    tmp_path, monkeypatch
) -> None:
    federation = Federation(tmp_path, table(CHOICES["both"], rounds=1))
    whole = Journal.keep_contribution

    def torn(journal, run, round_, contribution, after=None) -> None:
        # The process dies within the transaction, after the contribution was written.
        broken = None if after is None else type(after)(after.since, None)
        whole(journal, run, round_, contribution, broken)

    monkeypatch.setattr(Journal, "keep_contribution", torn)
    federation.play()
    for site in SITES:
        journal = Journal(journal_of(federation, site))
        assert journal.contribution(federation.folder.id, 1) is None
        assert states_of(federation, site) == {}
        journal.close()
