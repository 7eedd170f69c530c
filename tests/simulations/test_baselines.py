"""The yardsticks: trained and judged as they say, so a comparison means something."""

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score

from federation import config_file
from federation.initial_model import initial_model
from federation.task import SiteRequest
from federation.task_loading import load_task
from server.proposal import propose
from simulations.baselines import baselines
from simulations.sites import resolve

TASK = load_task("heart", {})


def agreement_with(*overrides: str, **tables):
    table = {
        "task": {"name": "heart"},
        "run": {"rounds": 5, "seed": 0},
        "privacy": {"epsilon": 2.0, "delta": 1e-3},
    }
    config = resolve(config_file.parse(table | tables, list(overrides)), TASK)
    rows = {site: len(load(site).train) for site in config.federation.sites}
    return propose(config, "r", rows, "0" * 64)


def load(site: str):
    return TASK.load(SiteRequest(site, 0))


@pytest.fixture(scope="module")
def beside():
    agreement = agreement_with()
    untrained = initial_model(TASK, agreement.seed)
    return {b.name: b for b in baselines(TASK, agreement, untrained, 5)}


def test_each_site_alone_and_all_rows_together(beside) -> None:
    alone = [name for name in beside if name.startswith("alone: ")]
    assert alone == [f"alone: {site}" for site in TASK.sites]
    assert set(beside) - set(alone) == {"centralized", "centralized with the same DP"}
    assert all(baseline.simulation_only for baseline in beside.values())


def held_out(site: str) -> tuple[torch.Tensor, np.ndarray]:
    parts = load(site).reference, load(site).current
    inputs = torch.cat([part.inputs for part in parts])
    return inputs, torch.cat([part.targets for part in parts]).numpy()


def test_all_are_judged_on_the_same_held_out_rows(beside) -> None:
    rows = {site: len(held_out(site)[1]) for site in TASK.sites}
    assert {baseline.utility.rows for baseline in beside.values()} == {sum(rows.values())}
    for site in TASK.sites:
        assert beside[f"alone: {site}"].on_own_rows.rows == rows[site]


def test_the_federated_model_is_judged_as_sklearn_judges_it(beside) -> None:
    # What was handed in as the federated model is the untrained one.
    model = initial_model(TASK, 0)
    inputs, labels = held_out("cleveland")
    with torch.no_grad():
        score = torch.softmax(model(inputs).double(), dim=1)[:, 1].numpy()
    judged = beside["alone: cleveland"].federated_on_own_rows
    assert judged.accuracy.value == pytest.approx(np.mean((score >= 0.5) == (labels == 1)))
    assert judged.log_loss == pytest.approx(log_loss(labels, score), abs=1e-3)
    assert judged.auc.low <= roc_auc_score(labels, score) <= judged.auc.high


def test_pooling_without_privacy_beats_a_constant(beside) -> None:
    labels = np.concatenate([held_out(site)[1] for site in TASK.sites])
    majority = max(labels.mean(), 1 - labels.mean())
    assert beside["centralized"].utility.accuracy.value > majority + 0.1


def test_with_privacy_off_there_is_no_second_centralized_model() -> None:
    agreement = agreement_with(run={"rounds": 1, "seed": 0}, privacy={"mode": "off"})
    made = baselines(TASK, agreement, initial_model(TASK, 0), 1)
    assert [b.name for b in made if not b.name.startswith("alone")] == ["centralized"]


def test_the_same_seed_gives_the_same_yardsticks(beside) -> None:
    agreement = agreement_with()
    again = baselines(TASK, agreement, initial_model(TASK, agreement.seed), 5)
    assert {b.name: b for b in again} == beside
