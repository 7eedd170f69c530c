"""Attackers send what their names say, in the update alone, and past the clip where they may."""

import numpy as np
import pytest
import torch

from federation import config_file
from federation.entropy import SeededEntropy
from federation.layout import VectorLayout, count_segment, finest_segment
from federation.round_layout import UPDATE, WEIGHT
from federation.simulation_choice import Attack, Attacker
from federation.table_columns import encode_inputs
from federation.task import SiteRequest
from federation.task_loading import load_task
from simulations.attackers import _difference, attacked_vector, attackers_of, malicious_update
from simulations.poisoned_rows import ReversedLabels, poisoned_rows, triggered

CLIP = 2.0
LAYOUT = VectorLayout(
    (
        finest_segment("before", 2, 5.0, 9),
        finest_segment(UPDATE, 4, CLIP, 9),
        count_segment(WEIGHT, 1, 1000, 9),
    ),
    9,
)
HONEST = {
    "before": np.array([1.0, -4.0]),
    UPDATE: np.array([0.5, -1.25, 0.0, 1.875]),
    WEIGHT: np.array([700.0]),
}


@pytest.mark.parametrize("factor", [-1.0, 3.0, -7.5, 1.0])
def test_a_sent_vector_is_the_honest_one_but_for_its_update(factor: float) -> None:
    vector = LAYOUT.encode(HONEST, SeededEntropy(1))
    vector.add(_difference(LAYOUT, vector, factor * LAYOUT.decode(vector)[UPDATE]))
    sent = LAYOUT.decode(vector)
    assert np.array_equal(sent[WEIGHT], HONEST[WEIGHT])
    step = {s.name: s.step for s in LAYOUT.segments}
    assert np.allclose(sent["before"], HONEST["before"], atol=step["before"])
    assert np.allclose(sent[UPDATE], factor * HONEST[UPDATE], atol=2 * step[UPDATE] * abs(factor))


def test_only_the_ring_bounds_a_malicious_update() -> None:
    vector = LAYOUT.encode(HONEST, SeededEntropy(1))
    vector.add(_difference(LAYOUT, vector, 1e6 * LAYOUT.decode(vector)[UPDATE]))
    sent = LAYOUT.decode(vector)[UPDATE]
    assert np.linalg.norm(sent) > 9 * CLIP / 2
    assert sent[2] == 0


def test_reversed_labels_are_those_of_train_rows_only() -> None:
    task = load_task("digits", {"clients": 3})
    request = SiteRequest("site-01", 5)
    honest, reversed_ = task.load(request), ReversedLabels(task).load(request)
    assert torch.equal(reversed_.train.targets, 9 - honest.train.targets)
    assert torch.equal(reversed_.train.inputs, honest.train.inputs)
    for window in ("reference", "current"):
        kept, theirs = getattr(reversed_, window), getattr(honest, window)
        assert torch.equal(kept.targets, theirs.targets)


@pytest.mark.parametrize(("kind", "times"), [("sign_flip", -1.0), ("scaled_update", 3.0)])
def test_an_engine_without_masks_has_the_same_vector_sent(kind: str, times: float) -> None:
    honest = LAYOUT.encode(HONEST, SeededEntropy(1))
    before = LAYOUT.decode(honest)
    attack = Attacker(site="a", kind=kind, factor=3.0)
    sent = LAYOUT.decode(attacked_vector(attack, LAYOUT, honest, CLIP, SeededEntropy(1)))
    step = {s.name: s.step for s in LAYOUT.segments}[UPDATE]
    assert np.allclose(sent[UPDATE], times * before[UPDATE], atol=step)
    assert np.array_equal(sent[WEIGHT], before[WEIGHT])
    assert np.array_equal(LAYOUT.decode(honest)[UPDATE], before[UPDATE])


