"""Outcomes of a sweep that was never run, with numbers of one's choice."""

from evaluation.worst_gap import WorstGap
from privacy.event import PoissonSampledGaussian, to_plain
from simulations.sweep.outcome import Outcome
from simulations.sweep.plan import REFERENCE, PlannedTrial, SweepPlan
from simulations.sweep.request import Request


def plan(*vary: str, random: str | None = None, seeds: str = "3") -> SweepPlan:
    """Of the built-in federation."""
    chosen = vary or ("privacy.epsilon=0.5,1,2",)
    return Request(None, None, chosen, (), random, seeds, reference=random is None).plan(
        "accuracy", ()
    )


def outcome(
    trial: PlannedTrial,
    seed: int,
    epsilon: float | None,
    accuracy: float,
    gap: float,
    noise: float = 3.0,
) -> Outcome:
    """Of a run that completed."""
    is_private = trial.number != REFERENCE
    charge = (to_plain(PoissonSampledGaussian(0.25, noise, 60)),) if is_private else ()
    return Outcome(
        run=f"{trial.number:03d}-s{seed}",
        trial=trial.number,
        seed=seed,
        status="completed",
        epsilon=epsilon,
        delta=1e-3 if is_private else None,
        noise_multiplier=noise if is_private else None,
        accuracy=accuracy,
        balanced_accuracy=accuracy - 0.01,
        auc=accuracy + 0.05,
        worst_gap=WorstGap(
            attribute="sex", metric="demographic_parity_difference", value=gap, by_chance=0.1,
            significant=True,
        ),
        drifted=0,
        sites=4,
        rounds=20,
        seconds=1.5,
        model_sha256="ab" * 32,
        charge=charge,
        versions={"torch": "2.13.0"},
    )  # fmt: skip


def outcomes(made: SweepPlan) -> list[Outcome]:
    """Accuracy rises with epsilon, and so does the gap; seeds differ by two points."""
    told = {0: (None, 0.84, 0.30, 1.0), 1: (0.5, 0.74, 0.10, 9.0), 2: (1.0, 0.80, 0.20, 5.0),
            3: (2.0, 0.82, 0.25, 3.0)}  # fmt: skip
    return [
        outcome(
            trial, seed, told[trial.number][0], told[trial.number][1] + 0.01 * (place - 1),
            told[trial.number][2], told[trial.number][3],
        )
        for trial in made.trials
        for place, seed in enumerate(trial.seeds)
    ]  # fmt: skip
