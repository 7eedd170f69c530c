"""Engines side by side: a fresh process for each, pass by pass, and no pass under load.

A pass plays every engine once; the next plays them in the reverse order. It is rejected, and played
again, if another process used the machine meanwhile, or if a busy control thread right before it
did not get a processor to itself. Every engine has to have trained the same clients on as many rows
in every round, or there is nothing to compare.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path

import process_tree
from process_tree import Mark
from simulation_work import Work, row_count

HERE = Path(__file__).parent
ROOT = HERE.parent
MOST_SECONDS = 3600
SAMPLING_SECONDS = 0.2

FOREIGN_LIMIT = 0.1
"""Processors that others may use, on average, while an engine is measured."""
CONTROL_LIMIT = 1.1
"""Wall over CPU seconds of the control thread."""
SAME_MODEL = {"mlp": 1e-4, "cnn": 1e-3}
"""Between parameters of engines that train alike, by the model: sums in another order, round after
round, and what convolutions make of that (3e-4 was seen after four rounds)."""
ALIKE = ({"embedded", "streaming", "ray", "loop"}, {"batched", "fused", "together"})
"""Engines whose batches and noise are the same."""

QUIET = {
    "OMP_NUM_THREADS": "1",
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "PYTHONWARNINGS": "ignore",
}


@dataclass(frozen=True)
class Played:
    """One engine's run.

    Attributes:
        work: it was asked to do.
        began: when its process was started, which had used no time yet.
        marks: before the first round and after each.
        participants: per round, the clients that trained.
        examples: per round, rows that they trained on.
        model: final parameters; empty where they are not comparable.
        memory: proportional set size of the tree after the last round, MiB; the highest that was
            seen, if it was sampled.
    """

    work: Work
    began: Mark
    marks: tuple[Mark, ...]
    participants: list[list[int]]
    examples: list[int]
    model: list[float]
    memory: float

    @property
    def first_round(self) -> float:
        """Seconds from the start of the process to the end of the first round."""
        return self.marks[1].wall - self.began.wall

    @property
    def rounds(self) -> list[tuple[float, float]]:
        """Wall and CPU seconds of each, without what reading them took."""
        return [
            (b.wall - a.wall - a.reading[0], b.tree - a.tree - a.reading[1])
            for a, b in pairwise(self.marks)
        ]

    @property
    def round_seconds(self) -> float:
        """Median of the rounds but the first."""
        return statistics.median(wall for wall, _ in self.rounds[1:])

    @property
    def round_cpu(self) -> float:
        """CPU seconds of the whole tree, median of the rounds but the first."""
        return statistics.median(cpu for _, cpu in self.rounds[1:])

    @property
    def message_ms(self) -> float:
        """Wall milliseconds of a round per client."""
        return 1e3 * self.round_seconds / self.work.clients

    @property
    def client_cpu_ms(self) -> float:
        """CPU milliseconds of a round per client."""
        return 1e3 * self.round_cpu / self.work.clients

    @property
    def foreign(self) -> float:
        """Processors that others used, from the start of the process to the end of its rounds."""
        first, last = self.began, self.marks[-1]
        others = last.machine - first.machine - last.tree
        return max(0.0, others) / (last.wall - first.wall)


@dataclass
class Pass:
    """All engines once.

    Attributes:
        played: per engine.
        control: wall over CPU seconds of the control thread, before.
        rejected: how many tries at this pass were under load and thrown away.
        loaded: this one was, too, and no more were allowed.
    """

    played: dict[str, Played] = field(default_factory=dict)
    control: float = 1.0
    rejected: int = 0
    loaded: bool = False


Pythons = Mapping[str, Callable[[], Path]]
"""Per engine that needs an environment of its own, what makes that and gives its interpreter."""


def play(python: Path, engine: str, work: Work, *, sampled: bool = False) -> Played:
    """Play one engine in a process of its own.

    Args:
        python: interpreter of its environment.
        engine: a name that `simulation_engines` knows.
        work: what to do.
        sampled: look at the memory all the time, which costs the engine some.
    """
    with tempfile.TemporaryDirectory() as place:
        asked, out, log = (Path(place) / name for name in ("work.json", "out.json", "log"))
        asked.write_text(json.dumps(asdict(work)), encoding="utf-8")
        paths = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")]), str(ROOT)]
        began = Mark(time.monotonic(), 0.0, process_tree.busy_seconds())
        with log.open("wb") as said:
            process = subprocess.Popen(
                [python, HERE / "simulation_engines.py", engine, asked, out],
                env=os.environ | QUIET | {"PYTHONPATH": os.pathsep.join(paths)},
                stdout=said,
                stderr=subprocess.STDOUT,
            )
            highest = _watch(process, sampled=sampled)
        if process.returncode:
            text = log.read_text(encoding="utf-8", errors="replace")
            raise SystemExit(f"{engine} failed at {work}:\n{text[-3000:]}")
        told = json.loads(out.read_text(encoding="utf-8"))
    return Played(
        work,
        began,
        tuple(Mark(**one | {"reading": tuple(one["reading"])}) for one in told["marks"]),
        told["participants"],
        told["examples"],
        told["model"],
        max(highest, told["memory"]),
    )


def _watch(process: "subprocess.Popen[bytes]", *, sampled: bool) -> float:
    """Wait for the end; the highest memory that was seen, MiB."""
    highest = 0.0
    while sampled:
        highest = max(highest, process_tree.proportional_set_size(process.pid))
        try:
            process.wait(SAMPLING_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        return highest
    process.wait(MOST_SECONDS)
    return highest


def paired(
    works: Mapping[str, Work],
    pythons: Pythons,
    passes: int,
    attempts: int,
    sampled: bool = False,  # noqa: FBT001, FBT002 - a property of the case, handed on
) -> list[Pass]:
    """Play all engines `passes` times, in turns.

    Args:
        works: per engine, what it is asked to do.
        pythons: of engines that do not run in this environment.
        passes: how many.
        attempts: at a pass, before one under load is kept and said to be.
        sampled: as `play`.

    Raises:
        SystemExit: an engine failed, left clients out, or came to another model.
    """
    done = []
    for number in range(passes):
        order = list(works) if number % 2 == 0 else list(reversed(works))
        for attempt in range(attempts):
            control = process_tree.control_loop()
            played = {}
            for engine in order:
                python = pythons[engine]() if engine in pythons else Path(sys.executable)
                played[engine] = play(python, engine, works[engine], sampled=sampled)
            loaded = control > CONTROL_LIMIT or any(
                one.foreign > FOREIGN_LIMIT for one in played.values()
            )
            if not loaded:
                break
            shares = ", ".join(f"{name} {one.foreign:.2f}" for name, one in played.items())
            print(
                f"  pass {number + 1}, try {attempt + 1}: under load (control {control:.2f}; "
                f"processors used by others: {shares})",
                file=sys.stderr,
            )
        require_same_clients(played)
        require_same_models(played)
        done.append(Pass(played, control, attempt, loaded))
    return done


def require_same_clients(played: Mapping[str, Played]) -> None:
    """Return if every engine trained every client, on all its rows, in every round.

    Raises:
        SystemExit: one did not.
    """
    for engine, one in played.items():
        everybody = list(range(one.work.clients))
        rows = sum(map(row_count, everybody))
        if len(one.participants) != one.work.rounds:
            raise SystemExit(
                f"{engine} told of {len(one.participants)} of {one.work.rounds} rounds"
            )
        for number, (clients, examples) in enumerate(
            zip(one.participants, one.examples, strict=True), start=1
        ):
            if clients != everybody or examples != rows:
                raise SystemExit(
                    f"{engine} trained {len(set(clients))} of {len(everybody)} clients on "
                    f"{examples} of {rows} rows in round {number}: nothing to compare"
                )


def require_same_models(played: Mapping[str, Played]) -> None:
    """Return if engines that draw the same batches and noise came to the same model.

    Raises:
        SystemExit: two did not.
    """
    for alike in ALIKE:
        known = [(name, one.model) for name, one in played.items() if name in alike and one.model]
        for (name, model), (other, its) in pairwise(known):
            apart = [abs(a - b) for a, b in zip(model, its, strict=True)]
            most = SAME_MODEL[played[name].work.model]
            # Not a number is no less than anything either.
            if not all(each <= most for each in apart):
                raise SystemExit(f"{name} and {other} came to models {max(apart):g} apart")


def ratios(passes: Sequence[Pass], of: Callable[[Pass], tuple[float, float]]) -> list[float]:
    """Peer over ours, per pass."""
    return [theirs / ours for ours, theirs in map(of, passes)]
