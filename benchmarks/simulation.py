"""The simulator beside its peers: start, message, round, training, memory; wins and losses.

    python benchmarks/simulation.py [--cases start,dp-mlp,...] [--passes 5] [--attempts 4]
        [--quick] [--json FILE] [--details FILE]

Work: FedAvg over all clients in every round, no evaluation; one epoch at each of 50 to 300 rows,
batches of 32, SGD with learning rate 0.1; MLP 100-64-2 or the CNN of Opacus' tutorial; DP-SGD with
Poisson batches, noise multiplier 1, clip 1. Flower's engines run the same apps
(`simulation_apps.py`), unchanged, over two processes of one thread; Flower's simulation on Ray has
two actors of one core. What is compared with a training loop runs on one thread, and its CPU time
counts.

Every engine is a fresh process; passes alternate in order, and a pass under load is played again
(`paired_passes.py`). A ratio above 1 says that ours is ahead: the median over passes, with the
range. The first round of a run counts in `start` only. Peers live in environments of their own
under .bench/, with the locked versions.

`growth-clients`, `growth-parameters`, `secure-sum` and `gpu` are tables without a goal.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import peer_environments
import simulated_command
import simulation_tables
from paired_passes import Pass, Played, paired
from simulation_work import Work

RAY, OPACUS = "Flower's Ray simulation", "the stock Opacus loop"
PYTHONS = {"ray": peer_environments.flower_on_ray, "pfl": peer_environments.apple_pfl}
Measure = Callable[[Played], float]


@dataclass(frozen=True)
class Comparison:
    """A row of the table.

    Attributes:
        metric: its name.
        ours, peer: engines.
        told: what the peer is called.
        measure: of a run; less is better.
        unit: of it.
        goal: least ratio of the peer's figure to ours; None for what is told without one.
    """

    metric: str
    ours: str
    peer: str
    told: str
    measure: Measure
    unit: str
    goal: float | None = None


@dataclass(frozen=True)
class Case:
    """Engines that are given the same work, and what of them is compared."""

    works: Mapping[str, Work]
    comparisons: Sequence[Comparison]
    sampled: bool = False


def on_ray(work: Work, *comparisons: Comparison, ours: str = "embedded") -> Case:
    """Ours and Flower's Ray simulation."""
    return Case({ours: work, "ray": work}, comparisons)


def of_round(goal: float, told: str = RAY) -> Comparison:
    """Seconds of a round on two processes."""
    seconds: Measure = lambda run: run.round_seconds  # noqa: E731 - one expression
    return Comparison("embedded", "embedded", "ray", told, seconds, "s", goal)


def of_training(work: Work, peer: str, told: str, goals: tuple[float | None, float | None]) -> Case:
    """The training of a client: through FedAvg unchanged, fused, and without Flower."""
    cpu: Measure = lambda run: run.client_cpu_ms  # noqa: E731 - one expression
    theirs = replace(work, mode="ghost") if told.endswith("ghost clipping") else work
    works = {"batched": work, "fused": work, "together": work, peer: theirs}
    names = (("batched", goals[0]), ("fused", goals[1]), ("together", None))
    return Case(
        works, [Comparison(name, name, peer, told, cpu, "CPU ms a client", g) for name, g in names]
    )


MLP = Work("mlp", "plain", clients=100, rounds=6)
DP = replace(MLP, mode="dp")
ONE = replace(MLP, clients=256, rounds=4, workers=1)

