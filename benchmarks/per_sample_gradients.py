"""What the clipped gradients of a batch cost: by hooks, by ghost clipping, and by others' means.

For four models and two batch sizes, the median time of one clipped sum of gradients, from the
model's parameters to a vector in float64: with outer products in the linear layers, which is what
training does by the rule of `privacy.ghost_clipping`, and with every gradient written out. Beside
them, each doing the least that gives its clipped sum, in float32: Opacus' own hooks and its ghost
clipping (two backward passes), attached once and for all; per-sample gradients of torch.func's
vmap, clipped; and the gradient of plain SGD, which protects nobody. One thread; the ways take
turns, so that a busy machine slows all of them. A ratio above 1 says that ours is faster.
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from opacus import GradSampleModule
from opacus.grad_sample import GradSampleModuleFastGradientClipping
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from privacy.clipped_sum import clipped_gradient_sum, clipped_gradient_sum_by

BATCHES = (64, 256)
CLIP = 1.0
REPEATS = 31
OURS, WRITTEN_OUT = "ours", "all written out"
OPACUS, OPACUS_GHOST, VMAP, PLAIN = "Opacus hooks", "Opacus ghost", "vmap", "plain SGD"
PEERS = {WRITTEN_OUT: 1.0, OPACUS: 1.0, OPACUS_GHOST: 1.0, VMAP: 1.0, PLAIN: None}
"""With the least ratio that is our goal; plain SGD is none, as it protects nobody."""

Way = Callable[[], object]


def tabular() -> tuple[nn.Module, tuple[int, ...]]:
    """MLP 108-64-32-2."""
    layers = (nn.Linear(108, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 2))
    return nn.Sequential(*layers), (108,)


def wide() -> tuple[nn.Module, tuple[int, ...]]:
    """MLP 784-256-10."""
    return nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10)), (784,)


def mnist_cnn() -> tuple[nn.Module, tuple[int, ...]]:
    """The network of 26,010 parameters in Opacus' MNIST example."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 8, 2, padding=3), nn.ReLU(), nn.MaxPool2d(2, 1),
        nn.Conv2d(16, 32, 4, 2), nn.ReLU(), nn.MaxPool2d(2, 1),
        nn.Flatten(), nn.Linear(32 * 4 * 4, 32), nn.ReLU(), nn.Linear(32, 10),
    ), (1, 28, 28)  # fmt: skip


def lenet() -> tuple[nn.Module, tuple[int, ...]]:
    """LeNet-5 on three colours, 62,006 parameters."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ReLU(),
        nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    ), (3, 32, 32)  # fmt: skip


MODELS = {
    "MLP 108-64-32-2": tabular,
    "MLP 784-256-10": wide,
    "MNIST CNN": mnist_cnn,
    "LeNet": lenet,
}


def loss(output: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy per row."""
    return cross_entropy(output, target, reduction="none")


def ways(make: Callable[[], tuple[nn.Module, tuple[int, ...]]], batch: int) -> dict[str, Way]:
    """Every way to a clipped sum, and plain SGD, of one model on one batch."""
    model, shape = make()
    torch.manual_seed(0)
    rows = torch.randn(batch, *shape), torch.randint(0, 2, (batch,))
    return {
        OURS: lambda: clipped_gradient_sum(model, rows, loss, CLIP),
        WRITTEN_OUT: lambda: clipped_gradient_sum_by((), model, rows, loss, CLIP),
        OPACUS: opacus_hooks(make()[0], rows),
        OPACUS_GHOST: opacus_ghost(make()[0], rows),
        VMAP: vmapped(make()[0], rows),
        PLAIN: plain(make()[0], rows),
    }


