"""Clients trained together get what each would get alone, to the last bits of float32."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from row_models import CASES, Case, loss
from torch import nn

from federation.entropy import SeededEntropy
from federation.task import SiteRequest
from privacy import batched_training, client_row_gradients, padded_batches
from privacy.arithmetic import Arithmetic
from privacy.batchable import cannot_batch, is_worth_batching, row_cost
from privacy.batched_training import ClientWork, train_together
from privacy.clipped_sum import clipped_gradient_sum
from privacy.dp_sgd import Descent, LocalUpdate, train_privately, train_without_privacy
from privacy.flat_parameters import flat_parameters, load_flat_parameters
from privacy.folded_layers import CannotBatch
from privacy.mechanisms.gaussian_noise import gaussian_noise
from privacy.mechanisms.rehearsal_noise import rehearsal_noise
from privacy.per_sample_gradients import row_gradients
from privacy.plan import DpSgdPlan, NonPrivatePlan
from simulations.tasks.acs_employment import AcsEmploymentTask
from simulations.tasks.digits import DigitsTask
from simulations.tasks.heart import HeartTask

FOLDED = [
    "heart", "acs-employment", "digits", "wide", "convolutional", "no bias", "layer norm",
    "frozen backbone", "frozen weight, trained bias", "low rank", "embedding", "attention",
    "sequence",
]  # fmt: skip
DESCENTS = [Descent(0.2), Descent(0.2, momentum=0.9), Descent(0.2, 0.5, proximal_mu=0.7)]
RAGGED = (30, 5, 0, 17, 40)
CLOSE = 1e-5
"""Of an update's length; what is measured is some 1e-7."""


@dataclass(frozen=True)
class Client:
    """What both ways to train are given."""

    work: ClientWork

    def alone(self, model: nn.Module, case: Case, descent: Descent) -> LocalUpdate:
        work = self.work
        train = train_privately if isinstance(work.plan, DpSgdPlan) else train_without_privacy
        return train(model, work.rows, case.loss, work.plan, descent, work.entropy)


def some_rows(case: Case, count: int, seed: int):
    inputs, targets = case.rows(max(count, 1), seed)
    return inputs[:count].clone(), targets[:count].clone()


def clients_for(case: Case, *, private: bool, sizes=RAGGED) -> list[Client]:
    """Of unlike sizes and plans; with these clips some rows are clipped and some are not."""
    made = []
    for number, size in enumerate(sizes):
        rate, steps, divisor = 0.3 + 0.1 * number, 3 + number % 3, 6.0 + number
        plan = NonPrivatePlan(rate, steps, divisor)
        if private:
            plan = DpSgdPlan(rate, steps, 0.05 + number / 10, 0.4 + number / 2, divisor, 1e-3)
        rows = some_rows(case, size, number + 1)
        made.append(Client(ClientWork(rows, plan, SeededEntropy(number))))
    return made


def trained_together(model, clients, case, descent, **options):
    return train_together(model, [one.work for one in clients], case.loss, descent, **options)


def distance(one: LocalUpdate, other: LocalUpdate) -> float:
    """Between updates, in lengths of the second."""
    return float(np.linalg.norm(one.delta - other.delta) / np.linalg.norm(other.delta))


def require_same(together, clients, model, case, descent) -> None:
    assert len(together) == len(clients)
    for ours, client in zip(together, clients, strict=True):
        theirs = client.alone(model, case, descent)
        bound = CLOSE * np.linalg.norm(theirs.delta)
        np.testing.assert_allclose(ours.delta, theirs.delta, rtol=0, atol=bound)
        assert ours.delta.dtype == np.float64
        assert ours.mean_loss == (
            None if theirs.mean_loss is None else pytest.approx(theirs.mean_loss, rel=CLOSE)
        )


@pytest.mark.parametrize("descent", DESCENTS, ids=["plain", "momentum", "proximal"])
@pytest.mark.parametrize("private", [True, False], ids=["DP", "no privacy"])
@pytest.mark.parametrize("name", FOLDED)
def test_ragged_clients_get_what_each_gets_alone(name: str, private: bool, descent) -> None:
    case = CASES[name]
    model, clients = case.build(), clients_for(case, private=private)
    before = flat_parameters(model)
    require_same(trained_together(model, clients, case, descent), clients, model, case, descent)
    np.testing.assert_array_equal(flat_parameters(model), before)