CASES: dict[str, Case] = {
    "start": on_ray(
        replace(MLP, clients=10, rounds=1),
        Comparison("wall", "embedded", "ray", RAY, lambda run: run.first_round, "s", 6.0),
    ),
    "noop-1000": on_ray(
        replace(MLP, mode="noop", clients=1000, rounds=4),
        Comparison("message", "embedded", "ray", RAY, lambda run: run.message_ms, "ms", 12.0),
    ),
    "plain-mlp-10": on_ray(replace(MLP, clients=10, rounds=11), of_round(6.0)),
    "plain-mlp-100": on_ray(MLP, of_round(3.0)),
    "plain-mlp-1000": on_ray(replace(MLP, clients=1000, rounds=4), of_round(5.0)),
    "dp-mlp-100": on_ray(DP, of_round(2.0, "Flower's Ray simulation + Opacus")),
    "dp-cnn-100": on_ray(
        replace(DP, model="cnn", rounds=4), of_round(2.0, "Flower's Ray simulation + Opacus")
    ),
    "dp-mlp": of_training(replace(ONE, mode="dp"), "loop", OPACUS, (12.0, 16.0)),
    "dp-mlp-ghost": of_training(
        replace(ONE, mode="dp"), "loop", "Opacus with ghost clipping", (None, 11.0)
    ),
    "plain-mlp": of_training(ONE, "pfl", "Apple pfl 0.6", (None, 7.0)),
    "plain-cnn": of_training(
        replace(ONE, model="cnn", clients=32), "loop", "the stock PyTorch loop", (None, None)
    ),
    "plain-mlp-100k": of_training(
        replace(ONE, hidden=(1000,), clients=64), "loop", "the stock PyTorch loop", (None, None)
    ),
    "memory-1000": Case(
        dict.fromkeys(("streaming", "ray"), replace(MLP, clients=1000, rounds=3)),
        [Comparison("peak", "streaming", "ray", RAY, lambda run: run.memory, "MiB", 3.0)],
        sampled=True,
    ),
}
"""By name, in the order in which they are played."""

COMMAND_GOAL = 2.0


@dataclass(frozen=True)
class Row:
    """What `--json` holds of a comparison; a ratio above 1 says that ours is ahead."""

    case: str
    metric: str
    ours: float
    peer: str
    peer_value: float
    unit: str
    ratio: float
    goal: float | None
    met: bool


def compared(case: str, comparison: Comparison, passes: Sequence[Pass]) -> tuple[Row, list[float]]:
    """Medians over the passes, and the ratio of each."""
    ours, theirs = (
        [comparison.measure(one.played[engine]) for one in passes]
        for engine in (comparison.ours, comparison.peer)
    )
    each = [b / a for a, b in zip(ours, theirs, strict=True)]
    row = _row((case, comparison.metric), (ours, theirs), comparison.told, comparison.unit, each)
    met = comparison.goal is None or row.ratio >= comparison.goal
    return replace(row, goal=comparison.goal, met=met), each


def _row(
    names: tuple[str, str],
    values: tuple[Sequence[float], Sequence[float]],
    peer: str,
    unit: str,
    each: Sequence[float],
) -> Row:
    ours, theirs = (round(statistics.median(side), 4) for side in values)
    ratio = round(statistics.median(each), 2)
    return Row(*names, ours, peer, theirs, unit, ratio, None, True)  # noqa: FBT003 - no goal, met


def command_rows(passes: int, rounds: int) -> list[tuple[Row, list[float]]]:
    """The product's own command, embedded beside Ray."""
    pairs = simulated_command.turn_about(
        Path(sys.executable), peer_environments.flower_on_ray, rounds, passes
    )
    rows = []
    for metric, unit in (("first_round", "s"), ("whole", "s"), ("memory", "MiB")):
        ours, theirs = ([getattr(run, metric) for run in side] for side in zip(*pairs, strict=True))
        each = [b / a for a, b in zip(ours, theirs, strict=True)]
        row = _row(("command", metric), (ours, theirs), "the same on Ray", unit, each)
        rows.append((replace(row, goal=COMMAND_GOAL, met=row.ratio >= COMMAND_GOAL), each))
    return rows


