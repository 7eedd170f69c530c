"""Where the seconds of a deployed round went, from what the run and its sites wrote down."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

PHASES = {"train": "train", "query.sign": "sign", "query.open": "open"}
"""Of a steady-state round: what comes before rides on the messages of the round before."""


@dataclass(frozen=True, slots=True)
class RoundCourse:
    """One run.

    Attributes:
        seconds: of each training round but the first, which has two exchanges more.
        phases: per phase the median seconds of the agent's work, and of everything around it.
    """

    seconds: list[float]
    phases: dict[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class _Carried:
    phase: str
    ended: float
    seconds: float


def course_of_run(run: Path, homes: Sequence[Path]) -> RoundCourse:
    """Read a completed run of a loopback federation: sites' clocks are one."""
    records = [json.loads(line) for line in (run / "rounds.jsonl").read_text().splitlines()]
    rounds = [one["record"]["round"] for one in records if one["event"] == "round"]
    seconds = [one["seconds"] for one in rounds if one["kind"] == "train" and one["round"] > 1]
    exchanges = _exchanges([_carried(home) for home in homes])
    phases = {}
    for phase in PHASES.values():
        of_phase = exchanges.get(phase, [])[1:]
        if of_phase:
            agent = statistics.median(work for work, _ in of_phase)
            whole = statistics.median(gone for _, gone in of_phase)
            phases[phase] = (agent, max(0.0, whole - agent))
    return RoundCourse(seconds, phases)


def _carried(home: Path) -> list[_Carried]:
    """What a site's node, or the guard behind its SuperNode, carried in its latest run."""
    logs = [home / "log" / f"{name}.jsonl" for name in ("node", "guard")]
    lines = [json.loads(line) for log in logs if log.is_file() for line in log.open()]
    carried = sorted((one for one in lines if one["event"] == "carried"), key=lambda x: x["time"])
    latest = carried[-1]["fields"]["run"]
    return [
        _Carried(
            PHASES.get(one["fields"]["kind"], one["fields"]["kind"]),
            datetime.fromisoformat(one["time"]).timestamp(),
            one["fields"]["seconds"],
        )
        for one in carried
        if one["fields"]["run"] == latest
    ]


def _exchanges(sites: Sequence[Sequence[_Carried]]) -> dict[str, list[tuple[float, float]]]:
    """Per phase, of each exchange: the slowest agent's seconds, and those since the one before."""
    found: dict[str, list[tuple[float, float]]] = {}
    before = None
    for exchange in zip(*sites, strict=False):
        ended = max(one.ended for one in exchange)
        if before is not None and len({one.phase for one in exchange}) == 1:
            work = max(one.seconds for one in exchange)
            found.setdefault(exchange[0].phase, []).append((work, ended - before))
        before = ended
    return found
