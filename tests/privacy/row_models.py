"""Models of every kind that may be trained with record-level privacy, and rows for each."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from opacus.layers import DPGRU, DPLSTM, DPRNN, DPMultiheadAttention
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from federation.task import SiteRequest
from simulations.tasks.acs_employment import AcsEmploymentTask
from simulations.tasks.digits import DigitsTask
from simulations.tasks.heart import HeartTask
from simulations.tasks.languages import LanguagesTask

CLASSES = 3


def loss(output: Tensor, target: Tensor) -> Tensor:
    return cross_entropy(output, target, reduction="none")


@dataclass(frozen=True)
class Case:
    """A model, the shape of one row, and the loss; tokens are whole numbers."""

    model: Callable[[], nn.Module]
    shape: tuple[int, ...] = (4,)
    loss: Callable[[Tensor, Tensor], Tensor] = loss
    tokens: int = 0
    drawn: Callable[[int], tuple[Tensor, Tensor]] | None = None

    def build(self) -> nn.Module:
        torch.manual_seed(0)
        return self.model()

    def rows(self, count: int, seed: int = 1) -> tuple[Tensor, Tensor]:
        if self.drawn is not None:
            return self.drawn(count)
        generator = torch.Generator().manual_seed(seed)
        inputs = torch.randn((count, *self.shape), generator=generator)
        if self.tokens:
            inputs = torch.randint(0, self.tokens, (count, *self.shape), generator=generator)
        return inputs, torch.randint(0, CLASSES, (count,), generator=generator)


class LowRank(nn.Module):
    """A frozen linear layer with an adapter of two small ones (Hu et al. 2021, LoRA)."""

    def __init__(self, inputs: int, outputs: int, rank: int) -> None:
        super().__init__()
        self.frozen = nn.Linear(inputs, outputs).requires_grad_(False)
        self.down = nn.Linear(inputs, rank, bias=False)
        self.up = nn.Linear(rank, outputs, bias=False)

    def forward(self, x):
        return self.frozen(x) + self.up(self.down(x))


class MeanToken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(7, 5), nn.Linear(5, CLASSES)

    def forward(self, x):
        return self.head(self.table(x).mean(1))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.norm = nn.Embedding(7, 8), nn.LayerNorm(8)
        self.attention = DPMultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x):
        x = self.table(x)
        attended, _ = self.attention(x, x, x)
        return self.head(self.norm(x + attended).mean(1))


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.cells, self.head = kind(3, 5, batch_first=True), nn.Linear(5, CLASSES)

    def forward(self, x):
        return self.head(self.cells(x)[0][:, -1])


class UsedTwice(nn.Module):
    """One layer, two passes."""

    def __init__(self) -> None:
        super().__init__()
        self.again, self.head = nn.Linear(4, 4), nn.Linear(4, CLASSES)

    def forward(self, x):
        return self.head(torch.tanh(self.again(torch.tanh(self.again(x)))))


class Tied(nn.Module):
    """Two layers, one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, CLASSES)
        self.two.weight = self.one.weight

    def forward(self, x):
        return self.head(torch.tanh(self.two(torch.tanh(self.one(x)))))


class OwnParameter(nn.Module):
    """A parameter of no layer that Opacus has a sampler for, and layers inside."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([0.5, 1.0, 2.0, -1.0]))
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x):
        return self.head(x * self.scale)


class Unused(nn.Module):
    """Parameters that the loss does not depend on: never called, called in vain, called once."""

    def __init__(self) -> None:
        super().__init__()
        self.never, self.vain = nn.Linear(4, 2), nn.Linear(4, 2)
        self.often, self.head = nn.Linear(4, 4), nn.Linear(4, CLASSES)

    def forward(self, x):
        self.vain(x)
        hidden = self.often(x)
        self.often(hidden)
        return self.head(torch.tanh(hidden))


def frozen_backbone() -> nn.Module:
    return nn.Sequential(
        nn.Linear(4, 8).requires_grad_(False), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(),
        nn.Linear(8, CLASSES),
    )  # fmt: skip


def built_in(task, **rows_of) -> Case:
    def drawn(count: int) -> tuple[Tensor, Tensor]:
        train = task.load(SiteRequest(site=task.sites[0], split_seed=1)).train
        return train.inputs[:count], train.targets[:count]

    return Case(task.build_model, loss=task.loss, drawn=drawn)


CASES = {
    "heart": built_in(HeartTask()),
    "acs-employment": built_in(AcsEmploymentTask()),
    "digits": built_in(DigitsTask()),
    "heart, mlp": built_in(HeartTask(model="mlp")),
    "heart, embedding": built_in(HeartTask(model="embedding")),
    "digits, residual": built_in(DigitsTask(model="resnet")),
    "languages": built_in(LanguagesTask()),
    "languages, adapters": built_in(LanguagesTask(model="lora")),
    "wide": Case(
        lambda: nn.Sequential(nn.Linear(40, 64), nn.ReLU(inplace=True), nn.Linear(64, 3)), (40,)
    ),
    "convolutional": Case(
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
        ),
        (1, 6, 6),
    ),
    "convolutional, strided, in groups": Case(
        lambda: nn.Sequential(
            nn.Conv1d(2, 4, 3, stride=2, groups=2),
            nn.InstanceNorm1d(4, affine=True),
            nn.Flatten(),
            nn.Linear(16, 3),
        ),
        (2, 9),
    ),
    "convolutional, of volumes": Case(
        lambda: nn.Sequential(nn.Conv3d(1, 2, 2), nn.Flatten(), nn.Linear(16, 3)), (1, 3, 3, 3)
    ),
    "no bias": Case(lambda: nn.Sequential(nn.Linear(4, 8, bias=False), nn.Tanh(), nn.Linear(8, 3))),
    "layer norm": Case(lambda: nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 3))),
    "frozen backbone": Case(frozen_backbone),
    "frozen weight, trained bias": Case(
        lambda: nn.Sequential(nn.Linear(4, 8), nn.Tanh(), _only_bias(nn.Linear(8, 3)))
    ),
    "low rank": Case(lambda: nn.Sequential(LowRank(4, 8, 2), nn.Tanh(), LowRank(8, 3, 2))),
    "embedding": Case(MeanToken, (6,), tokens=7),
    "attention": Case(Attention, (6,), tokens=7),
    "recurrent, LSTM": Case(lambda: Recurrent(DPLSTM), (5, 3)),
    "recurrent, GRU": Case(lambda: Recurrent(DPGRU), (5, 3)),
    "recurrent, plain": Case(lambda: Recurrent(DPRNN), (5, 3)),
    "sequence": Case(
        lambda: nn.Sequential(nn.Linear(3, 4), nn.Flatten(), nn.Linear(20, 3)), (5, 3)
    ),
    "used twice": Case(UsedTwice),
    "tied": Case(Tied),
    "own parameter": Case(OwnParameter),
    "unused": Case(Unused),
}


def _only_bias(layer: nn.Linear) -> nn.Linear:
    layer.weight.requires_grad_(False)
    return layer
