"""The attacks work where nothing protects, and their scores are what they are called."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch import nn

from federation import config_file
from federation.entropy import SeededEntropy
from federation.errors import ConfigError
from federation.task_loading import load_task
from privacy.audit import inversion, membership
from privacy.audit.attack import AttackAudit, audit_attack
from privacy.audit.membership import Attacked
from privacy.audit.result import from_plain, to_plain
from privacy.audit.shadow import Shadow, shadow


@pytest.fixture(scope="module")
def heart() -> Shadow:
    config = config_file.parse({}, ["task.options.hidden=[16]", "run.rounds=5"])
    return shadow(load_task(config.task.name, config.task.options), config)


def test_one_row_is_read_off_a_plain_update_and_not_off_a_private_one(heart: Shadow) -> None:
    real = heart.rows("cleveland")
    found = inversion.inversions(heart, (real.inputs, real.targets), SeededEntropy(1))
    assert [each.batch for each in found] == list(inversion.BATCHES)
    assert found[0].without_privacy == pytest.approx(1, abs=1e-4)
    assert found[1].without_privacy > found[1].by_chance + 0.1
    for each in found:
        assert each.with_privacy < 0.6


@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 99))
def test_the_quotient_of_the_layers_gradients_is_the_row(outputs, width, seed) -> None:
    generator = np.random.default_rng(seed)
    row, slope = generator.standard_normal(width), generator.standard_normal(outputs)
    update = np.concatenate([np.outer(slope, row).ravel(), slope])
    assert inversion.invert(update, width) == pytest.approx(np.tile(row, (outputs, 1)))


def test_a_unit_without_gradient_gives_no_candidate() -> None:
    assert not inversion.invert(np.zeros(6), 2).any()
    assert np.isfinite(inversion.invert(np.array([1.0, 1.0, 0.0]), 2)).all()


def test_it_does_not_apply_to_other_first_layers() -> None:
    assert inversion.first_layer(nn.Sequential(nn.Linear(3, 2)), 3) == slice(0, 8)
    assert inversion.first_layer(nn.Sequential(nn.Linear(3, 2, bias=False)), 3) is None
    assert inversion.first_layer(nn.Sequential(nn.Linear(3, 2)), 4) is None
    convolution = nn.Sequential(nn.Conv1d(1, 1, 3), nn.Flatten(), nn.Linear(3, 2))
    assert inversion.first_layer(convolution, 3) is None


@given(st.integers(0, 999))
def test_auc_is_scikit_learns_with_ties(seed: int) -> None:
    generator = np.random.default_rng(seed)
    members = np.append(generator.random(40) < 0.5, [True, False])
    scores = generator.integers(0, 6, len(members)).astype(float)
    found = membership.success(scores, members)
    assert found.auc == pytest.approx(roc_auc_score(members, scores))


def test_power_is_at_no_more_than_one_false_alarm_in_a_hundred() -> None:
    outside, inside = np.arange(200.0), np.array([197.5, 198.5, 199.5, 0.0])
    scores = np.concatenate([outside, inside])
    members = np.arange(204) >= 200
    # Two of 200 may be above: the threshold is 197.
    assert membership.success(scores, members).power == 0.75
    assert membership.success(np.where(scores == 197.5, 196.5, scores), members).power == 0.5
    with pytest.raises(ValueError, match="members"):
        membership.success(outside, np.zeros(200, bool))


def synthetic(shift: float, seed: int) -> Attacked:
    generator = np.random.default_rng(seed)
    members = generator.random((24, 150)) < 0.5
    hardness = 5 * generator.standard_normal(150)
    return Attacked(members, hardness + shift * members + generator.standard_normal(members.shape))


def test_shadow_models_see_what_one_threshold_for_all_rows_does_not() -> None:
    """LiRA knows how hard each row is; with a shift of one deviation the best AUC is 0.76."""
    attacked = synthetic(1.0, 1)
    assert membership.by_loss(attacked).auc < 0.6
    assert 0.70 < membership.by_shadow_models(attacked).auc < 0.78


def test_nothing_is_seen_where_nothing_is() -> None:
    found = membership.by_shadow_models(synthetic(0.0, 2))
    assert found.auc == pytest.approx(0.5, abs=0.03)
    assert found.power == pytest.approx(0.01, abs=0.01)


def test_a_target_is_not_among_the_models_that_judge_it() -> None:
    attacked = synthetic(1.0, 3)
    members = attacked.members.copy()
    members[0] = ~members[0]
    other = Attacked(members, attacked.confidence)
    score = membership.likelihood_ratios(attacked, 0)
    assert np.array_equal(score, membership.likelihood_ratios(other, 0))


def test_a_whole_attack_is_fixed_by_its_seed_and_stays_below_what_is_allowed(
    heart: Shadow,
) -> None:
    audit = AttackAudit(heart, "cleveland", shadow_models=4, seed=3)
    result = audit_attack(audit)
    assert result == audit_attack(audit)
    assert from_plain(to_plain(result)) == result
    assert result.verdict == "PASS"
    assert result.measures["lira_auc_with"] < result.measures["allowed_auc"]
    assert result.measures["inversion_1_without"] > 0.999


@pytest.mark.parametrize(
    ("change", "key"),
    [({"site": "mars"}, "--site"), ({"shadow_models": 3}, "--shadow-models"),
     ({"seed": -1}, "--seed"), ({"confidence": 0.0}, "--confidence")],
)  # fmt: skip
def test_what_is_out_of_range_is_refused(heart: Shadow, change, key) -> None:
    with pytest.raises(ConfigError, match=key):
        AttackAudit(heart, **({"site": "cleveland"} | change))


def test_a_plain_model_that_remembers_everything_is_seen_through() -> None:
    """One row per parameter, no noise: membership is plain to see."""
    members = np.random.default_rng(0).random((16, 60)) < 0.5
    attacked = Attacked(members, np.where(members, 3.0, -3.0) + 0.1 * torch.randn(16, 60).numpy())
    assert membership.by_loss(attacked).auc == 1
    assert membership.by_shadow_models(attacked).power == 1
