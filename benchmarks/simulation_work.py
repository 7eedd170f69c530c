"""The clients that every engine of the simulation benchmark trains, and their stock training loops.

Client k has 50 to 300 rows, drawn with a seed of its own from one pool, so that every engine trains
the same rows. One epoch (under DP: as many Poisson batches), batches of 32, SGD with learning rate
0.1. Batches and noise are a function of the seed, the round and the client, so that engines can be
compared by the model that they come to.

Imports torch and numpy only: peers have environments without the rest.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate
from torch.utils.data import DataLoader, TensorDataset

FEATURES, CLASSES = 100, 2
FEWEST_ROWS, MOST_ROWS = 50, 300
BATCH, LEARNING_RATE = 32, 0.1
NOISE_MULTIPLIER, CLIP = 1.0, 1.0
POOL = 4096
SEED = 20_26

Rows = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Work:
    """What an engine is asked to do.

    Attributes:
        model: `mlp`, with `hidden` layers, or `cnn`.
        mode: `noop`, `plain`, `dp` (Opacus) or `ghost` (Opacus with ghost clipping).
        clients: all of them train in every round.
        rounds: how many.
        workers: processes that clients are spread over, one thread each.
        hidden: widths of the hidden layers of `mlp`.
    """

    model: str
    mode: str
    clients: int
    rounds: int
    workers: int = 2
    hidden: tuple[int, ...] = (64,)


def build_model(kind: str, hidden: Sequence[int]) -> nn.Module:
    """A model with the parameters that PyTorch draws for it."""
    if kind == "cnn":
        return nn.Sequential(
            nn.Conv2d(1, 16, 8, 2, padding=3), nn.ReLU(), nn.MaxPool2d(2, 1),
            nn.Conv2d(16, 32, 4, 2), nn.ReLU(), nn.MaxPool2d(2, 1),
            nn.Flatten(), nn.Linear(32 * 4 * 4, 32), nn.ReLU(), nn.Linear(32, 10),
        )  # fmt: skip
    widths = [FEATURES, *hidden, CLASSES]
    layers: list[nn.Module] = []
    for wide, narrow in pairwise(widths):
        layers += [nn.Linear(wide, narrow), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def initial_model(work: Work) -> nn.Module:
    """The model of round 0, the same in every process."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return build_model(work.model, work.hidden)


@lru_cache(maxsize=2)
def pool(kind: str) -> Rows:
    """The rows that clients draw from."""
    if kind == "cnn":
        from sklearn.datasets import load_digits  # noqa: PLC0415 - not in every environment

        digits = load_digits()
        images = torch.tensor(digits.images / 16.0, dtype=torch.float32).unsqueeze(1)
        return interpolate(images, size=(28, 28)), torch.tensor(digits.target)
    generator = torch.Generator().manual_seed(SEED)
    features = torch.randn(POOL, FEATURES, generator=generator)
    teacher = torch.randn(FEATURES, generator=generator)
    return features, (features @ teacher > 0).long()


def rows_of(kind: str, client: int) -> Rows:
    """A client's rows."""
    inputs, targets = pool(kind)
    random = np.random.default_rng((SEED, client))
    count = int(random.integers(FEWEST_ROWS, MOST_ROWS + 1))
    chosen = torch.from_numpy(random.integers(0, len(targets), count))
    return inputs[chosen], targets[chosen]


@cache
def row_count(client: int) -> int:
    """How many rows a client has."""
    return int(np.random.default_rng((SEED, client)).integers(FEWEST_ROWS, MOST_ROWS + 1))


def generator_of(round_: int, client: int) -> torch.Generator:
    """Randomness of a client in a round."""
    return torch.Generator().manual_seed((SEED * 1_000_003 + round_) * 1_000_003 + client)


def train(model: nn.Module, mode: str, rows: Rows, generator: torch.Generator) -> float:
    """Train in place by a stock loop; the last batch's loss."""
    return LOOPS[mode](model, rows, generator)


def _plain(model: nn.Module, rows: Rows, generator: torch.Generator) -> float:
    loader = DataLoader(TensorDataset(*rows), BATCH, shuffle=True, generator=generator)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    return _epoch(model, optimizer, cross_entropy, loader)


def _noop(model: nn.Module, rows: Rows, generator: torch.Generator) -> float:  # noqa: ARG001
    return 0.0


def _opacus(model: nn.Module, rows: Rows, generator: torch.Generator) -> float:
    from opacus import PrivacyEngine  # noqa: PLC0415 - not in every environment

    loader = DataLoader(TensorDataset(*rows), BATCH, generator=generator)
    private, optimizer, poisson = PrivacyEngine().make_private(
        module=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=LEARNING_RATE),
        data_loader=loader,
        noise_multiplier=NOISE_MULTIPLIER,
        max_grad_norm=CLIP,
        noise_generator=generator,
    )
    loss = _epoch(private, optimizer, cross_entropy, poisson)
    private.to_standard_module()
    return loss


def _opacus_ghost(model: nn.Module, rows: Rows, generator: torch.Generator) -> float:
    from opacus import PrivacyEngine  # noqa: PLC0415 - not in every environment

    loader = DataLoader(TensorDataset(*rows), BATCH, generator=generator)
    private, optimizer, criterion, poisson = PrivacyEngine().make_private(
        module=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=LEARNING_RATE),
        criterion=nn.CrossEntropyLoss(),
        data_loader=loader,
        noise_multiplier=NOISE_MULTIPLIER,
        max_grad_norm=CLIP,
        noise_generator=generator,
        grad_sample_mode="ghost",
    )
    loss = _epoch(private, optimizer, criterion, poisson)
    private.to_standard_module()
    return loss


def _epoch(model: nn.Module, optimizer, criterion, loader) -> float:  # noqa: ANN001 - stock or Opacus'
    model.train()
    loss = torch.zeros(())
    for inputs, targets in loader:
        if not len(targets):
            continue
        optimizer.zero_grad()
        loss = criterion(model(inputs), targets)
        loss.backward()
        optimizer.step()
    return float(loss.item())


LOOPS: dict[str, Callable[[nn.Module, Rows, torch.Generator], float]] = {
    "noop": _noop,
    "plain": _plain,
    "dp": _opacus,
    "ghost": _opacus_ghost,
}
