"""Which models may be trained: whatever mixes records is found, and nothing else is refused."""

import opacus.layers
import pytest
import torch
from opacus.validators import ModuleValidator
from row_models import CASES
from torch import nn
from torch.nn.functional import cross_entropy

from federation.errors import PrivacyRefusal, UsageError
from privacy.model_validation import (
    BATCH_NORM_REMEDY,
    require_private_layers,
    require_records_apart,
    require_travelling_state,
)


def loss(output, target):
    return cross_entropy(output, target, reduction="none")


class Centred(nn.Module):
    """No parameter, no layer that a list could know."""

    def forward(self, x):
        return x - x.mean(0)


class Ranked(nn.Module):
    """Mixes by order only."""

    def forward(self, x):
        return x * (1 + x.sum(1).argsort().argsort())[:, None]


class Tokens(nn.Module):
    """Inputs that stand for something: random numbers are no tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 3)

    def forward(self, x):
        return self.table(x.long()).mean(1)


APART = {
    "linear": nn.Linear(4, 3),
    "dropout": nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 3)),
    "layer norm": nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 3)),
    "group norm": nn.Sequential(nn.Linear(4, 8), nn.GroupNorm(2, 8), nn.Tanh(), nn.Linear(8, 3)),
    "softmax over features": nn.Sequential(nn.Linear(4, 3), nn.Softmax(dim=1)),
}
MIXED = {
    "centred": nn.Sequential(Centred(), nn.Linear(4, 3)),
    "centred inside": nn.Sequential(nn.Linear(4, 4), Centred(), nn.Linear(4, 3)),
    "softmax over records": nn.Sequential(nn.Linear(4, 3), nn.Softmax(dim=0)),
    "ranked": nn.Sequential(Ranked(), nn.Linear(4, 3)),
}


def rows(count: int = 20):
    torch.manual_seed(3)
    return torch.randn(count, 4), torch.randint(0, 3, (count,))


@pytest.mark.parametrize("name", APART)
@pytest.mark.parametrize("count", [0, 1, 2, 20])
def test_models_that_treat_records_one_by_one_pass(name: str, count: int) -> None:
    before = {key: value.clone() for key, value in APART[name].state_dict().items()}
    require_private_layers(APART[name])
    require_records_apart(APART[name], loss, rows(count))
    assert all(value.equal(before[key]) for key, value in APART[name].state_dict().items())


@pytest.mark.parametrize("name", MIXED)
@pytest.mark.parametrize("count", [1, 2, 20])
def test_models_that_mix_records_are_refused(name: str, count: int) -> None:
    with pytest.raises(PrivacyRefusal, match="changes the gradients of others"):
        require_records_apart(MIXED[name], loss, rows(count))


def test_a_loss_that_mixes_records_is_refused() -> None:
    def contrastive(output, target):
        return loss(output, target) * output.mean().exp()

    with pytest.raises(PrivacyRefusal, match="nor the loss"):
        require_records_apart(nn.Linear(4, 3), contrastive, rows())


def test_a_mean_loss_is_an_error_of_its_own() -> None:
    with pytest.raises(ValueError, match="reduction='none'"):
        require_records_apart(nn.Linear(4, 3), cross_entropy, rows())


def test_inputs_that_stand_for_something_are_probed_with_rows() -> None:
    tokens = torch.randint(0, 5, (9, 6)).float()
    require_records_apart(Tokens(), loss, (tokens, torch.randint(0, 3, (9,))))


def test_layers_without_a_gradient_per_record_are_named() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, track_running_stats=False))
    with pytest.raises(PrivacyRefusal, match="BatchNorm"):
        require_private_layers(model)


def test_state_that_would_stay_at_the_sites_is_refused() -> None:
    with pytest.raises(UsageError, match=r"layer 1 \(BatchNorm1d\) keeps running statistics"):
        require_travelling_state(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)))
    require_travelling_state(nn.Sequential(nn.BatchNorm1d(4, track_running_stats=False)))
    require_travelling_state(nn.Sequential(nn.GroupNorm(2, 4), nn.InstanceNorm1d(4)))


@pytest.mark.parametrize("name", CASES)
def test_every_kind_of_model_that_may_be_trained_passes(name: str) -> None:
    case = CASES[name]
    model = case.build()
    require_travelling_state(model)
    require_private_layers(model)
    require_records_apart(model, case.loss, case.rows(5))


NORMS = {
    "alone": nn.BatchNorm1d(4, track_running_stats=False),
    "inside": nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.BatchNorm1d(4))),
    "frozen": nn.Sequential(nn.BatchNorm1d(4).requires_grad_(False), nn.Linear(4, 3)),
    "without parameters": nn.Sequential(nn.BatchNorm1d(4, affine=False), nn.Linear(4, 3)),
    "of images": nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)),
}


@pytest.mark.parametrize("name", NORMS)
def test_batch_norm_is_refused_with_a_remedy_that_works(name: str) -> None:
    with pytest.raises(
        PrivacyRefusal, match=r"BatchNorm.d\) mixes records; replace it by .*GroupN"
    ):
        require_private_layers(NORMS[name])
    assert "ModuleValidator.fix" in BATCH_NORM_REMEDY
    if name in {"alone", "inside", "of images"}:
        require_private_layers(ModuleValidator.fix(NORMS[name]))


@pytest.mark.parametrize(
    ("layer", "theirs"),
    [
        (nn.MultiheadAttention(4, 2), "DPMultiheadAttention"),
        (nn.LSTM(4, 3), "DPLSTM"),
        (nn.GRU(4, 3), "DPGRU"),
        (nn.RNN(4, 3), "DPRNN"),
    ],
)
def test_layers_in_one_piece_are_refused_with_their_replacement(layer, theirs: str) -> None:
    model = nn.Sequential(nn.Linear(4, 4), layer)
    with pytest.raises(PrivacyRefusal, match=rf"layer 1 .* replace it by opacus.layers.{theirs}"):
        require_private_layers(model)
    assert hasattr(opacus.layers, theirs)
    layer.requires_grad_(False)  # nothing is trained in it
    require_private_layers(model)


class Buffered(nn.Module):
    """A trained parameter beside state that is no parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))
        self.register_buffer("seen", torch.zeros(4))

    def forward(self, x):
        return x * self.scale


def test_a_trained_layer_with_state_is_refused() -> None:
    with pytest.raises(PrivacyRefusal, match="trainable layer with buffers"):
        require_private_layers(nn.Sequential(Buffered(), nn.Linear(4, 3)))


class BehindItsBack(nn.Module):
    """The head's weight is used once by the head and once without it."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(x + nn.functional.linear(x, self.head.weight) @ self.head.weight)


def test_a_parameter_used_behind_its_layers_back_is_refused() -> None:
    require_private_layers(BehindItsBack())
    with pytest.raises(PrivacyRefusal, match=r"parameter head.weight is not the sum"):
        require_records_apart(BehindItsBack(), loss, rows())