@pytest.mark.parametrize("private", [True, False], ids=["DP", "no privacy"])
@pytest.mark.parametrize(
    "task",
    [HeartTask(), AcsEmploymentTask(), AcsEmploymentTask(hidden=(16, 8)), DigitsTask()],
    ids=["heart", "acs-employment", "acs-employment, two hidden layers", "digits"],
)
def test_the_sites_of_every_built_in_task_do(task, private: bool) -> None:
    torch.manual_seed(3)
    model, clients = task.build_model(), []
    for number, site in enumerate(task.sites[:4]):
        train = task.load(SiteRequest(site=site, split_seed=1)).train
        expected = 0.2 * len(train.targets)
        plan = DpSgdPlan(0.2, 4, 1.0, 1.0, expected, 1e-4)
        if not private:
            plan = NonPrivatePlan(0.2, 4, expected)
        rows = train.inputs, train.targets
        clients.append(Client(ClientWork(rows, plan, SeededEntropy(9).child(site, number))))
    case, descent = Case(lambda: model, loss=task.loss), Descent(0.5, 0.9)
    assert cannot_batch(model, clients[0].work.rows, task.loss, private=private) is None
    together = trained_together(model, clients, case, descent)
    require_same(together, clients, model, case, descent)
    assert min(np.linalg.norm(one.delta) for one in together) > 1e-3


@settings(max_examples=25)
@given(
    st.lists(st.integers(0, 25), min_size=1, max_size=7),
    st.booleans(),
    st.sampled_from(["wide", "no bias", "convolutional", "embedding"]),
    st.sampled_from(DESCENTS),
)
def test_any_sizes_do(sizes, private: bool, name: str, descent: Descent) -> None:
    case = CASES[name]
    model, clients = case.build(), clients_for(case, private=private, sizes=sizes)
    together = trained_together(model, clients, case, descent)
    for ours, client in zip(together, clients, strict=True):
        theirs = client.alone(model, case, descent)
        bound = CLOSE * np.linalg.norm(theirs.delta)
        np.testing.assert_allclose(ours.delta, theirs.delta, rtol=0, atol=bound)


def test_steps_without_any_row_are_steps_of_noise() -> None:
    case, descent = CASES["wide"], Descent(0.3, 0.5)
    model = case.build()
    for private in (True, False):
        clients = clients_for(case, private=private, sizes=(0, 0))
        for ours, client in zip(
            trained_together(model, clients, case, descent), clients, strict=True
        ):
            theirs = client.alone(model, case, descent).delta
            bound = CLOSE * np.linalg.norm(theirs)
            np.testing.assert_allclose(ours.delta, theirs, rtol=0, atol=bound)
            assert np.any(ours.delta != 0) == private


def test_a_client_may_start_elsewhere() -> None:
    case, descent = CASES["wide"], Descent(0.3, proximal_mu=0.5)
    model, clients = case.build(), clients_for(case, private=True)
    moved = flat_parameters(model) + np.float32(0.3)
    works = [client.work for client in clients]
    works[1] = replace(works[1], start=moved.astype(np.float64))
    together = train_together(model, works, case.loss, descent)
    elsewhere = case.build()
    load_flat_parameters(elsewhere, moved)
    for number, (ours, client) in enumerate(zip(together, clients, strict=True)):
        theirs = client.alone(elsewhere if number == 1 else model, case, descent)
        assert distance(ours, theirs) < CLOSE


def test_a_correction_is_a_clients_own() -> None:
    # So many parameters that the clients' steps are not all taken at once.
    case, descent = Case(lambda: nn.Linear(300, 300), (300,)), Descent(0.3, 0.5)
    model, clients = case.build(), clients_for(case, private=True)
    draws = np.random.default_rng(5)
    works = [
        replace(one.work, correction=draws.standard_normal(90_300) if number != 2 else None)
        for number, one in enumerate(clients)
    ]
    together = train_together(model, works, case.loss, descent)
    for ours, work in zip(together, works, strict=True):
        own = replace(descent, correction=work.correction)
        theirs = Client(replace(work, correction=None)).alone(model, case, own)
        assert distance(ours, theirs) < CLOSE


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_rows_are_copied_together_unless_they_lie_so(shape: tuple[int, ...]) -> None:
    whole = torch.randn(12, *shape)
    in_turn = whole.split([3, 0, 4, 5])
    assert batched_training._pooled(in_turn).data_ptr() == whole.data_ptr()
    later = whole[2:].split([4, 6])
    assert batched_training._pooled(later).data_ptr() == later[0].data_ptr()
    strewn = (
        [in_turn[0], in_turn[3]],
        in_turn[::-1],
        [whole[::2], whole[:3]],
        whole.clone().chunk(3),
    )
    with_another = [in_turn[0], whole.clone()[3:7]]
    for parts in (in_turn, later, *strewn, with_another, [whole[:0], whole[5:5]]):
        pooled = batched_training._pooled(parts)
        torch.testing.assert_close(pooled, torch.cat(list(parts)), rtol=0, atol=0)