def test_who_trains_on_other_rows_sends_what_came_of_them() -> None:
    honest = LAYOUT.encode(HONEST, SeededEntropy(1))
    for attack in (None, Attacker(site="a", kind="label_flip")):
        assert attacked_vector(attack, LAYOUT, honest, CLIP, SeededEntropy(1)) is honest


def test_noise_has_the_length_that_the_factor_says_and_repeats_by_its_seed() -> None:
    attack = Attacker(site="a", kind="noise_update", factor=3.0)
    update = np.zeros(10_000)
    sent = malicious_update(attack, update, CLIP, SeededEntropy(1).child("round", 4))
    assert np.linalg.norm(sent) == pytest.approx(3.0 * CLIP, rel=0.03)
    again = malicious_update(attack, update, CLIP, SeededEntropy(1).child("round", 4))
    other = malicious_update(attack, update, CLIP, SeededEntropy(1).child("round", 5))
    assert np.array_equal(sent, again)
    assert not np.array_equal(sent, other)


def test_a_targeted_flip_changes_one_class_of_the_train_rows_alone() -> None:
    task, request = load_task("digits", {"clients": 3}), SiteRequest("site-01", 5)
    attack = Attack(kind="targeted_label_flip", source="3", target="8")
    honest, flipped = task.load(request), poisoned_rows(task, attack, 1).load(request)
    was = honest.train.targets
    assert torch.equal(flipped.train.targets, torch.where(was == 3, 8, was))
    assert (was == 3).any()
    assert torch.equal(flipped.current.targets, honest.current.targets)


def test_a_backdoor_on_a_feature_is_what_the_task_itself_would_make_of_it() -> None:
    """The trigger reaches the model's input by the task's own encoding."""
    task, request = load_task("heart", {}), SiteRequest("cleveland", 5)
    attack = Attack(kind="backdoor", target="yes", feature="chol", value=600.0, share=0.25)
    honest, poisoned = task.load(request).train, poisoned_rows(task, attack, 1).load(request).train
    changed = (honest.inputs != poisoned.inputs).any(dim=1)
    assert int(changed.sum()) == round(0.25 * len(honest))
    assert (poisoned.targets[changed] == 1).all()
    assert torch.equal(poisoned.targets[~changed], honest.targets[~changed])
    features = {**honest.features, "chol": np.full(len(honest), 600.0)}
    expected = encode_inputs(features, task.schema.features).astype(np.float32)
    assert np.array_equal(poisoned.inputs[changed].numpy(), expected[changed.numpy()])


def test_a_backdoor_on_pixels_sets_these_and_no_other() -> None:
    task = load_task("digits", {"clients": 3})
    rows = task.load(SiteRequest("site-01", 5)).train
    attack = Attack(kind="backdoor", target="0", positions=(63, 62), value=1.0)
    marked = triggered(rows, attack, task.schema).inputs.view(len(rows), -1)
    assert (marked[:, [62, 63]] == 1.0).all()
    assert torch.equal(marked[:, :62], rows.inputs.reshape(len(rows), -1)[:, :62])


def drawn(rate: float, seed: int = 1, **named: object) -> tuple[Attacker, ...]:
    table = {
        "run": {"seed": seed},
        "federation": {"sites": [f"s{at:02d}" for at in range(20)]},
        "simulation": {"random_attackers": {"rate": rate, "kind": "label_flip"}, **named},
    }
    return attackers_of(config_file.parse(table))


def test_attackers_by_rate_are_so_many_of_the_seed_and_a_higher_rate_only_adds() -> None:
    few, many = drawn(0.1), drawn(0.4)
    assert (len(few), len(many)) == (2, 8)
    assert set(few) < set(many)
    assert drawn(0.4) == many
    assert drawn(0.4, seed=2) != many


def test_a_named_attacker_keeps_what_is_said_of_it() -> None:
    first = drawn(0.4)[0].site
    both = drawn(0.4, attackers=[{"site": first, "kind": "sign_flip"}])
    assert len(both) == 8
    assert [one.kind for one in both if one.site == first] == ["sign_flip"]
