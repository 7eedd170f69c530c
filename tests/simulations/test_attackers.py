"""Attackers send what their names say, in the update alone, and past the clip where they may."""

import numpy as np
import pytest
import torch

from federation.entropy import SeededEntropy
from federation.layout import VectorLayout, count_segment, finest_segment
from federation.round_layout import UPDATE, WEIGHT
from federation.task import SiteRequest
from federation.task_loading import load_task
from simulations.attackers import ReversedLabels, _difference

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
    vector.add(_difference(LAYOUT, vector, factor))
    sent = LAYOUT.decode(vector)
    assert np.array_equal(sent[WEIGHT], HONEST[WEIGHT])
    step = {s.name: s.step for s in LAYOUT.segments}
    assert np.allclose(sent["before"], HONEST["before"], atol=step["before"])
    assert np.allclose(sent[UPDATE], factor * HONEST[UPDATE], atol=2 * step[UPDATE] * abs(factor))


def test_only_the_ring_bounds_a_malicious_update() -> None:
    vector = LAYOUT.encode(HONEST, SeededEntropy(1))
    vector.add(_difference(LAYOUT, vector, 1e6))
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
