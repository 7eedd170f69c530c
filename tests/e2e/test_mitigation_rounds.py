"""Mitigated training over real agents: every method, killed and resumed, and under lies."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from federation_in_process import Federation, asked
from safetensors.torch import load

from evaluation.mitigation.multiplier_ascent import PROPORTIONAL
from federation import config_file
from federation.envelope import Phase, Request, parse_reply
from federation.errors import ConfigError, PrivacyRefusal
from federation.round_messages import Work
from federation.task import SiteRequest
from federation.task_loading import load_task
from server.run_record import read_record
from simulations.baselines import baselines
from simulations.sites import prepare

SITES = ("cleveland", "hungary", "switzerland", "va_long_beach")
PARITY = {"criterion": "demographic_parity", "attribute": "sex"}
METHODS = {
    "reweighing": {"method": "reweighing", **PARITY, "weights": [[0.7, 1.9], [1.2, 0.9]]},
    "adversarial": {"method": "adversarial", "criterion": "equalized_odds", "attribute": "sex"},
    "constrained": {"method": "constrained", **PARITY},
}


def table(method: str, **more: object) -> dict:
    return {"mitigation": METHODS[method], **more}


@pytest.fixture(scope="module", params=METHODS)
def played(request, tmp_path_factory):
    federation = Federation(tmp_path_factory.mktemp(request.param), table(request.param))
    outcome = federation.play()
    return request.param, federation, outcome


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    federation = Federation(tmp_path_factory.mktemp("plain"))
    federation.play()
    return federation


def test_a_run_completes_and_says_how_it_was_mitigated(played, plain) -> None:
    method, federation, outcome = played
    summary = federation.folder.read_summary()
    assert summary.run.status == "completed"
    assert summary.notes == ()
    assert summary.mitigation.method == method
    assert summary.mitigation.attribute == "sex"
    assert outcome.agreement.mitigation.method == method
    assert all(a.epsilon_spent <= a.epsilon_budget for a in summary.privacy.sites.values())
    # The same privacy at the same price, whatever the loss.
    theirs = plain.folder.read_summary().privacy
    assert summary.privacy.noise_multiplier == theirs.noise_multiplier
    assert summary.privacy.sites["hungary"].epsilon_spent == theirs.sites["hungary"].epsilon_spent
    assert plain.folder.read_summary().mitigation is None


def test_the_model_file_is_the_tasks_own_model_and_another_than_without(played, plain) -> None:
    _, federation, _ = played
    task = load_task("heart", {})
    model = task.build_model()
    model.load_state_dict(load(federation.model))
    data = task.load(SiteRequest("hungary", federation.config.run.seed))
    with torch.no_grad():
        probabilities = task.probabilities(model(data.current.inputs))
    assert torch.all(torch.isfinite(probabilities))
    assert federation.model != plain.model


def test_the_same_seed_gives_the_same_model(played, tmp_path) -> None:
    method, federation, _ = played
    again = Federation(tmp_path, table(method))
    again.play()
    assert again.model == federation.model


def test_a_killed_run_resumes_to_the_same_model_and_multipliers(played, tmp_path) -> None:
    method, undisturbed, outcome = played
    federation = Federation(tmp_path, table(method))
    federation.play_until_killed(asked(3, Phase.TRAIN, node=2))
    federation.restart_agents()
    assert federation.play().model == outcome.model  # parameters and multipliers as they travel
    assert federation.model == undisturbed.model
    ours, theirs = (one.folder.read_summary().mitigation for one in (federation, undisturbed))
    assert ours == theirs


def test_multipliers_follow_the_rates_and_travel_with_the_model(tmp_path) -> None:
    federation = Federation(tmp_path, table("constrained", run={"name": "test", "rounds": 4}))
    line = federation.transport()
    outcome = federation.play(line)
    sent = {
        request.round: Work.from_bytes(request.body).model
        for _, request, _ in line.wire
        if request.phase is Phase.TRAIN
    }
    recorded = read_record(federation.folder).rounds
    assert [one.round.kind for one in recorded] == ["train"] * 4 + ["evaluate"]
    for one in recorded:
        values = np.frombuffer(sent[one.round.round], "<f4")[-2:]
        assert list(one.multipliers) == ["selection_rate/Female", "selection_rate/Male"]
        np.testing.assert_array_equal(values, np.array(list(one.multipliers.values()), "<f4"))
    values = np.array([list(one.multipliers.values()) for one in recorded])
    assert not values[0].any()
    total = np.zeros(2)
    for following, record in zip(values[1:], recorded, strict=False):
        rates = {
            group.group: (group.selection_rate.value, group.rows)
            for group in record.fairness[0].groups
            if group.attribute == "sex"
        }
        (low, few), (high, many) = rates["Female"], rates["Male"]
        step = (high - low) / 2 * min(few, many)
        push = np.array([-step / few, step / many])
        total += push
        np.testing.assert_allclose(following, total + PROPORTIONAL * push, rtol=1e-5)
    assert federation.folder.read_summary().mitigation.multipliers == tuple(
        one.multipliers for one in recorded
    )
    assert sent[5] == outcome.model


@pytest.mark.parametrize(("past", "refused"), [(0.0, False), (1e-3, True), (np.nan, True)])
def test_a_site_refuses_multipliers_past_the_bound(tmp_path, past: float, refused: bool) -> None:
    bounded = {"mitigation": METHODS["constrained"] | {"largest_multiplier": 0.5}}
    federation = Federation(tmp_path, bounded)
    line = federation.transport()
    exchange = line.exchange

    def tampering(requests, timeout):
        def altered(request):
            if request.phase is not Phase.TRAIN or request.round != 1:
                return request
            request = Request.from_bytes(request.to_bytes())
            work = Work.from_bytes(request.body)
            values = np.frombuffer(work.model, "<f4").copy()
            values[-1] = 0.5 + past
            return replace(request, body=Work(values.tobytes(), work.envelopes).to_bytes())

        return exchange({node: altered(one) for node, one in requests.items()}, timeout)

    line.exchange = tampering
    outcome = federation.play(line)
    replies = [
        parse_reply(reply)[0]
        for _, request, reply in line.wire
        if request.phase is Phase.TRAIN and request.round == 1 and reply
    ]
    assert {one.status for one in replies} == {"refused" if refused else "ok"}
    # Within the bound, the sites mask under a model that the coordinator did not announce.
    assert "under other masks" in outcome.stopped.reason or refused
    if refused:
        told = "not finite" if np.isnan(past) else "beyond mitigation.largest_multiplier = 0.5"
        assert all(told in one.reason for one in replies)


def test_a_model_without_its_multipliers_is_refused(tmp_path, monkeypatch) -> None:
    federation = Federation(tmp_path, table("constrained"))
    monkeypatch.setattr(
        "server.checkpoint.Checkpoint.model_bytes",
        lambda self: self.parameters.astype("<f4").tobytes(),
    )
    outcome = federation.play()
    assert outcome.stopped is not None
    assert "expected" in outcome.stopped.reason


def test_hidden_groups_keep_their_multipliers(tmp_path) -> None:
    evaluation = {"minimum_cell": 100}  # fewer women than that are held out
    federation = Federation(tmp_path, table("constrained", evaluation=evaluation))
    federation.play()
    sent = federation.folder.read_summary().mitigation.multipliers
    assert all(not any(one.values()) for one in sent)


def test_reweighing_without_weights_is_refused_before_a_folder_is_made(tmp_path) -> None:
    bare = {"mitigation": {"method": "reweighing", **PARITY}}
    with pytest.raises(ConfigError, match=r"mitigation\.weights"):
        Federation(tmp_path, bare)
    assert list(tmp_path.iterdir()) == []


def test_a_site_whose_task_has_no_such_attribute_refuses_with_a_reason(
    tmp_path, monkeypatch
) -> None:
    federation = Federation(tmp_path, table("constrained"))

    def impossible(*_):
        raise ConfigError("mitigation.attribute", "sex", "a sensitive attribute of the task")

    monkeypatch.setattr("client.agent.mitigated", impossible)
    with pytest.raises(PrivacyRefusal, match=r"refused: \w+: mitigation\.attribute"):
        federation.play()


def test_attackers_attack_mitigated_training_too(played, tmp_path) -> None:
    method, honest, _ = played
    attackers = [
        {"site": "hungary", "kind": "label_flip"},
        {"site": "cleveland", "kind": "sign_flip"},
    ]
    simulation = {"baselines": False, "attackers": attackers}
    federation = Federation(tmp_path, table(method, simulation=simulation))
    federation.play()
    assert federation.folder.read_summary().run.status == "completed"
    assert federation.model != honest.model


def test_an_adversary_goes_with_sums_in_random_groups(tmp_path) -> None:
    robust = {
        "run": {"name": "test", "rounds": 1},
        "task": {"name": "acs-employment", "options": {"regions": 9}},
        "robustness": {"aggregate": "median", "groups": 3},
        "privacy": {"mode": "off"},
    }
    federation = Federation(tmp_path, table("adversarial", **robust))
    federation.play()
    assert federation.folder.read_summary().run.status == "completed"


def test_yardsticks_are_without_mitigation_and_say_so(played) -> None:
    _, federation, outcome = played
    task = load_task("heart", {})
    model = task.build_model()
    model.load_state_dict(load(federation.model))
    beside = baselines(task, outcome.agreement, model, 1)
    assert all(one.description.endswith("; without mitigation") for one in beside)


@pytest.mark.slow
def test_constrained_training_narrows_the_gap_that_it_is_told_to(tmp_path) -> None:
    longer = {"run": {"name": "test", "rounds": 20}, "privacy": {"mode": "off"}}
    gaps = {}
    for name, extra in {"plain": {}, "mitigated": table("constrained")}.items():
        federation = Federation(tmp_path / name, longer | extra)
        federation.play()
        (gap,) = (
            one.estimate.value
            for one in federation.folder.read_summary().fairness[0].disparities
            if (one.attribute, one.metric) == ("sex", "demographic_parity_difference")
        )
        gaps[name] = gap
    assert gaps["mitigated"] < gaps["plain"] - 0.15


def test_site_level_noise_covers_the_adversary_too(tmp_path) -> None:
    whole = {"privacy": {"mode": "off", "site_level": {"noise_multiplier": 1.0}}}
    federation = Federation(tmp_path, table("adversarial") | whole)
    outcome = federation.play()
    meter = outcome.agreement.site_level.meter_coordinates
    assert outcome.agreement.site_level.dimension == len(outcome.model) // 4 + meter


def test_checkpoints_without_multipliers_are_as_they_were(plain) -> None:
    record = read_record(plain.folder).rounds[0]
    content = plain.folder.checkpoint(1).read_bytes()
    assert hashlib.sha256(content).hexdigest() == record.checkpoint_sha256
    assert b"multipliers" not in content
    assert "mitigation" not in json.loads(plain.folder.agreement.read_bytes())


def test_preparing_refuses_an_attribute_that_the_task_does_not_have(tmp_path) -> None:

    given = {"task": {"name": "heart"}, "mitigation": METHODS["constrained"] | {"attribute": "x"}}
    with pytest.raises(ConfigError, match=r"mitigation\.attribute = 'x'"):
        prepare(config_file.parse(given), tmp_path)
