"""From which model on training many clients at once is slower than training them one by one.

    python benchmarks/batching_worth.py [--quick] [--json FILE]

For models of more and more multiplications a row: 32 clients of 128 rows, four steps on Poisson
batches of 32 rows, together and one after the other, with privacy (the noise of a rehearsal both
times) and without. CPU time on one thread; the two take turns, and a ratio above 1 says that
together is faster: the median of the turns. `privacy.batchable.is_worth_batching` draws its line
from this table; `met` says whether it is right about the row, that is, whether it chooses what was
faster or what was slower by less than a tenth.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from federation.entropy import SeededEntropy
from privacy.batchable import is_worth_batching, row_cost
from privacy.batched_training import ClientWork, train_together
from privacy.dp_sgd import Descent, train_privately, train_without_privacy
from privacy.mechanisms.rehearsal_noise import rehearsal_noise
from privacy.plan import DpSgdPlan, NonPrivatePlan

CLIENTS, ROWS, STEPS, BATCH = 32, 128, 4, 32
TURNS = 9
SLACK = 0.9
"""A ratio of this much on the wrong side of 1 is no reason to choose otherwise."""
DESCENT = Descent(0.1)
PLANS = {
    "with privacy": DpSgdPlan(BATCH / ROWS, STEPS, 1.0, 1.0, float(BATCH), 1e-5),
    "without": NonPrivatePlan(BATCH / ROWS, STEPS, float(BATCH)),
}


def mlp(*widths: int) -> nn.Module:
    """Linear layers with ReLU between."""
    layers: list[nn.Module] = []
    for wide, narrow in pairwise(widths):
        layers += [nn.Linear(wide, narrow), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def cnn(side: int, first: int, second: int) -> nn.Module:
    """Two convolutions of 3 x 3 with pooling between, and a linear layer."""
    return nn.Sequential(
        nn.Conv2d(1, first, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(first, second, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(second * (side // 4) ** 2, 10),
    )  # fmt: skip


Made = tuple[Callable[[], nn.Module], tuple[int, ...]]
MODELS: dict[str, Made] = {
    "MLP 100-64-2": (lambda: mlp(100, 64, 2), (100,)),
    "CNN 8x8, 8 and 16 channels": (lambda: cnn(8, 8, 16), (1, 8, 8)),
    "MLP 200-200-100-10": (lambda: mlp(200, 200, 100, 10), (200,)),
    "CNN 12x12, 8 and 16 channels": (lambda: cnn(12, 8, 16), (1, 12, 12)),
    "CNN 16x16, 8 and 16 channels": (lambda: cnn(16, 8, 16), (1, 16, 16)),
    "MLP 784-200-10": (lambda: mlp(784, 200, 10), (784,)),
    "CNN 16x16, 12 and 24 channels": (lambda: cnn(16, 12, 24), (1, 16, 16)),
    "MLP 784-400-10": (lambda: mlp(784, 400, 10), (784,)),
    "CNN 28x28, 8 and 16 channels": (lambda: cnn(28, 8, 16), (1, 28, 28)),
    "MLP 784-600-300-10": (lambda: mlp(784, 600, 300, 10), (784,)),
    "MLP 784-1000-1000-10": (lambda: mlp(784, 1000, 1000, 10), (784,)),
}


@dataclass(frozen=True)
class Row:
    """What `--json` holds; a ratio above 1 says that training together is faster."""

    case: str
    metric: str
    multiplications: int
    ours: float
    peer: str
    peer_value: float
    unit: str
    ratio: float
    worth_batching: bool
    met: bool


def per_row(output: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy."""
    return cross_entropy(output, targets, reduction="none")


def both_ways(
    model: nn.Module, rows: list[tuple[Tensor, Tensor]], plan: DpSgdPlan | NonPrivatePlan
) -> tuple[Callable[[], object], Callable[[], object]]:
    """Training together, and one by one."""
    works = [ClientWork(own, plan, SeededEntropy(number)) for number, own in enumerate(rows)]

    def together() -> object:
        return train_together(model, works, per_row, DESCENT, noise_of=rehearsal_noise)

    def apart() -> object:
        return [
            train_privately(
                model, one.rows, per_row, plan, DESCENT, one.entropy, noise_of=rehearsal_noise
            )
            if isinstance(plan, DpSgdPlan)
            else train_without_privacy(model, one.rows, per_row, plan, DESCENT, one.entropy)
            for one in works
        ]

    return together, apart


def milliseconds(way: Callable[[], object]) -> float:
    """CPU time of this thread."""
    began = time.thread_time()
    way()
    return 1e3 * (time.thread_time() - began)


def measured(name: str, metric: str, turns: int) -> Row:
    """One model, with privacy or without; the first turn does not count."""
    make, shape = MODELS[name]
    torch.manual_seed(0)
    model = make()
    rows = [(torch.randn(ROWS, *shape), torch.randint(0, 2, (ROWS,))) for _ in range(CLIENTS)]
    ways = both_ways(model, rows, PLANS[metric])
    times = [tuple(map(milliseconds, ways)) for _ in range(turns + 1)][1:]
    ours, theirs = (statistics.median(side) / CLIENTS for side in zip(*times, strict=True))
    ratio = statistics.median(apart / together for together, apart in times)
    cost = row_cost(model, rows[0])
    worth = is_worth_batching(cost)
    met = ratio >= SLACK if worth else 1 / ratio >= SLACK
    return Row(
        name, metric, cost.multiplications, round(ours, 3), "one by one", round(theirs, 3),
        "CPU ms a client", round(ratio, 2), worth, met,
    )  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two models, one turn; proves nothing")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    names, turns = (list(MODELS)[:2], 1) if asked.quick else (list(MODELS), TURNS)
    found = []
    print("| model | multiplications a row | with privacy | without | batched | right |")
    print("|---|---|---|---|---|---|")
    for name in names:
        pair = [measured(name, metric, turns) for metric in PLANS]
        found += pair
        told = " | ".join(f"x{row.ratio:.2f}" for row in pair)
        chosen = "yes" if pair[0].worth_batching else "no"
        right = "yes" if all(row.met for row in pair) else "**no**"
        print(f"| {name} | {pair[0].multiplications:,} | {told} | {chosen} | {right} |", flush=True)
    if asked.json:
        held = [asdict(row) for row in found]
        asked.json.write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
