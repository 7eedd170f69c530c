"""Valid evaluation summaries of any size, with plausible numbers drawn from a seed."""

from collections.abc import Iterator, Sequence

import numpy as np
from sample_audit import audit, impact
from sample_groups import confusion_of, fairness_of, histogram, scores_of
from sample_size import BINS, MINIMUM_CELL, SITES, Size, families, is_small, share
from sample_windows import drift_of, flags, gaps_over_time, site_gaps, watches

from evaluation.mitigation.threshold_table import threshold_table
from evaluation.mitigation.thresholds import threshold_outcomes
from federation.alert import Alert
from federation.drift_summary import (
    Recommendation,
    WindowDrift,
)
from federation.evaluation_summary import (
    EvaluationSummary,
    Explorer,
    Hashes,
    Marks,
    Subject,
    Tile,
    Window,
)
from federation.summary import (
    Estimate,
    Utility,
)


def sample(size: Size) -> EvaluationSummary:
    """A whole summary."""
    draws = np.random.default_rng(size.seed)
    fairness, scores, explorer, mitigation = [], {}, [], []
    for scope in size.scopes:
        histograms = {
            (attribute, group): histogram(draws, len(groups), place)
            for attribute, groups in size.families.items()
            for place, group in enumerate(groups)
        }
        fairness.append(fairness_of(size, scope, histograms))
        scores[scope] = tuple(scores_of(size, histograms))
        for attribute, groups in size.families.items() if scope == "overall" else ():
            shown = {g: histograms[attribute, g] for g in groups if not is_small(size, g)}
            if not shown or not size.is_binary:
                continue
            total = np.sum(list(shown.values()), axis=0)
            explorer.append(Explorer(attribute=attribute, rows=threshold_table(shown, total)))
            if len(shown) > 1:
                tables = {name: confusion_of(one) for name, one in shown.items()}
                mitigation += threshold_outcomes(shown, tables, attribute)
    drift = tuple(drift_of(size, draws))
    alerts = tuple(_alerts(size, drift))
    return EvaluationSummary(
        subject=Subject(
            run="20260301T093012Z-heart-a1b2c3",
            name="heart",
            task="heart",
            rounds=20,
            sites=SITES,
            cohorts=dict.fromkeys(size.scopes[1:], 5),
            model_sha256="41ab" * 16,
            model_parameters=1_217,
            epsilon=2.0,
            label="outcome",
            positive_class=size.classes[1] if size.is_binary else "",
        ),
        marks=Marks(
            criterion="equal_opportunity",
            gap_watch=0.1,
            gap_act=0.2,
            psi_watch=0.1,
            psi_act=0.25,
            windows_per_false_alarm=100,
            minimum_cell=MINIMUM_CELL,
            minimum_contributors=3,
            score_bins=BINS,
        ),
        reference=_window(size, draws, "2025"),
        windows=tuple(_window(size, draws, name) for name in size.names),
        verdicts=_tiles(size),
        recommendation=Recommendation(
            action="investigate" if alerts else "none",
            reasons=tuple(alert.sentence for alert in alerts[:3]) or ("nothing has changed",),
        ),
        alerts=alerts,
        fairness=tuple(fairness),
        reference_fairness=tuple(fairness),
        scores={} if size.noise else scores,
        site_disparities={s: tuple(site_gaps(size, s, draws)) for s in size.scopes},
        gaps=tuple(gaps_over_time(size, draws)),
        drift=drift,
        concept=tuple(watches(size, draws)),
        site_flags=tuple(flags(size, draws)),
        named_sites={"site 4": {"age": "act", "cholesterol": "ok", "errors": "watch"}}
        if size.extras
        else {},
        explorer=tuple(explorer),
        mitigation=tuple(mitigation),
        audit=audit(size, draws) if size.extras else None,
        privacy_impact=impact(size, draws) if size.extras and size.families else None,
        hashes=Hashes(
            spec_sha256="0a1b" * 16,
            reference_sha256="2c3d" * 16,
            edges_sha256="4e5f" * 16,
            config_sha256="9f2c" * 16,
            hedgerow="0.4.0",
        ),
        notes=("the set of sites changed between windows",),
    )