FACTORS = {"huge": 1e15, "past float32 when squared": 1e30, "nan": np.nan, "inf": np.inf}


@pytest.mark.parametrize("kind", FACTORS)
@pytest.mark.parametrize("name", ["wide", "convolutional", "layer norm"])
def test_rows_without_a_finite_gradient_add_nothing_under_privacy(name: str, kind: str) -> None:
    case, descent = CASES[name], Descent(0.2, 0.9)
    model, clients = case.build(), clients_for(case, private=True)
    for client in clients:
        client.work.rows[0][::3] *= FACTORS[kind]
    require_same(trained_together(model, clients, case, descent), clients, model, case, descent)


@pytest.mark.parametrize("kind", ["nan", "inf"])
def test_without_privacy_they_spoil_their_own_client_and_no_other(kind: str) -> None:
    case, descent = CASES["wide"], Descent(0.2)
    model, clients = case.build(), clients_for(case, private=False)
    clients[0].work.rows[0][:] *= FACTORS[kind]
    together = trained_together(model, clients, case, descent)
    assert np.isnan(together[0].delta).any()
    spoilt = clients[0].alone(model, case, descent)
    np.testing.assert_array_equal(np.isnan(together[0].delta), np.isnan(spoilt.delta))
    require_same(together[1:], clients[1:], model, case, descent)


def test_the_sampler_of_noise_is_the_one_that_was_asked_for() -> None:
    case, descent = CASES["wide"], Descent(0.2)
    model, clients = case.build(), clients_for(case, private=True)
    fast = trained_together(model, clients, case, descent, noise_of=rehearsal_noise)
    for ours, client in zip(fast, clients, strict=True):
        work = client.work
        theirs = train_privately(
            model, work.rows, case.loss, work.plan, descent, work.entropy, noise_of=rehearsal_noise
        )
        assert distance(ours, theirs) < CLOSE
        assert distance(ours, client.alone(model, case, descent)) > 1e-3


def test_a_forward_pass_in_bfloat16_is_near_that_of_a_client_alone() -> None:
    # The processor's autocast stands for a GPU's, as in test_arithmetic.
    short, descent = Arithmetic(torch.device("cpu"), torch.bfloat16), Descent(0.2)
    for name in ("wide", "low rank", "convolutional", "layer norm"):
        case = CASES[name]
        model, clients = case.build(), clients_for(case, private=False, sizes=(30, 17))
        together = trained_together(model, clients, case, descent, arithmetic=short)
        for ours, client in zip(together, clients, strict=True):
            work = client.work
            theirs = train_without_privacy(
                model, work.rows, case.loss, work.plan, descent, work.entropy, short
            )
            assert distance(ours, theirs) < 0.05
            assert distance(ours, client.alone(model, case, descent)) > 1e-6  # it was short


def test_clients_are_given_back_in_their_order_and_alone_as_in_a_crowd() -> None:
    case, descent = CASES["wide"], Descent(0.2)
    model, clients = case.build(), clients_for(case, private=True)
    together = trained_together(model, clients, case, descent)
    backwards = trained_together(model, clients[::-1], case, descent)[::-1]
    for ours, theirs, client in zip(together, backwards, clients, strict=True):
        (single,) = trained_together(model, [client], case, descent)
        assert distance(ours, theirs) < CLOSE
        assert distance(ours, single) < CLOSE
    assert train_together(model, [], case.loss, descent) == []


def test_the_same_chunk_gives_the_same_bits() -> None:
    case, descent = CASES["wide"], Descent(0.2)
    model, clients = case.build(), clients_for(case, private=True)
    torch.manual_seed(1)
    first = trained_together(model, clients, case, descent)
    torch.manual_seed(2)
    for one, other in zip(first, trained_together(model, clients, case, descent), strict=True):
        np.testing.assert_array_equal(one.delta, other.delta)


