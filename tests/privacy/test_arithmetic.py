"""A forward pass in bfloat16: nearly the same gradients, the same bound, the same noise.

On the processor, whose autocast stands for that of a GPU: no GPU runs these tests.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from row_models import CASES

from federation.entropy import SeededEntropy
from federation.errors import ConfigError
from privacy.arithmetic import ON_CPU, Arithmetic, arithmetic_on
from privacy.clipped_sum import clipped_gradient_sum_by
from privacy.dp_sgd import (
    Descent,
    train_for_shared_noise,
    train_privately,
    train_without_privacy,
)
from privacy.ghost_clipping import linear_layers
from privacy.per_sample_gradients import row_gradients
from privacy.plan import ClippedStepPlan, DpSgdPlan, NonPrivatePlan

SHORT = Arithmetic(torch.device("cpu"), torch.bfloat16)
FACTORS = {"fine": 1.0, "zero": 0.0, "huge": 1e15, "nan": np.nan, "inf": np.inf}


@pytest.mark.parametrize("ghost", [False, True])
@pytest.mark.parametrize("name", ["wide", "convolutional", "low rank", "digits", "own parameter"])
def test_gradients_are_float32_and_near_those_of_a_float32_pass(name: str, ghost: bool) -> None:
    case = CASES[name]
    model, rows = case.build(), case.rows(9)
    factored = linear_layers(model) if ghost else ()
    short = row_gradients(model, rows, case.loss, factored, SHORT)
    full = row_gradients(model, rows, case.loss, factored, ON_CPU)
    assert {part.written_out().dtype for part in short} == {torch.float32}
    assert {part.squared_norms().dtype for part in short} == {torch.float64}
    ours, theirs = (torch.cat([part.written_out() for part in one], dim=1) for one in (short, full))
    assert not torch.equal(ours, theirs)  # or nothing was tested
    # A unit near zero may be on in one pass and off in the other.
    assert torch.all((ours - theirs).norm(dim=1) < 0.2 * theirs.norm(dim=1))
    assert (ours - theirs).norm() < 0.03 * theirs.norm()


@settings(max_examples=40)
@given(
    st.sampled_from(["wide", "convolutional", "low rank"]),
    st.booleans(),
    st.integers(0, 9),
    st.sampled_from(sorted(FACTORS)),
    st.floats(1e-3, 1e3),
)
def test_no_row_moves_the_sum_further_than_the_clip(name, ghost, others, kind, clip) -> None:
    case = CASES[name]
    model, (inputs, targets) = case.build(), case.rows(others + 1)
    factored = linear_layers(model) if ghost else ()
    inputs[-1] *= FACTORS[kind]
    absent = inputs.clone()
    absent[-1] = np.nan
    with_it, without = (
        clipped_gradient_sum_by(
            factored, model, (rows, targets), case.loss, clip, arithmetic=SHORT
        )[0]
        for rows in (inputs, absent)
    )
    rounding = 2 * (others + 2) ** 2 * 2.0**-53
    assert np.linalg.norm(with_it - without) <= clip * (1 + rounding)


def test_every_way_to_train_takes_it_and_the_noise_does_not_depend_on_it() -> None:
    case = CASES["wide"]
    model, rows, entropy = case.build(), case.rows(12), SeededEntropy(1)
    nothing = rows[0][:0], rows[1][:0]
    private, free = DpSgdPlan(1.0, 2, 1.0, 1.0, 8.0, 1e-3), NonPrivatePlan(1.0, 2, 8.0)
    step, descent = ClippedStepPlan(1.0, 0.5, 1.0, 8.0), Descent(0.5)

    def each(rows, arithmetic):
        return [
            train_privately(model, rows, case.loss, private, descent, entropy, arithmetic).delta,
            train_for_shared_noise(model, rows, case.loss, step, entropy, arithmetic).delta,
            train_without_privacy(model, rows, case.loss, free, descent, entropy, arithmetic).delta,
        ]

    for short, full in zip(each(rows, SHORT), each(rows, ON_CPU), strict=True):
        assert 0 < np.linalg.norm(short - full) < 0.05 * np.linalg.norm(full)
    for short, full in zip(each(nothing, SHORT), each(nothing, ON_CPU), strict=True):
        np.testing.assert_array_equal(short, full)


def test_a_gpu_that_torch_does_not_see_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert arithmetic_on("cpu") is ON_CPU
    with pytest.raises(ConfigError, match=r'device = .*cuda.*"cpu" where torch sees no GPU'):
        arithmetic_on("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert arithmetic_on("cuda") == Arithmetic(torch.device("cuda"), torch.bfloat16)
