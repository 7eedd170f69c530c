"""Counting at a site, beside fairlearn's MetricFrame and Evidently's drift preset on the same rows.

    python benchmarks/evaluation.py [--rows 1000000] [--repeats 5] [--peer-repeats 1] [--json FILE]

CPU seconds of one process on one core; medians. A ratio above 1 means that we are ahead. fairlearn
runs in the environment that runs this script; Evidently 0.7.23 does not import with pandas 3, so it
runs in one of its own under .bench/. Neither is given fewer rows than we are: fairlearn takes a
minute or two of it.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).parent.parent
if __name__ == "__main__":
    # This file is named as the package that it measures: the package comes first.
    sys.path[:1] = [str(ROOT), sys.path[0]]
    # Before numpy is loaded: one core is what is promised.
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
else:
    # A script beside it looks here first for the package `evaluation`: it finds that one's modules.
    __path__ = [str(ROOT / "evaluation")]

import numpy as np  # noqa: E402

if TYPE_CHECKING:
    from evaluation.tally_spec import TallySpec

FEATURES = 20
SCORE_BINS = 256
LEVELS = {"region": 5, "age": 8}
"""Groups of each attribute, `unknown` with them; their 40 combinations are groups too."""
TALLY_GOAL = 1.0
"""Seconds for a million rows."""
REPORT_GOAL = 10.0
"""Seconds for 44 groups, 50 features and 52 windows."""
PAGE_GOAL = 1.0
"""Megabytes."""
METRICS = (
    "selection_rate", "true_positive_rate", "false_positive_rate", "precision", "accuracy",
)  # fmt: skip

Row = dict[str, str | float | bool]
Columns = dict[str, np.ndarray]


def main() -> None:
    """Measure, print, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peer-repeats", type=int, default=1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows: list[Row] = []
    for case in (report, tally):
        rows += case(given.rows, given.repeats, given.peer_repeats)
    print_rows(rows)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def report(_: int, repeats: int, __: int) -> list[Row]:
    """What the coordinator makes of a year of windows: all findings, and the page."""
    import evaluation_course  # noqa: PLC0415

    from evaluation.assessment import assess  # noqa: PLC0415
    from evaluation.report.evaluation_page import render  # noqa: PLC0415

    course = evaluation_course.course()
    pages: list[str] = []
    taken = seconds(lambda: pages.append(render(assess(*course))), repeats)
    groups, windows = 44, evaluation_course.WINDOWS
    case = f"{groups} groups x {evaluation_course.FEATURES} features x {windows} windows"
    size = len(pages[-1].encode()) / 1e6
    return [
        row(case, "findings_and_page", taken, "goal", REPORT_GOAL, 1),
        row(case, "page", size, "goal", PAGE_GOAL, 1) | {"unit": "MB"},
    ]


def tally(rows: int, repeats: int, peer_repeats: int) -> list[Row]:
    """What a site counts in an evaluation round, whole and in the parts that a peer has too."""
    import evidently_preset  # noqa: PLC0415

    from evaluation.score_tallies import count_scores  # noqa: PLC0415
    from evaluation.site_disparities import count_site_gaps  # noqa: PLC0415
    from evaluation.tallies import count_features, count_outcomes  # noqa: PLC0415

    spec, people = specification(rows), population(rows)
    groups = {name: people[name] for name in LEVELS}
    judged = np.stack([1 - people["score"], people["score"]], axis=1), people["label"], groups
    features = {name: people[name] for name in people if name.startswith("feature")}
    reference, current = halves(features)

    def outcomes_and_features() -> None:
        count_outcomes(spec, *judged)
        count_features(spec, features, "current")

    def evaluation_round() -> None:
        outcomes = count_outcomes(spec, *judged)
        count_scores(spec, *judged)
        count_site_gaps(spec, outcomes)
        count_features(spec, reference, "reference")
        count_features(spec, current, "current")

    def group_metrics() -> Columns:
        return metrics_of_counts(spec, count_outcomes(spec, *judged))

    def drift() -> None:
        drift_of_counts(
            spec,
            count_features(spec, reference, "reference"),
            count_features(spec, current, "current"),
        )

    case = f"{rows:,} rows x {len(spec.groups)} groups x {SCORE_BINS} bins x {FEATURES} features"
    goal = TALLY_GOAL * rows / 1e6
    whole, evaluation = seconds(outcomes_and_features, repeats), seconds(evaluation_round, repeats)
    ours, drifted = seconds(group_metrics, repeats), seconds(drift, repeats)
    theirs: list[Columns] = []
    frames = seconds(lambda: theirs.append(fairlearn_metrics(people)), peer_repeats)
    require_same_metrics(group_metrics(), theirs[0])
    evidently = evidently_preset.measure(features, peer_repeats)
    return [
        row(case, "tally", whole, "goal", goal, 1),
        row(case, "tally_of_an_evaluation_round", evaluation, "goal", goal, 1),
        row(case, "group_metrics", ours, "fairlearn MetricFrame", frames, 1),
        row(case, "feature_drift", drifted, "Evidently DataDriftPreset", evidently, 1),
    ]