def _utility(size: Size, rows: int, right: float) -> Utility:
    known = not size.withheld
    nothing = Estimate(value=None, reason="no rows")
    return Utility(
        rows=rows,
        accuracy=share(right * rows, rows) if known else nothing,
        balanced_accuracy=right - 0.01 if known else None,
        log_loss=0.42 if known else None,
        brier=0.15 if known else None,
        auc=Estimate(value=0.86, low=0.858, high=0.862, kind="exact_bounds") if known else nothing,
    )


def _window(size: Size, draws: np.random.Generator, name: str) -> Window:
    right = 0.8 + 0.04 * draws.random()
    return Window(
        name=name,
        at="2026-03-01T09:34:31+00:00",
        sites=SITES - 1,
        lost=1,
        noise_variance=size.noise,
        epsilon=0.5 if size.noise else None,
        utility={
            scope: _utility(size, 9_000 // (place + 1), right - 0.02 * place)
            for place, scope in enumerate(size.scopes)
        },
        majority_accuracy=0.66,
        agreement_sha256="ab12" * 16,
    )


def _tiles(size: Size) -> tuple[Tile, ...]:
    return (
        Tile(topic="Performance", grade="OK", headline="82.1% right",
             sentence="82.4% in the reference; errors have not risen beyond chance."),
        Tile(topic="Fairness", grade="Act" if size.families else "Off",
             headline="equal opportunity difference 0.210" if size.families else "not estimable",
             sentence="Between female and male; beyond chance." if size.families
             else "The task names no sensitive attribute."),
        Tile(topic="Drift", grade="Watch", headline="2 changed: age, scores",
             sentence="Overall: psi of age is +0.131 against the reference; beyond chance."),
        Tile(topic="Data", grade="OK", headline="as before",
             sentence="Missing, undeclared and out-of-range values are as in the reference."),
    )  # fmt: skip


def _alerts(size: Size, drift: Sequence[WindowDrift]) -> Iterator[Alert]:
    latest = [one for one in drift if one.window == size.names[-1]]
    for one in latest:
        for finding in one.findings:
            if finding.verdict in {"act", "watch"}:
                yield Alert(
                    level=finding.verdict,
                    topic="drift",
                    window=one.window,
                    scope=one.scope,
                    subject=finding.subject,
                    metric=finding.statistic,
                    value=finding.value,
                    mark=finding.watch,
                    sentence=f"{one.scope}: {finding.statistic} of {finding.subject} is "
                    f"{finding.value:+.3f} against the {finding.against}; beyond chance",
                )


def odd_names(summary: EvaluationSummary) -> EvaluationSummary:
    """The same with markup in every text that somebody may have chosen."""
    text = summary.model_dump_json()
    for plain, odd in (
        ("cholesterol", "<script>alert(1)</script>"),
        ("female", "<b>female</b> &amp; " + "a very long name of a group " * 4),
        ("region 1", "<i>region</i>"),
        ("2026-w03", "week 3 of the year 2026 <img src=x onerror=alert(1)>"),
    ):
        text = text.replace(plain, odd)
    return EvaluationSummary.model_validate_json(text)


HOSPITALS = Size(families(20))
SIZES = {
    "hospitals": HOSPITALS,
    "no groups": Size(families(0), cohorts=0),
    "one group": Size(families(1), cohorts=0, windows=1),
    "72 groups": Size(families(72), windows=4, cohorts=2),
    "all suppressed": Size(families(20), suppressed=True),
    "nothing known": Size(families(20), withheld=True, windows=1),
    "many classes": Size(families(2), classes=tuple(f"digit {k}" for k in range(10))),
    "noised": Size(families(20), noise=7.84, extras=False),
    "large": Size(families(40), features=50, windows=52, cohorts=2),
}
