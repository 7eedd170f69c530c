"""Windows of a sample: drift, errors and gaps over time, and what sites say of themselves."""

import math
from collections.abc import Iterator

import numpy as np
from sample_size import SITES, Size, is_small

from federation.drift_summary import (
    Baseline,
    ConceptWatch,
    Distances,
    DriftFinding,
    ShareChart,
    SiteFlags,
    WatchPoint,
    WindowDrift,
)
from federation.evaluation_summary import (
    GapsInWindow,
)
from federation.score_summary import (
    SiteDisparities,
)
from federation.summary import (
    Disparity,
    Estimate,
)


def site_gaps(size: Size, scope: str, draws) -> Iterator[SiteDisparities]:
    for attribute in size.families:
        for metric in (
            "demographic_parity_difference",
            "equalized_odds_difference",
            "equal_opportunity_difference",
            "accuracy_difference",
        ):
            edges = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
            if size.suppressed:
                yield SiteDisparities(scope=scope, attribute=attribute, metric=metric, edges=edges,
                                      withheld="fewer than 3 sites")  # fmt: skip
                continue
            counts = draws.multinomial(SITES - 2, [0.1, 0.2, 0.3, 0.2, 0.15, 0.05]).tolist()
            yield SiteDisparities(
                scope=scope, attribute=attribute, metric=metric, sites=SITES - 1,
                not_estimable=1, edges=edges, counts=tuple(counts),
            )  # fmt: skip


def gaps_over_time(size: Size, draws) -> Iterator[GapsInWindow]:
    for window in ("2025", *size.names):
        for scope in size.scopes:
            gaps = []
            for attribute in size.families:
                for metric in (
                    "demographic_parity_difference",
                    "equalized_odds_difference",
                    "equal_opportunity_difference",
                    "accuracy_difference",
                ):
                    missing = size.withheld or size.suppressed
                    missing |= not size.is_binary and metric != "accuracy_difference"
                    value = None if missing else float(0.08 + 0.06 * draws.random())
                    reason = "fewer than two groups to compare" if missing else ""
                    estimate = Estimate(value=value, reason=reason)
                    gaps.append(Disparity(attribute=attribute, metric=metric, estimate=estimate))
            yield GapsInWindow(window=window, scope=scope, disparities=tuple(gaps))


def drift_of(size: Size, draws) -> Iterator[WindowDrift]:
    """Windows take turns with a few sets of findings: to draw all would take long."""
    drawn: dict[tuple[str, int, bool, int], tuple[DriftFinding, ...]] = {}
    for place, window in enumerate(size.names):
        for scope in size.scopes:
            baselines: list[Baseline] = ["reference"] + (["previous window"] if place else [])
            late = place >= 2 * size.windows // 3
            key = (scope, len(baselines), late, place % 5)
            if key not in drawn:
                drawn[key] = tuple(
                    finding
                    for against in baselines
                    for finding in _findings(size, draws, against, late=late)
                )
            verdicts = {finding.verdict for finding in drawn[key]}
            yield WindowDrift(
                scope=scope,
                window=window,
                reference="2025",
                previous=size.names[place - 1] if place else None,
                rows=9_000,
                sites=SITES - 1,
                noise_variance=size.noise,
                comparisons=len(drawn[key]),
                false_alarms=0.01,
                verdict="act" if "act" in verdicts else "watch" if "watch" in verdicts else "ok",
                findings=drawn[key],
            )


def _findings(size: Size, draws, against: Baseline, *, late: bool) -> Iterator[DriftFinding]:
    for place, name in enumerate((*size.feature_names, "scores")):
        yield _psi(size, draws, name, against, drifts=late and place % 10 == 0)
    for kind, subject, statistic in _changes(size):
        value = float(draws.normal(0, 0.011))
        size_ = abs(value)
        critical = 0.03
        small = size.withheld or draws.random() < 0.02
        big = size_ > 0.036 and not small
        yield DriftFinding(
            kind=kind,
            subject=subject,
            statistic=statistic,
            against=against,
            rows_before=9_000,
            rows_now=8_800,
            before=None if small else 0.3,
            now=None if small else 0.3 + value,
            value=None if small else value,
            critical=None if small else critical,
            watch=0.02,
            act=0.05,
            p_value=None if small else min(1.0, math.exp(-((size_ / 0.01) ** 2))),
            significant=big,
            verdict="window too small" if small else "watch" if big else "ok",
            reason="a window with fewer than 10 rows" if small else "",
        )


