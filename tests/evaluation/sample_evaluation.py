"""Valid evaluation summaries of any size, with plausible numbers drawn from a seed."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.mitigation.threshold_table import threshold_table
from evaluation.mitigation.thresholds import threshold_outcomes
from evaluation.score_curves import auc, ks
from evaluation.uncertainty import wilson_interval
from federation.alert import Alert
from federation.audit_summary import (
    AuditSummary,
    Cell,
    FeatureQuality,
    GroupLabels,
    LabelNoiseSum,
    LabelSkew,
    OverlapSites,
)
from federation.drift_summary import (
    Baseline,
    ConceptWatch,
    Distances,
    DriftFinding,
    Recommendation,
    ShareChart,
    SiteFlags,
    WatchPoint,
    WindowDrift,
)
from federation.evaluation_summary import (
    EvaluationSummary,
    Explorer,
    GapsInWindow,
    Hashes,
    Marks,
    Subject,
    Tile,
    Window,
)
from federation.privacy_impact import GapImpact, GroupImpact, ImpactPoint, PrivacyImpact
from federation.score_summary import (
    BrierParts,
    GroupScores,
    ReliabilityBin,
    RocPoint,
    SiteDisparities,
)
from federation.summary import (
    Disparity,
    Estimate,
    Fairness,
    GapVariant,
    GroupComparison,
    GroupRates,
    Utility,
)

BINS = 100
RATES = ("selection_rate", "true_positive_rate", "false_positive_rate", "precision", "accuracy")
SITES, MINIMUM_CELL = 10, 10
SINGLE = {
    "sex": ("female", "male"),
    "race": ("Asian", "Black", "Native", "Other", "Pacific", "White"),
    "age": ("under 30", "30 to 49", "50 to 64", "65 and over"),
}


@dataclass(frozen=True)
class Size:
    """How much there is of everything.

    Attributes:
        families: groups per attribute or intersection.
        withheld: estimates that have no value, all of them.
    """

    families: dict[str, tuple[str, ...]]
    features: int = 6
    windows: int = 3
    cohorts: int = 1
    classes: tuple[str, ...] = ("no disease", "disease")
    suppressed: bool = False
    withheld: bool = False
    noise: float = 0.0
    extras: bool = True
    seed: int = 1

    @property
    def scopes(self) -> tuple[str, ...]:
        return ("overall", *(f"region {k + 1}" for k in range(self.cohorts)))

    @property
    def is_binary(self) -> bool:
        return len(self.classes) == 2

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"2026-w{k + 1:02d}" for k in range(self.windows))

    @property
    def feature_names(self) -> tuple[str, ...]:
        known = ("age", "cholesterol", "resting_blood_pressure", "chest_pain", "oldpeak", "thal")
        return (*known, *(f"laboratory_value_{k}" for k in range(6, self.features)))[
            : self.features
        ]


def families(groups: int) -> dict[str, tuple[str, ...]]:
    """Attributes with as many groups in all; 72 are three attributes and two intersections."""
    if groups <= 2:
        return {"sex": SINGLE["sex"][:groups]} if groups else {}
    found = dict(SINGLE)
    found["sex & age"] = combined("sex", "age")
    if groups == 72:
        del found["sex & age"]
        found["sex & race"] = combined("sex", "race")
        found["sex & race & age"] = tuple(
            f"{first} & {second}" for first in combined("sex", "race") for second in SINGLE["age"]
        )
    elif groups == 40:
        found["country"] = tuple(f"country {k}" for k in range(1, 21))
    total = sum(map(len, found.values()))
    assert total == groups, f"{total} groups, not {groups}"
    return found


def combined(first: str, second: str) -> tuple[str, ...]:
    return tuple(f"{a} & {b}" for a in SINGLE[first] for b in SINGLE[second])


def sample(size: Size) -> EvaluationSummary:
    """A whole summary."""
    draws = np.random.default_rng(size.seed)
    fairness, scores, explorer, mitigation = [], {}, [], []
    for scope in size.scopes:
        histograms = {
            (attribute, group): _histogram(draws, len(groups), place)
            for attribute, groups in size.families.items()
            for place, group in enumerate(groups)
        }
        fairness.append(_fairness(size, scope, histograms))
        scores[scope] = tuple(_scores(size, histograms))
        for attribute, groups in size.families.items() if scope == "overall" else ():
            shown = {g: histograms[attribute, g] for g in groups if not _is_small(size, g)}
            if not shown or not size.is_binary:
                continue
            total = np.sum(list(shown.values()), axis=0)
            explorer.append(Explorer(attribute=attribute, rows=threshold_table(shown, total)))
            if len(shown) > 1:
                tables = {name: _confusion(one) for name, one in shown.items()}
                mitigation += threshold_outcomes(shown, tables, attribute)
    drift = tuple(_drift(size, draws))
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
        site_disparities={s: tuple(_site_gaps(size, s, draws)) for s in size.scopes},
        gaps=tuple(_gaps_over_time(size, draws)),
        drift=drift,
        concept=tuple(_watches(size, draws)),
        site_flags=tuple(_flags(size, draws)),
        named_sites={"site 4": {"age": "act", "cholesterol": "ok", "errors": "watch"}}
        if size.extras
        else {},
        explorer=tuple(explorer),
        mitigation=tuple(mitigation),
        audit=_audit(size, draws) if size.extras else None,
        privacy_impact=_impact(size, draws) if size.extras and size.families else None,
        hashes=Hashes(
            spec_sha256="0a1b" * 16,
            reference_sha256="2c3d" * 16,
            edges_sha256="4e5f" * 16,
            config_sha256="9f2c" * 16,
            hedgerow="0.4.0",
        ),
        notes=("the set of sites changed between windows",),
    )


def share(part: float, whole: float, reason: str = "fewer than 10 rows in the denominator"):
    if whole < MINIMUM_CELL:
        return Estimate(value=None, reason=reason)
    low, high = wilson_interval(round(part), round(whole))
    return Estimate(value=part / whole, low=low, high=high)


def _is_small(size: Size, group: str) -> bool:
    return size.suppressed or group.startswith("male & Pacific")


def _histogram(draws: np.random.Generator, groups: int, place: int):
    """Rows per label and score bin; later groups are smaller and are scored lower."""
    rows = max(60, int(9_000 / groups / (1 + place / 2)))
    positives = int(draws.binomial(rows, 0.25 + 0.2 * draws.random()))
    edges = np.linspace(0, 1, BINS + 1)
    low = draws.beta(2, 4 + place % 3, rows - positives)
    high = draws.beta(4, 2 + (place % 3) / 2, positives)
    return np.stack([np.histogram(side, edges)[0] for side in (low, high)])


def _confusion(scores):
    half = BINS // 2
    return np.array(
        [
            scores[0, :half].sum(),
            scores[0, half:].sum(),
            scores[1, :half].sum(),
            scores[1, half:].sum(),
        ]
    )


def _rates(size: Size, scores) -> dict[str, Estimate | None]:
    tn, fp, fn, tp = _confusion(scores).tolist()
    rows = tn + fp + fn + tp
    if size.withheld:
        names = (*RATES, "auc", "balanced_accuracy", "f1")
        return dict.fromkeys(names, Estimate(value=None, reason="not estimable"))
    accuracy = share(tn + tp, rows)
    if not size.is_binary:
        return {"accuracy": accuracy}
    tpr, fpr = share(tp, fn + tp), share(fp, fp + tn)
    found = auc(scores)
    balanced = (tp / (tp + fn) + tn / (tn + fp)) / 2
    f1 = 2 * tp / (2 * tp + fp + fn)
    return {
        "selection_rate": share(fp + tp, rows),
        "true_positive_rate": tpr,
        "false_positive_rate": fpr,
        "true_negative_rate": share(tn, fp + tn),
        "false_negative_rate": share(fn, fn + tp),
        "precision": share(tp, tp + fp, "fewer than 10 rows predicted positive"),
        "accuracy": accuracy,
        "balanced_accuracy": Estimate(value=balanced, low=balanced - 0.03, high=balanced + 0.03),
        "f1": Estimate(value=f1, low=max(0, f1 - 0.04), high=f1 + 0.04),
        "auc": Estimate(value=found.value, low=found.low, high=found.high, kind="exact_bounds"),
    }


def _fairness(size: Size, scope: str, histograms) -> Fairness:
    groups, gaps, comparisons = [], [], []
    for attribute, names in size.families.items():
        shown = []
        for name in names:
            scores = histograms[attribute, name]
            if _is_small(size, name):
                reason = f"fewer than {MINIMUM_CELL} rows"
                groups.append(
                    GroupRates(
                        attribute=attribute,
                        group=name,
                        rows=0,
                        positives=None,
                        suppressed=True,
                        reason=reason,
                    )
                )
                continue
            rates = _rates(size, scores)
            shown.append((name, rates, scores))
            groups.append(
                GroupRates(
                    attribute=attribute,
                    group=name,
                    rows=int(scores.sum()),
                    positives=int(scores[1].sum()) if size.is_binary else None,
                    **rates,
                )
            )
        gaps += _gaps(size, attribute, shown)
        comparisons += _comparisons(size, attribute, shown)
    return Fairness(
        scope=scope,
        groups=tuple(groups),
        disparities=tuple(gaps),
        comparisons=tuple(comparisons),
    )


GAPS = {
    "demographic_parity": ("selection_rate",),
    "equalized_odds": ("true_positive_rate", "false_positive_rate"),
    "equal_opportunity": ("true_positive_rate",),
    "accuracy": ("accuracy",),
    "precision": ("precision",),
}


def _gaps(size: Size, attribute: str, shown) -> Iterator[Disparity]:
    for name, rates in GAPS.items():
        if not size.is_binary and name != "accuracy":
            continue
        for kind in ("difference", "ratio"):
            metric = f"{name}_{kind}"
            spread = []
            for rate in rates:
                known = [(one[rate].value, group) for group, one, _ in shown]
                known = [pair for pair in known if pair[0] is not None]
                if len(known) > 1:
                    low, high = min(known), max(known)
                    spread.append(
                        (
                            high[0] - low[0] if kind == "difference" else low[0] / high[0],
                            (low[1], high[1]),
                        )
                    )
            if not spread:
                reason = "fewer than two groups with enough rows to be shown"
                yield Disparity(
                    attribute=attribute,
                    metric=metric,
                    estimate=Estimate(value=None, reason=reason),
                )
                continue
            value, between = (max if kind == "difference" else min)(spread)
            estimate = Estimate(
                value=value, low=max(0.0, value - 0.05), high=min(1.0, value + 0.05)
            )
            by_chance, chance_95 = (0.02, 0.05) if kind == "difference" else (0.97, 0.9)
            yield Disparity(
                attribute=attribute,
                metric=metric,
                estimate=estimate,
                null_expectation=by_chance,
                null_95=chance_95,
                between=between,
                p_value=0.0004 if value > 0.1 else 0.31,
                significant=value > 0.1,
                variants=(
                    GapVariant(method="to_overall", aggregate="worst_case", estimate=estimate,
                               null_expectation=0.01, null_95=0.04),
                ),
            )  # fmt: skip


def _comparisons(size: Size, attribute: str, shown) -> Iterator[GroupComparison]:
    for place, (name, rates, _) in enumerate(shown[:1] if len(shown) == 2 else shown):
        for rate in RATES if size.is_binary and not size.withheld else ():
            value = rates[rate].value
            if value is None or len(shown) < 2:
                continue
            rest = np.mean([r[rate].value or 0 for g, r, _ in shown if g != name])
            difference = float(value - rest)
            p_value = float(np.exp(-60 * abs(difference)))
            yield GroupComparison(
                attribute=attribute,
                group=name,
                metric=rate,
                difference=difference,
                low=difference - 0.04,
                high=difference + 0.04,
                p_value=p_value,
                p_adjusted=min(1.0, p_value * (place + 3)),
                significant=p_value * (place + 3) <= 0.05,
            )


def _scores(size: Size, histograms) -> Iterator[GroupScores]:
    if not size.is_binary:
        for name in size.classes:
            yield _group_scores("class", name, next(iter(histograms.values())))
        return
    if histograms:
        everyone = np.sum(list(histograms.values()), axis=0)
        yield _group_scores("overall", "overall", everyone)
    for (attribute, group), scores in histograms.items():
        if _is_small(size, group):
            reason = f"fewer than {MINIMUM_CELL} rows"
            yield GroupScores(attribute=attribute, group=group, suppressed=True, reason=reason)
        elif size.withheld:
            nothing = Estimate(value=None, reason="not every class occurs")
            yield GroupScores(
                attribute=attribute, group=group, rows=int(scores.sum()), positives=0,
                auc=nothing, auc_sampling=nothing, ks=nothing, calibration_in_the_large=nothing,
            )  # fmt: skip
        else:
            yield _group_scores(attribute, group, scores)


def _group_scores(attribute: str, group: str, scores) -> GroupScores:
    rows, positives = int(scores.sum()), int(scores[1].sum())
    middles = (np.arange(BINS) + 0.5) / BINS
    found, distance = auc(scores), ks(scores)
    bins = []
    for start in range(0, BINS, 10):
        part = scores[:, start : start + 10]
        count = int(part.sum())
        mean = (
            float((part.sum(axis=0) * middles[start : start + 10]).sum() / count) if count else None
        )
        observed = share(part[1].sum(), count) if count >= MINIMUM_CELL else Estimate(
            value=None, reason="no rows"
        )  # fmt: skip
        bins.append(
            ReliabilityBin(low=start / BINS, high=start / BINS + 0.1, rows=count,
                           mean_score=mean, observed=observed)
        )  # fmt: skip
    cuts = [BINS, *range(98, 0, -2), 0]
    roc = tuple(
        RocPoint(
            threshold=None if cut == BINS else cut / BINS,
            false_positive_rate=float(scores[0, cut:].sum() / scores[0].sum()),
            true_positive_rate=float(scores[1, cut:].sum() / scores[1].sum()),
        )
        for cut in cuts
    )
    offset = float((scores.sum(axis=0) * middles).sum() / rows - positives / rows)
    return GroupScores(
        attribute=attribute,
        group=group,
        rows=rows,
        positives=positives,
        auc=Estimate(value=found.value, low=found.low, high=found.high, kind="exact_bounds"),
        auc_sampling=Estimate(value=found.value, low=found.value - 0.02, high=found.value + 0.02),
        ks=Estimate(value=distance.low, low=distance.low, high=distance.high, kind="exact_bounds"),
        brier=0.168,
        brier_parts=BrierParts(
            reliability=0.004, resolution=0.061, uncertainty=0.224, within_bins=0.001
        ),
        ece=0.041,
        calibration_in_the_large=Estimate(value=offset, low=offset - 0.015, high=offset + 0.015),
        reliability=tuple(bins),
        roc=roc,
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


def _site_gaps(size: Size, scope: str, draws) -> Iterator[SiteDisparities]:
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


def _gaps_over_time(size: Size, draws) -> Iterator[GapsInWindow]:
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


def _drift(size: Size, draws) -> Iterator[WindowDrift]:
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


def _watches(size: Size, draws) -> Iterator[ConceptWatch]:
    subjects = [(scope, "overall") for scope in size.scopes]
    subjects += [
        ("overall", f"{attribute}={group}")
        for attribute, groups in size.families.items()
        for group in groups
        if not _is_small(size, group)
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


def _flags(size: Size, draws) -> Iterator[SiteFlags]:
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


def _audit(size: Size, draws) -> AuditSummary:
    hidden = Cell(rows=None, withheld="small cell")
    classes = len(size.classes)
    return AuditSummary(
        sites=SITES - 1,
        counted="held-out rows",
        minimum_cell=MINIMUM_CELL,
        classes=size.classes,
        rows=Cell(rows=9_000),
        labels=None if size.suppressed else tuple([9_000 // classes] * classes),
        majority_accuracy=None if size.suppressed else 0.62,
        features=tuple(
            FeatureQuality(
                name=name,
                missing=hidden if place == 2 else Cell(rows=int(draws.integers(0, 300))),
                missing_by_label=None if place == 2 else (12, 40),
                below=Cell(rows=0),
                above=Cell(rows=11),
                other=Cell(rows=0),
                auc=0.97 if place == 1 else 0.6 + 0.2 * float(draws.random()),
                information_value=4.2 if place == 1 else 0.3,
                leak_label=size.classes[-1],
                leak="red" if place == 1 else "none",
                sites_constant=int(place == 3),
                sites_red=4 if place == 1 else 0,
            )
            for place, name in enumerate(size.feature_names)
        ),
        repeated=Cell(rows=24),
        repeated_with_label=hidden,
        conflicting_rows=Cell(rows=31),
        groups=tuple(
            GroupLabels(
                attribute=attribute,
                group=group,
                labels=None if _is_small(size, group) else tuple([300] * classes),
            )
            for attribute, groups in size.families.items()
            if "&" not in attribute
            for group in groups
        ),
        label_skew=(
            LabelSkew(label=size.classes[-1], sites=(0, 1, 2, 3, 2, 1, 0, 0, 0, 0),
                      sites_without_rows=0),
        ),
        sites_lacking_a_class=1,
        overlap=OverlapSites(none=7, below_1_percent=1, below_5_percent=1, more=0),
        label_noise=LabelNoiseSum(joint=((4_000, 210), (260, 4_530)), share=0.052)
        if size.is_binary
        else LabelNoiseSum(joint=None, share=None, withheld="small cell"),
    )  # fmt: skip


def _impact(size: Size, draws) -> PrivacyImpact:
    points = []
    for place, epsilon in enumerate((None, 8.0, 4.0, 2.0, 1.0)):
        groups = []
        for attribute, names in size.families.items():
            for at, name in enumerate(names):
                value = 0.84 - 0.012 * place * (1 + at / len(names)) + 0.01 * float(draws.random())
                known = Estimate(value=value, low=value - 0.01, high=value + 0.01)
                missing = Estimate(value=None, reason="fewer than 10 rows")
                groups.append(
                    GroupImpact(
                        attribute=attribute,
                        group=name,
                        rows=400,
                        accuracy=missing if _is_small(size, name) else known,
                        true_positive_rate=known if size.is_binary else None,
                    )
                )
        value = 0.84 - 0.01 * place
        points.append(
            ImpactPoint(
                epsilon=epsilon,
                accuracy=Estimate(value=value, low=value - 0.005, high=value + 0.005),
                groups=tuple(groups),
                gaps=tuple(
                    GapImpact(
                        attribute=attribute,
                        metric="accuracy_difference",
                        value=Estimate(value=0.05 + 0.01 * place, low=0.04, high=0.12),
                    )
                    for attribute in size.families
                ),
            )
        )
    return PrivacyImpact(seeds=(1, 2, 3), rounds=20, points=tuple(points))


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
