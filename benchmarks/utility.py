"""What record-level privacy costs in accuracy, beside the same federation without it.

Three federations on real records, in one process, by the functions that sites and server run: the
plan, Poisson batches, clipped gradients, calibration by the ledgers' accountant, the update's clip,
shares of noise, ring arithmetic, and the server's optimizer. Only masks and messages are left out;
masks cancel to the last bit. Every round is one step. Noise is each site's own, or shared: then
all sites add to one sum what hides a record, though one of them may tell its own part (`colluders =
1`) and none drops out; it has the law of the sum that is left when surplus is removed.

Sites of the census federation are independent draws (IID), so are those of the digits; hospitals
are what they are. Hyper-parameters were tuned on the same data without privacy's being charged for
it, as in the published results beside which these stand; a real run must choose them before it
looks. Each seed splits train and test rows anew, and draws batches and noise anew.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from federation.config import ServerOptimizer
from federation.entropy import Entropy, SeededEntropy
from federation.layout import VectorLayout, finest_segment
from federation.ring_vector import RingVector
from federation.task import Floats, SiteRequest, Task
from privacy.calibration import noise_multiplier, shared_noise_multiplier
from privacy.dp_sgd import (
    Descent,
    train_for_shared_noise,
    train_privately,
    train_without_privacy,
)
from privacy.flat_parameters import flat_parameters, load_flat_parameters
from privacy.mechanisms.clipping import clip_l2
from privacy.noised_sum import decoded_sum, noise_share
from privacy.plan import DpSgdPlan, NonPrivatePlan, clipped_step_plan
from privacy.shared_record_noise import (
    SharedRecordNoisePlan,
    choose_shared_plan,
    rounded_gradient,
)
from server import optimizer
from simulations.tasks.acs_employment import AcsEmploymentTask
from simulations.tasks.digits import DigitsTask
from simulations.tasks.heart import HeartTask

RING_BITS = 32
METER_COORDINATES = 64
MOMENTUM = 0.9
LOOSE_CLIP = 100.0
"""Of updates that carry their noise already, or none: it cuts off nothing."""
NONE, SHARED, OWN = "no privacy", "shared noise", "each site's own noise"
POOLED = "pooled logistic regression"

Rows = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Hyper:
    """What was tuned; the server's momentum is 0.9 throughout.

    Attributes:
        rounds: of one step each.
        learning_rate: of the steps.
        max_grad_norm: of a record's gradient.
    """

    rounds: int
    learning_rate: float
    max_grad_norm: float = 1.0


@dataclass(frozen=True)
class Case:
    """A federation, how it is trained, and what its privacy may cost.

    Attributes:
        task: model, loss and rows.
        sampling_rate: of each site's rows, every step.
        epsilon: of the guarantee.
        delta: of the guarantee.
        seeds: of one run each.
        hyper: by noise.
        metric: what of the pooled test rows is compared.
        goals: by noise, how much less it may be than without privacy, on average.
        test_fraction: of each site's rows.
    """

    task: Task
    sampling_rate: float
    epsilon: float
    delta: float
    seeds: tuple[int, ...]
    hyper: Mapping[str, Hyper]
    metric: Callable[[Floats, Floats], float]
    goals: Mapping[str, float]
    test_fraction: float = 0.2


def accuracy(labels: Floats, scores: Floats) -> float:
    """Share of rows whose likeliest class is right."""
    return float((scores.argmax(axis=1) == labels).mean())


def auc(labels: Floats, scores: Floats) -> float:
    """Area under the ROC curve."""
    return float(roc_auc_score(labels, scores[:, 1]))


@dataclass(frozen=True)
class Split:
    """Train rows by site, and the test rows of all."""

    train: dict[str, Rows]
    test: Rows

    @property
    def rows(self) -> dict[str, int]:
        """By site."""
        return {site: len(targets) for site, (_, targets) in self.train.items()}


def split(case: Case, seed: int) -> Split:
    """Every row that the task has, by site, held out at random."""
    generator = torch.Generator().manual_seed(seed)
    train, test = {}, []
    for site in case.task.sites:
        data = case.task.load(SiteRequest(site, 0))
        parts = (data.train, data.reference, data.current)
        inputs = torch.cat([part.inputs for part in parts])
        targets = torch.cat([part.targets for part in parts])
        order = torch.randperm(len(targets), generator=generator)
        held_out = round(case.test_fraction * len(order))
        train[site] = inputs[order[held_out:]], targets[order[held_out:]]
        test.append((inputs[order[:held_out]], targets[order[:held_out]]))
    return Split(train, (torch.cat([x for x, _ in test]), torch.cat([y for _, y in test])))


Round = Callable[[nn.Module, int], Floats]
"""The mean update of all sites, shape (d,), from the global model and the round's number."""