def quickly(case: Case) -> Case:
    """A tenth of the clients in two rounds, to see that everything runs."""
    works = {
        engine: replace(work, clients=max(10, work.clients // 10), rounds=min(work.rounds, 2))
        for engine, work in case.works.items()
    }
    return replace(case, works=works)


def main() -> None:
    """Measure, print, write."""
    names = [*CASES, "command", *simulation_tables.TABLES]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", default=",".join(names), help=", ".join(names))
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--attempts", type=int, default=4, help="at a pass without load")
    parser.add_argument(
        "--quick", action="store_true", help="one small pass of each; proves nothing"
    )
    parser.add_argument("--json", type=Path, help="rows")
    parser.add_argument("--details", type=Path, help="every figure of every pass")
    asked = parser.parse_args()
    chosen = asked.cases.split(",")
    if unknown := set(chosen) - set(names):
        parser.error(f"no case {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    passes, attempts = (1, 1) if asked.quick else (asked.passes, asked.attempts)
    report = Report(passes, asked.json, asked.details)
    for name in chosen:
        print(f"{name} ...", file=sys.stderr)
        if name in CASES:
            case = quickly(CASES[name]) if asked.quick else CASES[name]
            report.add(name, case, paired(case.works, PYTHONS, passes, attempts, case.sampled))
        elif name == "command":
            report.add_rows(command_rows(passes, 2 if asked.quick else 20))
        else:
            report.tables.append(simulation_tables.TABLES[name](quick=asked.quick))
            print(report.tables[-1], file=sys.stderr)
    print(report.text())
    if asked.quick:
        print("\n--quick: a tenth of the clients, one pass, whatever the load: not to be quoted")


@dataclass
class Report:
    """What was measured so far; the files hold it after every case, as all of them take hours.

    Attributes:
        passes: of each case.
        json, details: files, if they are wanted.
        rows: comparisons.
        tables: that have no goal.
    """

    passes: int
    json: Path | None
    details: Path | None
    rows: list[Row] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    _lines: list[str] = field(default_factory=list)
    _engines: list[str] = field(default_factory=list)
    _figures: dict[str, object] = field(default_factory=dict)

    def add(self, name: str, case: Case, done: Sequence[Pass]) -> None:
        """The passes of a case."""
        self._engines += simulation_tables.engine_lines(name, done)
        self._figures[name] = [asdict(one) | {"played": _figures(one)} for one in done]
        loaded = sum(one.loaded for one in done)
        self.add_rows([compared(name, one, done) for one in case.comparisons], loaded)

    def add_rows(self, found: Sequence[tuple[Row, list[float]]], loaded: int = 0) -> None:
        """Comparisons with the ratio of each pass; `loaded` of the passes were under load."""
        for row, each in found:
            self.rows.append(row)
            self._lines.append(_line(row, each, f"{loaded} of {self.passes}"))
            print(self._lines[-1], file=sys.stderr)
        if self.json:
            held = [asdict(row) for row in self.rows]
            self.json.write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")
        if self.details:
            self.details.write_text(json.dumps(self._figures, indent=1) + "\n", encoding="utf-8")

    def text(self) -> str:
        """All tables."""
        parts = [*self.tables]
        if self._engines:
            parts.insert(0, "\n".join([simulation_tables.ENGINE_HEAD, *self._engines]))
        if self._lines:
            parts.insert(0, "\n".join([HEAD, *self._lines]))
        return "\n\n".join(parts)


def _figures(one: Pass) -> dict[str, dict[str, object]]:
    """Of every engine of a pass, all but its parameters."""
    return {
        engine: {
            "work": asdict(run.work),
            "first_round": run.first_round,
            "round_seconds": [wall for wall, _ in run.rounds],
            "round_cpu": [cpu for _, cpu in run.rounds],
            "foreign": run.foreign,
            "memory": run.memory,
        }
        for engine, run in one.played.items()
    }


HEAD = (
    "| case | metric | ours | peer | its | unit | ratio | range | goal | met | under load |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|"
)


def _line(row: Row, each: Sequence[float], loaded: str) -> str:
    goal = "" if row.goal is None else f"{row.goal:g}"
    met = "" if row.goal is None else "yes" if row.met else "**no**"
    return (
        f"| {row.case} | {row.metric} | {row.ours:.4g} | {row.peer} | {row.peer_value:.4g} "
        f"| {row.unit} | {row.ratio:.2f} | {min(each):.2f}-{max(each):.2f} | {goal} | {met} "
        f"| {loaded} |"
    )


if __name__ == "__main__":
    main()