class TestFaults:
    """Each would be seen: by at least ten times the tolerance."""

    @pytest.fixture
    def seen(self) -> Callable[..., list[float]]:
        case, descent = CASES["wide"], Descent(0.2)
        model = case.build()
        clients = clients_for(case, private=True, sizes=(30, 17, 40))
        expected = [client.alone(model, case, descent) for client in clients]

        def distances(**options) -> list[float]:
            together = trained_together(model, clients, case, descent, **options)
            return [distance(*pair) for pair in zip(together, expected, strict=True)]

        assert max(distances()) < CLOSE
        return distances

    def test_a_clip_of_99_percent(self, seen, monkeypatch) -> None:
        real = batched_training.FoldedModel.gradients

        def tighter(self, parameters, rows, present, loss, clips):
            return real(self, parameters, rows, present, loss, 0.99 * clips)

        monkeypatch.setattr(batched_training.FoldedModel, "gradients", tighter)
        assert min(seen()) > 10 * CLOSE

    def test_a_divisor_one_percent_too_large(self, seen, monkeypatch) -> None:
        real = Descent.step

        def smaller(self, moved, velocity, gradient):
            real(self, moved, velocity, gradient / 1.01)

        monkeypatch.setattr(Descent, "step", smaller)
        assert min(seen()) > 10 * CLOSE

    def test_noise_of_another_seed(self, seen) -> None:
        def other(size, deviation, entropy):
            return gaussian_noise(size, deviation, entropy.child("other"))

        assert min(seen(noise_of=other)) > 10 * CLOSE

    def test_norms_without_the_bias(self, seen, monkeypatch) -> None:
        monkeypatch.setattr(
            client_row_gradients.WrittenOut,
            "norms",
            lambda self: torch.zeros(self.rows.values.shape[:2]),
        )
        assert min(seen()) > 10 * CLOSE

    def test_padding_that_counts(self, seen, monkeypatch) -> None:
        everything = property(lambda batches: torch.ones_like(batches.rows, dtype=torch.bool))
        monkeypatch.setattr(padded_batches.PaddedBatches, "present", everything)
        assert max(seen()) > 10 * CLOSE


@pytest.mark.parametrize("name", FOLDED)
def test_norms_of_rows_are_those_of_the_gradients_of_one_client(name: str) -> None:
    case = CASES[name]
    model, (inputs, targets) = case.build(), case.rows(6)
    folded = batched_training.FoldedModel(model, batched_training.ON_CPU)
    parameters = torch.from_numpy(flat_parameters(model)).expand(2, -1).contiguous()
    rows = inputs.unflatten(0, (2, 3)), targets.unflatten(0, (2, 3))
    present = torch.ones(2, 3, dtype=torch.bool)
    clips = torch.tensor([0.5, 2.0])
    found = folded.gradients(parameters, rows, present, case.loss, clips)
    parts = row_gradients(model, (inputs, targets), case.loss)
    expected = torch.stack([part.squared_norms() for part in parts]).sum(dim=0)
    norms = found.norms.flatten().double()
    torch.testing.assert_close(norms, expected.sqrt(), rtol=5e-6, atol=0)
    for client, clip in enumerate((0.5, 2.0)):
        own = rows[0][client], rows[1][client]
        theirs, _ = clipped_gradient_sum(model, own, case.loss, clip)
        np.testing.assert_allclose(found.sums[client].numpy(), theirs, atol=1e-5)


class Behind(nn.Module):
    """A layer whose weight is used behind its back."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(torch.tanh(self.table(x) @ self.table.weight))


class Mixing(nn.Module):
    """A forward pass that looks at the whole batch."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(x - x.mean(dim=0))


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(nn.functional.dropout(x, 0.5))


