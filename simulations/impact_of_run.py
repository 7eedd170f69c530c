"""The sweep over epsilons for the federation of a run, kept beside its evaluations."""

from collections.abc import Callable, Sequence
from pathlib import Path

from federation.durable_file import write_atomically
from federation.evaluation_record import EvaluationFolder
from federation.privacy_impact import PrivacyImpact
from federation.run_folder import RunFolder
from federation.summary import Estimate
from server.evaluation_findings import write_findings
from server.run_preparation import search_task_folder
from simulations.privacy_impact import privacy_impact
from simulations.simulated_task import simulated_task
from simulations.sites import read_config


def impact_of_run(
    path: Path, epsilons: Sequence[float], seeds: Sequence[int], say: Callable[[str], None]
) -> PrivacyImpact:
    """Sweep, keep the result, and put it on the evaluation's page if there is one.

    Raises:
        HedgerowError: as `simulations.privacy_impact.privacy_impact`.
    """
    run = RunFolder.open(path)
    config = read_config(path)
    search_task_folder(run)
    kept = run.read_environment().task_folder
    total, begun = (len(epsilons) + 1) * len(seeds), 0

    def report(epsilon: float | None, seed: int) -> None:
        nonlocal begun
        begun += 1
        at = "without privacy" if epsilon is None else f"at epsilon {epsilon:g}"
        say(f"run {begun} of {total}: {at}, seed {seed}")

    found = privacy_impact(config, epsilons, seeds, Path(kept) if kept else None, report)
    folder = EvaluationFolder.of(run)
    folder.path.mkdir(exist_ok=True, mode=0o700)
    write_atomically(folder.impact, found.model_dump_json(indent=1).encode() + b"\n")
    if folder.summary.is_file():
        write_findings(run, config, simulated_task(run, config))
    return found


def lines(found: PrivacyImpact) -> list[str]:
    """A table for a terminal, and whom it costs most."""
    heads = [
        "without" if point.epsilon is None else f"eps {point.epsilon:g}" for point in found.points
    ]
    rows = [("accuracy", *(_text(point.accuracy) for point in found.points))]
    known: dict[tuple[str, str], dict[int, Estimate]] = {}
    for place, point in enumerate(found.points):
        for group in point.groups:
            key = (group.attribute, group.group)
            known.setdefault(key, {})[place] = group.accuracy
    for (attribute, name), accuracy in known.items():
        cells = (_text(accuracy.get(place)) for place in range(len(found.points)))
        rows.append((f"{attribute}: {name}", *cells))
    width = max(len(row[0]) for row in rows)
    told = [f"{'':{width}}  " + "  ".join(f"{head:>8}" for head in heads)]
    told += [
        f"{name:{width}}  " + "  ".join(f"{cell:>8}" for cell in cells) for name, *cells in rows
    ]
    hit = found.hardest_hit()
    if hit is not None:
        group, loss = hit
        told.append(
            f"hardest hit at epsilon {found.points[-1].epsilon:g}: {group.attribute} "
            f"{group.group}, {100 * loss:.1f} points of accuracy"
        )
    return told


def _text(estimate: Estimate | None) -> str:
    return "–" if estimate is None or estimate.value is None else f"{100 * estimate.value:.1f} %"