def without_noise(case: Case, hyper: Hyper, data: Split, entropy: Entropy) -> Round:
    """No clip and no noise."""

    def update(model: nn.Module, site: str, coins: Entropy) -> Floats:
        divisor = case.sampling_rate * data.rows[site]
        plan, descent = NonPrivatePlan(case.sampling_rate, 1, divisor), Descent(hyper.learning_rate)
        rows = data.train[site]
        return train_without_privacy(model, rows, case.task.loss, plan, descent, coins).delta

    return _summed(data, update, LOOSE_CLIP, entropy)


def own_noise(case: Case, hyper: Hyper, data: Split, entropy: Entropy) -> Round:
    """Each site adds the whole noise to its own gradients."""
    multiplier = own_multiplier(case.epsilon, case.delta, case.sampling_rate, hyper.rounds)

    def update(model: nn.Module, site: str, coins: Entropy) -> Floats:
        plan = DpSgdPlan(
            case.sampling_rate, 1, multiplier, hyper.max_grad_norm,
            case.sampling_rate * data.rows[site], case.delta,
        )  # fmt: skip
        descent, rows = Descent(hyper.learning_rate), data.train[site]
        return train_privately(model, rows, case.task.loss, plan, descent, coins).delta

    return _summed(data, update, LOOSE_CLIP, entropy)


def _summed(
    data: Split,
    update: Callable[[nn.Module, str, Entropy], Floats],
    update_clip: float,
    entropy: Entropy,
) -> Round:
    """Weighted by rows, and summed in the ring as in the secure sum."""
    rows = data.rows
    most = max(rows.values())

    def played(model: nn.Module, round_: int) -> Floats:
        length = len(flat_parameters(model))
        segment = finest_segment("update", length, update_clip, len(rows), RING_BITS)
        layout = VectorLayout((segment,), len(rows))
        total = RingVector.zeros(layout.stretches)
        for site in rows:
            delta = update(model, site, entropy.child("training", site, round_))
            weighed = clip_l2(delta, update_clip)[0] * (rows[site] / most)
            total.add(layout.encode({"update": weighed}))
        return layout.decode(total)["update"] * most / sum(rows.values())

    return played


def shared_noise(case: Case, hyper: Hyper, data: Split, entropy: Entropy) -> Round:
    """Each site adds its share of the noise to what it sends."""
    rows = data.rows
    parameters = len(flat_parameters(case.task.build_model()))
    plan = shared_plan(
        parameters + METER_COORDINATES, len(rows), max(rows.values()), case.sampling_rate, hyper,
        case.epsilon, case.delta,
    )  # fmt: skip

    def played(model: nn.Module, round_: int) -> Floats:
        seed = entropy.child("rotation", round_).bytes(32)
        total = np.zeros(plan.dimension, np.int64)
        for site in rows:
            coins = entropy.child("training", site, round_)
            made = train_for_shared_noise(model, data.train[site], case.task.loss, plan.step, coins)
            signal = np.zeros(plan.dimension)
            signal[:parameters] = made.delta
            total += rounded_gradient(plan, signal, seed)
            total += noise_share(plan, entropy.child("noise", site, round_))
        return decoded_sum(plan, total, seed)[:parameters] * max(rows.values()) / sum(rows.values())

    return played


@cache
def own_multiplier(epsilon: float, delta: float, rate: float, steps: int) -> float:
    """Of the noise that keeps all steps within epsilon."""
    return noise_multiplier(epsilon, delta, rate, steps)


@cache
def shared_plan(  # noqa: PLR0913, PLR0917 - what a plan is made of
    dimension: int,
    sites: int,
    most: int,
    rate: float,
    hyper: Hyper,
    epsilon: float,
    delta: float,
) -> SharedRecordNoisePlan:
    """Of one round's sum, of those that together stay within epsilon."""
    step = clipped_step_plan(1, rate, hyper.learning_rate, hyper.max_grad_norm, most)
    update_clip = hyper.learning_rate * hyper.max_grad_norm

    def plan(multiplier: float) -> SharedRecordNoisePlan:
        return choose_shared_plan(dimension, step, update_clip, multiplier, sites, sites - 1)

    return plan(shared_noise_multiplier(plan, epsilon, delta, rate, hyper.rounds))


def model_of(case: Case, hyper: Hyper, played: Round, seed: int) -> nn.Module:
    """The model after all rounds."""
    torch.manual_seed(seed)
    model = case.task.build_model()
    rule = ServerOptimizer(optimizer="fedavgm", momentum=MOMENTUM)
    parameters = flat_parameters(model).astype(np.float64)
    state: Mapping[str, Floats] = optimizer.init(rule, len(parameters))
    for number in range(1, hyper.rounds + 1):
        load_flat_parameters(model, parameters)
        update = played(model, number)
        state, parameters = optimizer.apply(rule, state, parameters, update)
    load_flat_parameters(model, parameters)
    return model


def score(case: Case, model: nn.Module, data: Split) -> float:
    """The metric on the test rows of all sites."""
    with torch.no_grad():
        scores = case.task.probabilities(model.eval()(data.test[0]))
    return case.metric(data.test[1].numpy(), scores.numpy())