class Sized(nn.Module):
    """A forward pass for three rows."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(x + torch.zeros(3, 4))


def two_layers(between: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), between, nn.Linear(4, 3))


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("recurrent, LSTM", r"recurrent.*layer cells \(DPLSTM\)"),
            ("tied", r"one parameter in two layers: two\.weight"),
            ("own parameter", r"none of Linear.*own class \(OwnParameter\)"),
            ("used twice", "twice through its layer again"),
            ("convolutional, of volumes", r"none of Linear.*layer 0 \(Conv3d\)"),
        ],
    )
    def test_a_model_without_a_rule_is_refused_with_the_reason(self, name, reason) -> None:
        case = CASES[name]
        told = cannot_batch(case.build(), case.rows(9), case.loss, private=True)
        assert told is not None
        clients = clients_for(case, private=True, sizes=(9, 8))
        with pytest.raises(CannotBatch, match=reason):
            trained_together(case.build(), clients, case, Descent(0.1))

    def test_a_layer_used_twice_is_fine_where_nothing_is_clipped(self) -> None:
        case, descent = CASES["used twice"], Descent(0.1)
        model, clients = case.build(), clients_for(case, private=False)
        assert cannot_batch(model, case.rows(9), case.loss, private=False) is None
        require_same(trained_together(model, clients, case, descent), clients, model, case, descent)

    @pytest.mark.parametrize(
        ("layer", "reason"),
        [
            (nn.BatchNorm1d(4, affine=False, track_running_stats=False), "mixes the records"),
            (nn.Dropout(0.1), "draws at random"),
        ],
    )
    def test_a_layer_without_parameters_may_be_the_reason(self, layer, reason) -> None:
        model, case = two_layers(layer), Case(lambda: model)
        told = cannot_batch(model, case.rows(9), loss, private=False)
        assert reason in told
        assert "layer 1" in told

    @pytest.mark.parametrize("layer", [
        nn.Embedding(7, 4, padding_idx=0), nn.Embedding(7, 4, max_norm=1.0),
    ])  # fmt: skip
    def test_so_may_an_option_of_a_layer(self, layer) -> None:
        model = nn.Sequential(layer, nn.Flatten(), nn.Linear(8, 3))
        told = cannot_batch(model, Case(lambda: model, (2,), tokens=7).rows(9), loss, private=False)
        assert "padding_idx" in told

    @pytest.mark.parametrize(
        ("model", "reason"),
        [
            (Behind, "something else for several clients"),
            (Mixing, "something else for several clients"),
            (Noisy, "draws at random"),
            (Sized, "fails on the rows of several clients"),
            (lambda: nn.Linear(4, 3).double(), "float64"),
            (lambda: nn.Linear(4, 3).requires_grad_(False), "no parameter"),
        ],
    )
    def test_what_no_list_of_layers_knows_is_found_by_trying(self, model, reason: str) -> None:
        case = Case(model)
        for count in (1, 3, 9):
            assert reason in cannot_batch(case.build(), case.rows(count), loss, private=False)

    def test_trying_leaves_model_and_generator_alone(self) -> None:
        case = CASES["wide"]
        model = case.build()
        before = flat_parameters(model)
        torch.manual_seed(4)
        expected = torch.rand(1)
        torch.manual_seed(4)
        assert cannot_batch(model, case.rows(9), case.loss, private=True) is None
        assert torch.rand(1) == expected
        np.testing.assert_array_equal(flat_parameters(model), before)

    def test_rows_that_are_not_finite_do_not_speak_against_a_model(self) -> None:
        case = CASES["wide"]
        inputs, targets = case.rows(9)
        inputs[::2] = np.nan
        assert cannot_batch(case.build(), (inputs, targets), case.loss, private=True) is None
        inputs[:] = np.nan
        told = cannot_batch(case.build(), (inputs, targets), case.loss, private=True)
        assert told == "has no row to be tried with"

    def test_plans_with_and_without_privacy_are_not_mixed(self) -> None:
        case = CASES["wide"]
        mixed = [*clients_for(case, private=True), *clients_for(case, private=False)]
        with pytest.raises(ValueError, match="train them apart"):
            trained_together(case.build(), mixed, case, Descent(0.1))

    def test_a_mean_loss_is_refused(self) -> None:
        case = replace(CASES["wide"], loss=nn.functional.cross_entropy)
        clients = clients_for(case, private=True)
        with pytest.raises(ValueError, match="reduction='none'"):
            trained_together(case.build(), clients, case, Descent(0.1))


def test_a_row_costs_what_its_layers_multiply_and_hold() -> None:
    wide, digits = CASES["wide"], CASES["digits"]
    cost = row_cost(wide.build(), wide.rows(2))
    assert cost.multiplications == 40 * 64 + 64 * 3
    assert cost.convolved == 0
    assert cost.numbers == 40 + 64 + 64 + 3
    cost = row_cost(digits.build(), digits.rows(2))
    assert cost.multiplications == 64 * 8 * 9 + 16 * 16 * 72 + 256 * 10
    assert cost.convolved == 64 * 8 * 9 + 16 * 16 * 72


def test_small_models_are_worth_it_and_those_that_keep_a_core_busy_are_not() -> None:
    for name in ("heart", "acs-employment", "digits", "attention"):
        case = CASES[name]
        assert is_worth_batching(row_cost(case.build(), case.rows(2)))
    images = nn.Sequential(nn.Conv2d(1, 16, 8, 2, 3), nn.ReLU(), nn.Conv2d(16, 32, 4, 2))
    rows = torch.zeros(1, 1, 28, 28), torch.zeros(1)
    assert not is_worth_batching(row_cost(images, rows))
    rows = torch.zeros(1, 1000), torch.zeros(1)
    for width, worth in ((2000, True), (2001, False)):
        assert is_worth_batching(row_cost(nn.Linear(1000, width), rows)) == worth
    for side, worth in ((80, True), (81, False)):
        image = torch.zeros(1, 1, side, 1000), torch.zeros(1)
        assert is_worth_batching(row_cost(nn.Conv2d(1, 1, 1), image)) == worth