def _changes(size: Size) -> Iterator[tuple[str, str, str]]:
    yield "prediction", "overall", "change in positive rate"
    yield "label", "overall", "change in base rate"
    yield "concept", "overall", "change in error rate"
    yield "concept", "overall", "change in calibration in the large"
    for name in size.feature_names:
        yield "data quality", name, "change in missing share"
        yield "data quality", name, "change in above range share"
    for attribute, groups in size.families.items():
        for group in groups:
            for rate in ("selection rate", "true positive rate", "false positive rate"):
                yield "fairness", f"{attribute}={group}", f"change in {rate}"
        yield "fairness", attribute, "change in selection rate gap"


def _psi(size: Size, draws, name: str, against: Baseline, *, drifts: bool) -> DriftFinding:
    kind = "prediction" if name == "scores" else "covariate"
    marks = {"watch": 0.1, "act": 0.25, "rows_before": 9_000, "rows_now": 8_800}
    if size.withheld or draws.random() < 0.03:
        return DriftFinding(
            kind=kind, subject=name, statistic="psi", against=against, value=None, critical=None,
            p_value=None, significant=False, verdict="window too small",
            reason="too few rows for two bins", **marks,
        )  # fmt: skip
    value = float(draws.gamma(2.0, 0.1) if drifts else draws.gamma(1.0, 0.015))
    verdict = "act" if value > 0.25 else "watch" if value > 0.1 else "ok"
    before = draws.dirichlet(np.full(10, 8.0))
    now = before * (1 + value * draws.normal(size=10).clip(-2, 2))
    now = now.clip(0) / now.clip(0).sum()
    return DriftFinding(
        kind=kind, subject=name, statistic="psi", against=against, value=value, critical=0.06,
        p_value=min(1.0, math.exp(-50 * value)), significant=value > 0.06, verdict=verdict,
        chart=ShareChart(
            bins=tuple(f"{20 + 5 * k} to {25 + 5 * k}" for k in range(10)),
            before=tuple(before.tolist()), now=tuple(now.tolist()),
        ),
        distances=Distances(
            ks_low=0.03, ks_high=0.04, jensen_shannon=0.05, wasserstein=1.2,
            wasserstein_error=0.1, wasserstein_scaled=0.11, chi_square=31.2, chi_square_p=0.0003,
        ),
        **marks,
    )  # fmt: skip


def watches(size: Size, draws) -> Iterator[ConceptWatch]:
    subjects = [(scope, "overall") for scope in size.scopes]
    subjects += [
        ("overall", f"{attribute}={group}")
        for attribute, groups in size.families.items()
        for group in groups
        if not is_small(size, group)
    ]
    for scope, subject in subjects:
        points, cusum, drift = [], 0.0, 0.0
        for place, window in enumerate(size.names):
            rising = 0.25 if place > 0.7 * size.windows and subject == "overall" else 0.0
            cusum = max(0.0, cusum + float(draws.normal(-0.3 + 8 * rising, 1.0)))
            drift = max(0.0, drift + float(draws.normal(-1 + 30 * rising, 4.0)))
            limit, other = 6.5 + float(draws.normal(0, 0.2)), 40 + float(draws.normal(0, 1))
            empty = place == 1 and size.windows > 3
            alarm = not empty and (cusum > limit or drift > other)
            points.append(
                WatchPoint(
                    window=window,
                    rows=0 if empty else 900,
                    errors=0 if empty else 160,
                    cusum=cusum,
                    cusum_limit=None if empty else limit,
                    page_hinkley=drift,
                    page_hinkley_limit=None if empty else other,
                    alarm=alarm,
                )
            )
            if alarm:
                cusum = drift = 0.0
        yield ConceptWatch(
            scope=scope, subject=subject, reference_rows=9_000, reference_errors=1_600,
            windows_per_false_alarm=100, points=tuple(points),
        )  # fmt: skip


def flags(size: Size, draws) -> Iterator[SiteFlags]:
    levels = ("ok", "slight", "watch", "act", "window too small")
    for place, name in enumerate((*size.feature_names, "scores", "labels", "errors")):
        if size.suppressed:
            yield SiteFlags(
                subject=name, sites=2, by_level=None, text=f"{name}: fewer than 3 sites"
            )
            continue
        odds = [0.3, 0.2, 0.1, 0.3, 0.1] if place == 0 else [0.8, 0.1, 0.04, 0.02, 0.04]
        counts = draws.multinomial(SITES - 1, odds).tolist()
        told = [
            f"{n} of {SITES - 1} sites: {level}"
            for n, level in zip(counts, levels, strict=True)
            if n and level != "ok"
        ]
        yield SiteFlags(
            subject=name, sites=SITES - 1, by_level=dict(zip(levels, counts, strict=True)),
            text=f"{name}: {'; '.join(told) or f'{SITES - 1} of {SITES - 1} sites: ok'}",
        )  # fmt: skip
