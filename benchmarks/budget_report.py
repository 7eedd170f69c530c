"""The privacy-budget report and the check before a round, at ledgers far longer than usual ones.

    python benchmarks/budget_report.py [--rounds 10000] [--json FILE]

Builds a ledger of mixed events (three plans of training with noise of the site's own, one with
shared noise, one of queries), then times on one core: verifying it, reporting on it, and the check
and reservation before a round at 1,000 earlier rounds. Peers compute epsilon after every
hundredth round again from the start, as who asks an accountant after each round does: Opacus' RDP
accountant, and dp-accounting's RDP and PLD accountants, each given the events that it knows.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import dp_accounting
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
from privacy.report.files import Sources, read_sources, write_files
from privacy.report.source import Trust

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


def opacus_again(history: Sequence[tuple[float, float]]) -> None:
    """Epsilon after every hundredth step, from the start each time."""
    from opacus.accountants import RDPAccountant  # noqa: PLC0415 - imports torch

    for end in range(EVERY, len(history) + 1, EVERY):
        accountant = RDPAccountant()
        for noise, rate in history[:end]:
            accountant.step(noise_multiplier=noise, sample_rate=rate)
        accountant.get_epsilon(DELTA)


def dp_accounting_again(
    events: Sequence[dp_accounting.DpEvent], accountant: Callable[[], object], ends: Sequence[int]
) -> None:
    """The same by one of dp-accounting's accountants."""
    for end in ends:
        fresh = accountant()
        for event in events[:end]:
            fresh.compose(event)
        fresh.get_epsilon(DELTA)


def peers(rounds: int) -> dict[str, tuple[float, str]]:
    """Seconds of each peer, extrapolated where said."""
    gaussians = [
        charge.event
        for _, charge, share in PLANS
        for _ in range(round(share * rounds))
        if isinstance(charge.event, PoissonSampledGaussian)
    ]
    pairs = [
        (one.noise_multiplier, one.sampling_rate) for one in gaussians for _ in range(one.count)
    ]
    events = [one.to_dp_event() for one in gaussians]
    last = [len(events)]
    curve = len(events) // EVERY
    rdp = timed(lambda: dp_accounting_again(events, RdpAccountant, last), 1)
    pld = timed(lambda: dp_accounting_again(events[:100], PLDAccountant, [100]), 1)
    return {
        "Opacus RDPAccountant": (timed(lambda: opacus_again(pairs), 1), "curve of 1 in 100"),
        "dp-accounting RdpAccountant": (rdp, f"one epsilon; a curve takes {curve} of them"),
        "dp-accounting PLDAccountant": (
            pld * len(events) / 100,
            "one epsilon, from the time of its first 100 events",
        ),
    }


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


def row(case: str, ours: float, goal: float, peer: str = "", peer_value: float | None = None):  # noqa: ANN201 - JSON
    """One result."""
    return {
        "case": case,
        "metric": "time",
        "ours": ours,
        "peer": peer or None,
        "peer_value": peer_value,
        "unit": "s",
        "ratio": None if peer_value is None else peer_value / ours,
        "goal": f"< {goal:g} s",
        "met": ours < goal,
    }


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
        row(f"verify a ledger of {long}", verifying, 2.0),
        row(f"report on a ledger of {long}", reporting, 10.0),
        row("check and reserve at 1000 earlier rounds", checking, 0.05),
    ]
    for peer, (seconds, note) in peers(asked.rounds).items():
        case = f"report on a ledger of {long} ({note})"
        rows.append(row(case, reporting, 10.0, peer, seconds))
    for one in rows:
        beside = (
            f"  {one['peer']}: {one['peer_value']:.1f} s, ratio {one['ratio']:.1f}"
            if one["peer"]
            else ""
        )
        print(f"{one['case']}: {one['ours']:.3f} s (goal {one['goal']}, met: {one['met']}){beside}")
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
