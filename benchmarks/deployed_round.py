"""Seconds per round between machines: a secure, private round beside Flower's plain FedAvg.

    python benchmarks/deployed_round.py [--rounds 6] [--repeats 3] [--sites 3] [--json FILE]

Everything runs on this machine as it would on several: a SuperLink with TLS, node authentication
and its database in a file, and per site the processes that a site runs. Ours is set up by the
product's own commands and trains the heart model with DP-SGD, the secure sum and counts for
evaluation. The peer is FedAvg as Flower ships it, on Flower's own SuperNodes, in an environment of
its own under .bench/; its model is as small and trains in no time, without importing torch. Both
are played turn about, and a round is timed from the end of the one before it, so that neither's
start counts.

A third case is ours behind Flower's own SuperNodes, for sites that have to run those.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from flower_fedavg import FedAvgFederation
from round_course import RoundCourse, course_of_run

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "tests" / "e2e"))

from loopback_federation import LoopbackFederation  # noqa: E402 - stands with the tests

from federation import config_file  # noqa: E402
from simulations.example_config import example  # noqa: E402

SITES = ("cleveland", "hungary", "va_long_beach", "switzerland")
GOAL = 1 / 1.3
"""Of the ratio of FedAvg's seconds to ours: the round may take 1.3 times as long."""
OURS, GUARDED = "hedgerow", "hedgerow behind SuperNodes"
TRAIN, EVALUATE = "FedAvg, training only", "FedAvg, training and evaluation"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sites", type=int, default=3, choices=range(3, 5))
    parser.add_argument("--guarded", action="store_true", help="ours behind SuperNodes, too")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    seconds, course = measure(
        asked.rounds, asked.repeats, SITES[: asked.sites], guarded=asked.guarded
    )
    rows = compared(seconds, asked.sites)
    print_rounds(seconds)
    print_rows(rows)
    print_course(course)
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def measure(
    rounds: int, repeats: int, sites: Sequence[str], *, guarded: bool
) -> tuple[dict[str, list[float]], RoundCourse]:
    """Seconds of every round per case, the first of a run left out, and the course of ours."""
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "ours").mkdir()
        ours = LoopbackFederation(folder / "ours", sites, epsilon=50.0)
        cases = [OURS, GUARDED] if guarded else [OURS]
        config = written_config(folder / "federation.toml", rounds, sites)
        with FedAvgFederation(folder / "peer", len(sites)) as peer:
            for repeat in range(repeats):
                for case in cases:
                    found = play(ours, config, sites, behind_supernodes=case == GUARDED)
                    seconds.setdefault(case, []).extend(found.seconds)
                    if case == OURS:
                        course = found
                for case, evaluates in ((TRAIN, False), (EVALUATE, True)):
                    seconds.setdefault(case, []).extend(peer.rounds(rounds, evaluates=evaluates))
                print(f"repeat {repeat + 1} of {repeats} done", file=sys.stderr)
    return seconds, course


def play(
    federation: LoopbackFederation,
    config: Path,
    sites: Sequence[str],
    *,
    behind_supernodes: bool,
) -> RoundCourse:
    """One run of ours from its start to its end; its processes are there for it alone."""
    try:
        federation.start_coordinator()
        for site in sites:
            if behind_supernodes:
                federation.start_guarded_site(site)
            else:
                federation.start_site(site)
        done = federation.run(config, "--quiet")
        if done.returncode:
            raise SystemExit(f"the run failed:\n{done.stdout}{done.stderr}")
    finally:
        federation.end()
    return course_of_run(federation.last_run, [federation.homes[site] for site in sites])


def written_config(path: Path, rounds: int, sites: Sequence[str]) -> Path:
    """The default settings of the heart federation, over these sites."""
    path.write_text(example("heart"), encoding="utf-8")
    chosen = [f"run.rounds={rounds}", f"federation.sites={json.dumps(list(sites))}"]
    path.write_text(config_file.write_text(config_file.read(path, chosen)), encoding="utf-8")
    return path


def compared(seconds: dict[str, list[float]], sites: int) -> list[dict[str, object]]:
    """A row per pair of ours and Flower's."""
    rows = []
    for case in (OURS, GUARDED):
        for peer in (TRAIN, EVALUATE):
            if case in seconds:
                ours, theirs = (statistics.median(seconds[name]) for name in (case, peer))
                ratio = theirs / ours
                goal = GOAL if case == OURS else 0.0
                rows.append({
                    "case": f"{case}, {sites} sites", "metric": "seconds per round",
                    "ours": round(ours, 3), "peer": peer, "peer_value": round(theirs, 3),
                    "unit": "s", "ratio": round(ratio, 2), "goal": round(goal, 2),
                    "met": ratio >= goal,
                })  # fmt: skip
    return rows


def print_rounds(seconds: dict[str, list[float]]) -> None:
    """Least, median and largest per case."""
    print(f"{'seconds per round':34}{'least':>8}{'median':>8}{'most':>8}{'rounds':>8}")
    for case, of_case in seconds.items():
        low, middle, high = min(of_case), statistics.median(of_case), max(of_case)
        print(f"{case:34}{low:8.2f}{middle:8.2f}{high:8.2f}{len(of_case):8}")


def print_rows(rows: Sequence[dict[str, object]]) -> None:
    """The comparison as a table."""
    print(f"\n{'case':38}{'ours s':>8}  {'peer':34}{'s':>6}{'ratio':>7}{'goal':>6}  met")
    for row in rows:
        met = "yes" if row["met"] else "NO"
        print(
            f"{row['case']:38}{row['ours']:8.2f}  {row['peer']:34}{row['peer_value']:6.2f}"
            f"{row['ratio']:7.2f}{row['goal']:6.2f}  {met}"
        )


def print_course(course: RoundCourse) -> None:
    """Where the time of a round of ours goes, medians over its rounds."""
    print("\nwhere a round's time goes, seconds (median; slowest site of each round)")
    print(f"{'phase':12}{'agent':>8}{'carrying':>10}")
    for phase, (agent, carrying) in course.phases.items():
        print(f"{phase:12}{agent:8.3f}{carrying:10.3f}")


if __name__ == "__main__":
    main()
