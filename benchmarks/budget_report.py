"""The privacy-budget report and the check before a round, at ledgers far longer than usual ones.

    python benchmarks/budget_report.py [--rounds 10000] [--json FILE]

Builds a ledger of mixed events (three plans of training with noise of the site's own, one with
shared noise, one of queries), then times on one core: verifying it, reporting on it, and the check
and reservation before a round at 1,000 earlier rounds. Peers compute again from the start what
stands, as who asks an accountant after each round does, and know the sampled Gaussians only:

- Opacus' RDP accountant: epsilon after every round, against the same curve of ours; it is asked
  after every hundredth round, and the time is multiplied.
- dp-accounting's RDP and PLD accountants, given event by event: one epsilon, against our whole
  report; they are given the first events, and the time is multiplied.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant

from privacy.account import Charge, ChargePlan
from privacy.budget import Budget, DatasetPolicy
from privacy.event import (
    Composed,
    DiscreteLaplace,
    PoissonSampledDistributedGaussian,
    PoissonSampledGaussian,
)
from privacy.ledger import Ledger
from privacy.renyi import divergences_once
from privacy.report.files import Sources, read_sources, write_files
from privacy.report.source import Trust
from privacy.report.spending import renyi_along

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
DELTA = 1e-6
EVERY = 100
"""The peers are asked after as many rounds."""

PLANS = (
    ("early", Charge(PoissonSampledGaussian(0.01, 1.2, 1)), 0.3),
    (
        "queries",
        Charge(Composed((DiscreteLaplace(1, 400.0, 1), DiscreteLaplace(2, 900.0, 1)))),
        0.1,
    ),
    ("shared", Charge(PoissonSampledDistributedGaussian(0.02, 3.0, 4096, 2**24, 8, 1)), 0.2),
    ("middle", Charge(PoissonSampledGaussian(0.005, 0.9, 2)), 0.2),
    ("late", Charge(PoissonSampledGaussian(0.02, 2.5, 1)), 0.2),
)
"""Run, what a round of it costs, and its share of all rounds."""


def clock() -> str:
    """A time; it is not what is measured."""
    return "2026-01-01T00:00:00+00:00"


def build(path: Path, rounds: int) -> Ledger:
    """A ledger with so many rounds, each reserved and committed."""
    ledger = Ledger.create(path, KEY, ("ulm", "ward"), DatasetPolicy(Budget(60.0, DELTA)), clock)
    # The file is rebuilt in seconds; a benchmark has no use for a disk that was waited for.
    ledger._db.execute("PRAGMA synchronous=OFF")  # noqa: SLF001 - see above
    for run, charge, share in PLANS:
        planned = round(share * rounds)
        ledger.register(ChargePlan(run, charge, planned, 8))
        for number in range(1, planned + 1):
            ledger.commit(ledger.reserve(run, number, 1), "0" * 64)
    return ledger


def timed(work: Callable[[], object], repeats: int) -> float:
    """Median seconds."""
    took = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def report(path: Path, out: Path) -> None:
    """All that `hedgerow privacy report` does after it was started."""
    sources: Sources = read_sources([path], None, Trust())
    write_files(sources, sources.report(), out)


def gaussians(rounds: int) -> tuple[PoissonSampledGaussian, ...]:
    """The part of the history that the peers know, round by round."""
    return tuple(
        charge.event
        for _, charge, share in PLANS
        for _ in range(round(share * rounds))
        if isinstance(charge.event, PoissonSampledGaussian)
    )


def opacus_again(events: Sequence[PoissonSampledGaussian]) -> None:
    """Epsilon after every hundredth round, from the start each time."""
    from opacus.accountants import RDPAccountant  # noqa: PLC0415 - imports torch

    for end in range(EVERY, len(events) + 1, EVERY):
        accountant = RDPAccountant()
        for event in events[:end]:
            for _ in range(event.count):
                accountant.step(
                    noise_multiplier=event.noise_multiplier, sample_rate=event.sampling_rate
                )
        accountant.get_epsilon(DELTA)


def dp_accounting_once(
    events: Sequence[PoissonSampledGaussian], accountant: Callable[[], object]
) -> None:
    """One epsilon, event by event."""
    fresh = accountant()
    for event in events:
        fresh.compose(event.to_dp_event())
    fresh.get_epsilon(DELTA)


def check_before_a_round(folder: Path) -> float:
    """Seconds of the check and the reservation, at 1,000 earlier rounds, on a disk."""
    path = folder / "thousand.sqlite"
    build(path, 1000).close()
    ledger = Ledger.open(path, KEY, clock)
    ledger.register(ChargePlan("next", PLANS[-1][1], 100, 8))
    took = []
    for number in range(1, 31):
        began = time.perf_counter()
        ledger.require_admitted("next")
        entry = ledger.reserve("next", number, 1)
        took.append(time.perf_counter() - began)
        ledger.commit(entry, "0" * 64)
    return statistics.median(took)


def goal_row(case: str, ours: float, goal: float) -> dict[str, object]:
    """A time against its goal."""
    return {
        "case": case, "metric": "time", "ours": ours, "peer": None, "peer_value": None,
        "unit": "s", "ratio": None, "goal": f"< {goal:g} s", "met": ours < goal,
    }  # fmt: skip


def peer_row(case: str, ours: float, peer: str, peer_value: float) -> dict[str, object]:
    """A time against a peer's."""
    return {
        "case": case, "metric": "time", "ours": ours, "peer": peer, "peer_value": peer_value,
        "unit": "s", "ratio": peer_value / ours, "goal": "ratio > 1", "met": peer_value > ours,
    }  # fmt: skip


def beside_peers(rounds: int, reporting: float) -> list[dict[str, object]]:
    """What the peers take for less than a report."""
    events = gaussians(rounds)
    divergences_once.cache_clear()  # which the report filled: a fresh program has nothing yet
    curve = timed(lambda: renyi_along(events, DELTA), 1)
    again = timed(lambda: opacus_again(events), 1) * EVERY
    case = f"epsilon after each of {len(events)} rounds"
    rows = [peer_row(case, curve, "Opacus RDPAccountant", again)]
    for name, accountant, first in (
        ("dp-accounting RdpAccountant", RdpAccountant, 500),
        ("dp-accounting PLDAccountant", PLDAccountant, 50),
    ):
        part = events[:first]
        seconds = timed(partial(dp_accounting_once, part, accountant), 1) * len(events) / len(part)
        rows.append(peer_row("whole report; the peer one epsilon", reporting, name, seconds))
    return rows


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "long.sqlite"
        build(path, asked.rounds).close()
        verifying = timed(lambda: read_sources([path], None, Trust()), 3)
        reporting = timed(lambda: report(path, folder / "out"), 1)
        checking = check_before_a_round(folder)
    long = f"{asked.rounds} rounds of mixed events"
    rows = [
        goal_row(f"verify a ledger of {long}", verifying, 2.0),
        goal_row(f"report on a ledger of {long}", reporting, 10.0),
        goal_row("check and reserve at 1000 earlier rounds", checking, 0.05),
        *beside_peers(asked.rounds, reporting),
    ]
    for one in rows:
        told = f"{one['case']}: {one['ours']:.3f} s (goal {one['goal']}, met: {one['met']})"
        if one["peer"]:
            told += f"; {one['peer']} {one['peer_value']:.1f} s, ratio {one['ratio']:.1f}"
        print(told)
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