def specification(rows: int) -> "TallySpec":
    """What is counted."""
    from evaluation.tally_spec import TallySpec  # noqa: PLC0415
    from federation.schema import Numeric, SensitiveAttribute, TaskSchema  # noqa: PLC0415

    attributes = tuple(
        SensitiveAttribute(name, tuple(f"level {code}" for code in range(groups - 1)))
        for name, groups in LEVELS.items()
    )
    features = tuple(Numeric(f"feature {place}", -4, 4) for place in range(FEATURES))
    schema = TaskSchema(features, "label", ("no", "yes"), attributes, maximum_rows=rows)
    return TallySpec(schema, (tuple(LEVELS),), SCORE_BINS, feature_bins=64)


def population(rows: int) -> Columns:
    """Scores that are calibrated, groups of unequal size, and normal features."""
    rng = np.random.default_rng(0)
    score = rng.beta(1.2, 3.0, rows)
    return {
        "score": score,
        "label": (rng.random(rows) < score).astype(np.int64),
        **{
            name: rng.choice(groups, rows, p=np.arange(groups, 0, -1) / (groups * (groups + 1) / 2))
            for name, groups in LEVELS.items()
        },
        **{f"feature {place}": rng.standard_normal(rows) for place in range(FEATURES)},
    }


def halves(features: Columns) -> tuple[Columns, Columns]:
    """The reference window and the current one."""
    middle = len(next(iter(features.values()))) // 2
    return (
        {name: column[:middle] for name, column in features.items()},
        {name: column[middle:] for name, column in features.items()},
    )


def metrics_of_counts(spec: "TallySpec", tallies: Columns) -> Columns:
    """Per metric, its value for each group of the three families."""
    from evaluation import group_metrics  # noqa: PLC0415
    from evaluation.score_curves import auc  # noqa: PLC0415
    from evaluation.tally_sums import TallySums  # noqa: PLC0415

    sums, groups = TallySums(spec, tallies), spec.groups[1:]
    confusion = sums.outcomes(groups)
    rates = {name: getattr(group_metrics, name)(confusion) for name in METRICS}
    found = [auc(sums.scores(group.label)) for group in groups]
    return rates | {"auc": np.array([each.value for each in found if each])}


def fairlearn_metrics(people: Columns) -> Columns:
    """The same from rows: a frame per family, and one more for the AUC, which takes scores."""
    from fairlearn import metrics  # noqa: PLC0415
    from sklearn.metrics import accuracy_score, precision_score, roc_auc_score  # noqa: PLC0415

    named = {
        "selection_rate": metrics.selection_rate,
        "true_positive_rate": metrics.true_positive_rate,
        "false_positive_rate": metrics.false_positive_rate,
        "precision": precision_score,
        "accuracy": accuracy_score,
    }
    predicted = (people["score"] >= 0.5).astype(np.int64)
    found: dict[str, list[np.ndarray]] = {}
    for names in (*((name,) for name in LEVELS), tuple(LEVELS)):
        sensitive = {name: people[name] for name in names}
        label = people["label"]
        rates = metrics.MetricFrame(
            metrics=named, y_true=label, y_pred=predicted, sensitive_features=sensitive
        )
        area = metrics.MetricFrame(
            metrics=roc_auc_score,
            y_true=label,
            y_pred=people["score"],
            sensitive_features=sensitive,
        )
        for name in named:
            found.setdefault(name, []).append(rates.by_group[name].to_numpy(dtype=np.float64))
        found.setdefault("auc", []).append(area.by_group.to_numpy(dtype=np.float64))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def require_same_metrics(ours: Columns, theirs: Columns) -> None:
    """Stop if the two are not the same: rates to rounding, the AUC to the pairs within bins."""
    for name, values in theirs.items():
        tolerance = 2e-3 if name == "auc" else 1e-12
        if not np.allclose(ours[name], values, rtol=0, atol=tolerance):
            raise SystemExit(f"{name} is not fairlearn's")


def drift_of_counts(spec: "TallySpec", reference: Columns, current: Columns) -> None:
    """PSI with its critical value, KS, Jensen-Shannon and verdict of every feature."""
    from evaluation.findings import drift  # noqa: PLC0415

    drift(spec, reference, current, "overall")


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Median CPU seconds."""
    taken = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return statistics.median(taken)


def row(case: str, metric: str, ours: float, peer: str, peer_value: float, goal: float) -> Row:
    """One comparison of seconds."""
    ratio = peer_value / ours
    return {
        "case": case, "metric": metric, "ours": round(ours, 4), "peer": peer,
        "peer_value": round(peer_value, 4), "unit": "s", "ratio": round(ratio, 2), "goal": goal,
        "met": ratio >= goal,
    }  # fmt: skip


def print_rows(rows: Sequence[Row]) -> None:
    """The table."""
    print("| case | metric | ours | peer | peer's | unit | ratio | goal | met |")
    print("|---|---|---|---|---|---|---|---|---|")
    for each in rows:
        told = [*list(each.values())[:-1], "yes" if each["met"] else "no"]
        print(f"| {' | '.join(map(str, told))} |")


if __name__ == "__main__":
    main()