def opacus_hooks(model: nn.Module, rows: tuple[Tensor, Tensor]) -> Way:
    """As DPOptimizer clips and accumulates."""
    hooked = GradSampleModule(model, loss_reduction="sum")
    parameters = list(model.parameters())

    def clipped() -> list[Tensor]:
        loss(hooked(rows[0]), rows[1]).sum().backward()
        norms = torch.stack([p.grad_sample.flatten(1).norm(dim=1) for p in parameters]).norm(dim=0)
        factors = (CLIP / (norms + 1e-6)).clamp(max=1.0)
        total = [torch.einsum("i,i...", factors, p.grad_sample) for p in parameters]
        hooked.zero_grad(set_to_none=True)
        return total

    return clipped


def opacus_ghost(model: nn.Module, rows: tuple[Tensor, Tensor]) -> Way:
    """As DPTensorFastGradientClipping runs backward twice."""
    hooked = GradSampleModuleFastGradientClipping(model, loss_reduction="sum", max_grad_norm=CLIP)

    def clipped() -> list[Tensor]:
        losses = loss(hooked(rows[0]), rows[1])
        losses.sum().backward(retain_graph=True)
        hooked.zero_grad(set_to_none=True)
        factors = hooked.get_clipping_coef()
        hooked.disable_hooks()
        (factors * losses).sum().backward()
        hooked.enable_hooks()
        total = [p.grad for p in model.parameters()]
        hooked.zero_grad(set_to_none=True)
        return total

    return clipped


def vmapped(model: nn.Module, rows: tuple[Tensor, Tensor]) -> Way:
    """Per-sample gradients of torch.func."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def one(values: dict[str, Tensor], row: Tensor, target: Tensor) -> Tensor:
        return loss(torch.func.functional_call(model, values, (row[None],)), target[None])[0]

    each = torch.func.vmap(torch.func.grad(one), (None, 0, 0))

    def clipped() -> list[Tensor]:
        gradients = each(parameters, *rows).values()
        norms = torch.stack([g.flatten(1).norm(dim=1) for g in gradients]).norm(dim=0)
        factors = (CLIP / (norms + 1e-6)).clamp(max=1.0)
        return [torch.einsum("i,i...", factors, g) for g in gradients]

    return clipped


def plain(model: nn.Module, rows: tuple[Tensor, Tensor]) -> Way:
    """The gradient of the batch."""
    parameters = list(model.parameters())
    return lambda: torch.autograd.grad(loss(model(rows[0]), rows[1]).sum(), parameters)


def medians(found: dict[str, Way], repeats: int) -> dict[str, float]:
    """Milliseconds of each, taking turns in random order; the first three turns do not count."""
    seconds: dict[str, list[float]] = {name: [] for name in found}
    order, shuffled = list(found.items()), random.Random(0)  # noqa: S311 - an order
    for _ in range(repeats + 3):
        shuffled.shuffle(order)
        for name, way in order:
            began = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - began)
    return {name: 1e3 * statistics.median(times[3:]) for name, times in seconds.items()}


def rows_of(case: str, found: dict[str, float]) -> list[dict[str, Any]]:
    """One for each peer."""
    return [{
        "case": case, "metric": "clipped sum of a batch", "ours": round(found[OURS], 3),
        "peer": peer, "peer_value": round(found[peer], 3), "unit": "ms",
        "ratio": round(found[peer] / found[OURS], 2), "goal": goal,
        "met": None if goal is None else found[peer] / found[OURS] >= goal,
    } for peer, goal in PEERS.items()]  # fmt: skip


def main() -> None:
    """Measure every model at every batch size; print medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="five repeats")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    names = (PLAIN, OURS, WRITTEN_OUT, OPACUS, OPACUS_GHOST, VMAP)
    print(f"Medians, ms (times plain SGD)\n| model, batch | {' | '.join(names)} |")
    print("|---" * (len(names) + 1) + "|")
    for name, make in MODELS.items():
        for batch in BATCHES:
            found = medians(ways(make, batch), 5 if given.quick else REPEATS)
            told = (f"{found[way]:.2f} (x{found[way] / found[PLAIN]:.1f})" for way in names)
            print(f"| {name}, {batch} | {' | '.join(told)} |", flush=True)
            rows += rows_of(f"{name}, batch {batch}", found)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