def pooled(case: Case, data: Split) -> float:
    """Of scikit-learn's logistic regression on all sites' rows in one place, without privacy."""
    inputs = torch.cat([x for x, _ in data.train.values()]).flatten(1).numpy()
    targets = torch.cat([y for _, y in data.train.values()]).numpy()
    fitted = LogisticRegression(max_iter=2000).fit(inputs, targets)
    return case.metric(data.test[1].numpy(), fitted.predict_proba(data.test[0].flatten(1).numpy()))


NOISES = {NONE: without_noise, SHARED: shared_noise, OWN: own_noise}

CASES = {
    "census": Case(
        AcsEmploymentTask(regions=10, hidden=()), 1.0, 1.0, 1e-5, (1, 2, 3),
        {NONE: Hyper(150, 1.0), SHARED: Hyper(100, 4.0), OWN: Hyper(60, 4.0)},
        accuracy, {SHARED: 0.006, OWN: 0.015},
    ),
    "heart": Case(
        HeartTask(), 1.0, 1.0, 1e-3, tuple(range(1, 11)),
        {NONE: Hyper(200, 0.5), SHARED: Hyper(20, 0.5), OWN: Hyper(20, 0.25)},
        auc, {SHARED: 0.01, OWN: 0.01}, test_fraction=0.3,
    ),
    "digits": Case(
        DigitsTask(concentration=100.0), 1.0, 2.0, 1e-4, (1, 2, 3),
        {NONE: Hyper(60, 0.1), SHARED: Hyper(40, 0.5), OWN: Hyper(30, 0.3)},
        accuracy, {},
    ),
}  # fmt: skip
TOLD = {
    "census": "acs-employment, 24,000 rows over 10 IID sites, logistic regression",
    "heart": "UCI heart disease, four hospitals, logistic regression",
    "digits": "scikit-learn's digits (MNIST itself is not in this repository), 8 nearly IID sites, "
    "a small CNN",
}


def measured(case: Case) -> dict[str, list[float]]:
    """The metric by noise, and of the pooled yardstick, for every seed."""
    found: dict[str, list[float]] = {noise: [] for noise in (*NOISES, POOLED)}
    for seed in case.seeds:
        data = split(case, seed)
        found[POOLED].append(pooled(case, data))
        for noise, rounds in NOISES.items():
            hyper = case.hyper[noise]
            played = rounds(case, hyper, data, SeededEntropy(seed))
            found[noise].append(score(case, model_of(case, hyper, played, seed), data))
    return found


def rows_of(name: str, case: Case, found: Mapping[str, list[float]]) -> list[dict[str, Any]]:
    """One for each noise, beside the better of both models without privacy.

    A goal is the least ratio: the most that the metric may lose, over the peer's.
    """
    means = {noise: statistics.fmean(values) for noise, values in found.items()}
    peer = max((NONE, POOLED), key=lambda noise: means[noise])
    return [{
        "case": f"{name}, epsilon {case.epsilon:g}", "metric": f"{case.metric.__name__}, {noise}",
        "ours": round(means[noise], 4), "peer": peer, "peer_value": round(means[peer], 4),
        "unit": case.metric.__name__, "ratio": round(means[noise] / means[peer], 4),
        "goal": round(1 - case.goals[noise] / means[peer], 4) if noise in case.goals else None,
        "met": means[noise] >= means[peer] - case.goals[noise] if noise in case.goals else None,
    } for noise in (SHARED, OWN)]  # fmt: skip


def tell(name: str, case: Case, found: Mapping[str, list[float]]) -> None:
    """Print a table of one federation."""
    print(
        f"\n{TOLD[name]}\nepsilon {case.epsilon:g}, delta {case.delta:g}; sampling rate "
        f"{case.sampling_rate:g}, momentum {MOMENTUM:g} at the server; "
        f"seeds {case.seeds[0]} to {case.seeds[-1]}; tuned on these data, at no charge\n"
        f"| model | {case.metric.__name__}, mean | standard deviation | rounds | learning rate "
        "| clip |\n|---|---|---|---|---|---|"
    )
    for noise, values in found.items():
        hyper = case.hyper.get(noise)
        how = (
            f"{hyper.rounds} | {hyper.learning_rate:g} | "
            f"{'-' if noise == NONE else f'{hyper.max_grad_norm:g}'}"
            if hyper
            else "- | - | -"
        )
        mean, deviation = statistics.fmean(values), statistics.stdev(values)
        print(f"| {noise} | {mean:.4f} | {deviation:.4f} | {how} |", flush=True)
    for row in rows_of(name, case, found):
        lost = 100 * (row["peer_value"] - row["ours"])
        goal = case.goals.get(row["metric"].split(", ")[1])
        told = "" if goal is None else f"; goal: {100 * goal:g} at most, met: {row['met']}"
        print(f"{row['metric']}: {lost:.2f} points below {row['peer']}{told}", flush=True)


def main() -> None:
    """Play every federation with every noise; print means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=CASES, help="one of the federations")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name in [given.only] if given.only else CASES:
        found = measured(CASES[name])
        tell(name, CASES[name], found)
        rows += rows_of(name, CASES[name], found)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
