"""The clipped sum: four independent ways to it agree, and no row moves it further than the clip."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from row_models import CASES, Case, loss
from torch import Tensor, nn

from federation.errors import PrivacyRefusal
from privacy.clipped_sum import clipped_gradient_sum, clipped_gradient_sum_by
from privacy.flat_parameters import flat_parameters, trainable
from privacy.ghost_clipping import linear_layers
from privacy.mechanisms.clipping import norm_rounding
from privacy.per_sample_gradients import per_sample_gradients, row_gradients
from privacy.row_gradients import OuterProducts, WrittenOut

ROWS = 7
KINDS = {"fine": 1.0, "zero": 0.0, "huge": 1e15, "astronomic": 1e30, "nan": np.nan, "inf": np.inf}


def looped(case: Case, model: nn.Module, rows: tuple[Tensor, Tensor]) -> Tensor:
    """Autograd, row by row."""
    each = []
    for x, y in zip(*rows, strict=True):
        parameters = trainable(model)
        parts = torch.autograd.grad(
            case.loss(model(x[None]), y[None])[0], parameters, allow_unused=True
        )
        each.append(
            torch.cat(
                [
                    torch.zeros(p.numel()) if g is None else g.flatten()
                    for p, g in zip(parameters, parts, strict=True)
                ]
            )
        )
    return torch.stack(each)


def vmapped(case: Case, model: nn.Module, rows: tuple[Tensor, Tensor]) -> Tensor:
    """torch.func, all rows at once."""
    values = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}

    def one(values, x, y):
        return case.loss(torch.func.functional_call(model, values, (x[None],)), y[None])[0]

    found = torch.func.vmap(torch.func.grad(one), (None, 0, 0))(values, *rows)
    return torch.cat([found[name].reshape(len(rows[1]), -1) for name in values], dim=1)


def clipped(gradients: Tensor, clip: float) -> np.ndarray:
    gradients = gradients.double()
    return (gradients * (clip / gradients.norm(dim=1).clamp(min=clip))[:, None]).sum(0).numpy()


@pytest.mark.parametrize("name", CASES)
def test_both_ways_a_plain_loop_and_vmap_agree(name: str) -> None:
    case = CASES[name]
    model, rows = case.build(), case.rows(ROWS)
    loop = looped(case, model, rows)
    clip = float(loop.norm(dim=1).median())  # so that some rows are clipped and some are not
    written, _ = clipped_gradient_sum_by((), model, rows, case.loss, clip)
    ghost, _ = clipped_gradient_sum_by(linear_layers(model), model, rows, case.loss, clip)
    expected = clipped(loop, clip)
    near = 1e-5 * np.linalg.norm(expected)
    assert np.linalg.norm(written - expected) < near
    assert np.linalg.norm(ghost - expected) < near
    if not name.startswith("recurrent"):  # these fill tensors in place, which vmap refuses
        assert np.linalg.norm(clipped(vmapped(case, model, rows), clip) - expected) < near
    per_row = per_sample_gradients(model, rows, case.loss)
    assert torch.all((per_row - loop).norm(dim=1) <= 1e-5 * loop.norm(dim=1))


@pytest.mark.parametrize("name", CASES)
def test_the_model_is_left_as_it_was(name: str) -> None:
    case = CASES[name]
    model, rows = case.build(), case.rows(ROWS)
    before, attributes = flat_parameters(model), [dict(layer.__dict__) for layer in model.modules()]
    clipped_gradient_sum(model, rows, case.loss, 1.0)
    np.testing.assert_array_equal(flat_parameters(model), before)
    assert [set(layer.__dict__) for layer in model.modules()] == [set(one) for one in attributes]
    assert not any(layer._forward_hooks or layer._backward_hooks for layer in model.modules())
    assert all(p.grad is None and not hasattr(p, "grad_sample") for p in model.parameters())


def test_wide_layers_are_factored_and_what_else_has_their_weight_is_not() -> None:
    wide = CASES["wide"].build()
    parts = row_gradients(wide, CASES["wide"].rows(ROWS), loss, linear_layers(wide))
    assert [type(part) for part in parts] == [OuterProducts, WrittenOut] * 2
    for name, count in (("tied", 1), ("used twice", 2), ("own parameter", 1), ("digits", 1)):
        assert len(linear_layers(CASES[name].build())) == count, name
    twice = CASES["used twice"].build()  # two passes make no outer product of two vectors
    parts = row_gradients(twice, CASES["used twice"].rows(ROWS), loss, linear_layers(twice))
    assert [type(part) for part in parts] == [WrittenOut, WrittenOut, OuterProducts, WrittenOut]


@settings(max_examples=60)
@given(
    st.sampled_from(["wide", "convolutional", "low rank"]),
    st.booleans(),
    st.integers(0, 9),
    st.sampled_from(sorted(KINDS)),
    st.floats(1e-3, 1e3),
)
def test_no_row_moves_the_sum_further_than_the_clip(name, ghost, others, kind, clip) -> None:
    case = CASES[name]
    model, (inputs, targets) = case.build(), case.rows(others + 1)
    factored = linear_layers(model) if ghost else ()
    inputs[-1] *= KINDS[kind]
    # A row that is no number contributes zero: so the batches have the same shape, and all other
    # rows the same gradients to the last bit.
    absent = inputs.clone()
    absent[-1] = np.nan
    with_it, _ = clipped_gradient_sum_by(factored, model, (inputs, targets), case.loss, clip)
    without, _ = clipped_gradient_sum_by(factored, model, (absent, targets), case.loss, clip)
    rounding = 2 * (others + 2) ** 2 * 2.0**-53  # of sums of float64
    assert np.linalg.norm(with_it - without) <= clip * (1 + rounding)
    if kind in {"nan", "inf"}:
        np.testing.assert_array_equal(with_it, without)
    # And if it is not there at all: float32 sums of a smaller batch may differ in their last bits.
    fewer, _ = clipped_gradient_sum_by(
        factored, model, (inputs[:-1], targets[:-1]), case.loss, clip
    )
    np.testing.assert_allclose(fewer, without, atol=1e-5 * clip * (others + 1))


@pytest.mark.parametrize("ghost", [False, True])
def test_the_clip_is_used_up(ghost: bool) -> None:
    case = CASES["wide"]
    model, (inputs, targets) = case.build(), case.rows(1)
    factored = linear_layers(model) if ghost else ()
    total, _ = clipped_gradient_sum_by(factored, model, (1e3 * inputs, targets), case.loss, 0.5)
    assert 0.5 * (1 - 1e-10) < np.linalg.norm(total) <= 0.5


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 40), st.floats(-18, 18))
def test_a_computed_norm_is_short_by_no_more_than_its_rounding(seed, m, n, exponent) -> None:
    generator = torch.Generator().manual_seed(seed)
    # Far from each other, so that their squares would overflow, or vanish, in float32.
    left = (torch.randn(1, m, generator=generator).double() * 10**exponent).float()
    right = (torch.randn(1, n, generator=generator).double() * 10**-exponent).float()
    exact = sum(
        (Fraction(a) * Fraction(b)) ** 2 for a in left[0].tolist() for b in right[0].tolist()
    )
    for part in (OuterProducts(left, right), WrittenOut(left), WrittenOut(right)):
        length = part.written_out().shape[1]
        if isinstance(part, WrittenOut):
            exact = sum(Fraction(value) ** 2 for value in part.rows[0].tolist())
        norm = float(part.squared_norms().sqrt()) * (1 + norm_rounding(length))
        assert Fraction(norm) ** 2 >= exact
        assert Fraction(norm) ** 2 <= exact * (1 + Fraction(4 * norm_rounding(length)))


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 30), st.integers(1, 30), st.floats(1e-3, 1e3))
def test_one_clipped_row_is_never_longer_than_the_clip_in_exact_arithmetic(seed, m, n, clip):
    generator = torch.Generator().manual_seed(seed)
    model = nn.Linear(n, m)
    rows = 1e3 * torch.randn(1, n, generator=generator), torch.randint(0, m, (1,))
    for factored in ((), linear_layers(model)):
        total, _ = clipped_gradient_sum_by(factored, model, rows, loss, clip)
        assert sum(Fraction(value) ** 2 for value in total.tolist()) <= Fraction(clip) ** 2


@pytest.mark.parametrize("ghost", [False, True])
@pytest.mark.parametrize("kind", ["nan", "inf"])
def test_a_row_that_is_not_finite_contributes_zero_and_is_counted(ghost: bool, kind: str) -> None:
    case = CASES["wide"]
    model, (inputs, targets) = case.build(), case.rows(5)
    factored = linear_layers(model) if ghost else ()
    clean, none = clipped_gradient_sum_by(factored, model, (inputs[:4], targets[:4]), loss, 1.0)
    inputs[4] *= KINDS[kind]
    total, one = clipped_gradient_sum_by(factored, model, (inputs, targets), loss, 1.0)
    np.testing.assert_allclose(total, clean, rtol=1e-5, atol=1e-6)
    assert (none, one) == (0, 1)


def test_outer_products_that_overflow_are_left_out_as_if_written_out() -> None:
    parts = OuterProducts(torch.tensor([[1e25], [1.0]]), torch.tensor([[1e25, 1.0], [2.0, 3.0]]))
    assert torch.isfinite(parts.squared_norms()).tolist() == [False, True]
    written = WrittenOut(parts.written_out())
    assert torch.isfinite(written.squared_norms()).tolist() == [False, True]


@pytest.mark.parametrize("name", ["wide", "convolutional", "attention"])
def test_micro_batches_change_nothing_but_rounding(name: str) -> None:
    case = CASES[name]
    model, rows = case.build(), case.rows(70)
    whole, _ = clipped_gradient_sum(model, rows, case.loss, 0.5, largest_batch=70)
    for size in (1, 4, 33):
        parts, _ = clipped_gradient_sum(model, rows, case.loss, 0.5, largest_batch=size)
        np.testing.assert_allclose(whole, parts, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_an_empty_batch_sums_to_zero(name: str) -> None:
    case = CASES[name]
    model, rows = case.build(), case.rows(1)
    total, none = clipped_gradient_sum(model, (rows[0][:0], rows[1][:0]), case.loss, 1.0)
    np.testing.assert_array_equal(total, np.zeros(len(flat_parameters(model))))
    assert none == 0


class SequenceFirst(nn.Module):
    """Attention that is given positions in its first dimension, where records should be."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(7, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.table(x).transpose(0, 1)).mean(0)


def test_records_in_another_dimension_are_refused() -> None:
    tokens = torch.randint(0, 7, (ROWS, 6)), torch.randint(0, 3, (ROWS,))
    with pytest.raises(PrivacyRefusal, match="6 records of a batch of 7"):
        clipped_gradient_sum(SequenceFirst(), tokens, loss, 1.0)


class Pair(nn.Module):
    """Parameters of its own, and no tensor as output."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, x):
        return x * self.scale, x


def test_a_layer_whose_gradients_cannot_be_sampled_is_refused() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pair = Pair()

        def forward(self, x):
            return self.pair(x)[0]

    with pytest.raises(PrivacyRefusal, match="the layer Pair has parameters of its own"):
        clipped_gradient_sum(Model(), CASES["no bias"].rows(3), loss, 1.0)


def test_a_loss_that_is_no_loss_per_example_leaves_no_hook() -> None:
    model = CASES["wide"].build()
    with pytest.raises(ValueError, match="reduction='none'"):
        clipped_gradient_sum(model, CASES["wide"].rows(3), nn.functional.cross_entropy, 1.0)
    assert not any(layer._forward_hooks for layer in model.modules())
