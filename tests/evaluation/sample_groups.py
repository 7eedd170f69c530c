"""Groups of a sample: histograms of scores, and rates, gaps and curves that follow from them."""

from collections.abc import Iterator

import numpy as np
from sample_size import BINS, MINIMUM_CELL, RATES, Size, is_small, share

from evaluation.score_curves import auc, ks
from federation.score_summary import (
    BrierParts,
    GroupScores,
    ReliabilityBin,
    RocPoint,
)
from federation.summary import (
    Disparity,
    Estimate,
    Fairness,
    GapVariant,
    GroupComparison,
    GroupRates,
)


def histogram(draws: np.random.Generator, groups: int, place: int):
    """Rows per label and score bin; later groups are smaller and are scored lower."""
    rows = max(60, int(9_000 / groups / (1 + place / 2)))
    positives = int(draws.binomial(rows, 0.25 + 0.2 * draws.random()))
    edges = np.linspace(0, 1, BINS + 1)
    low = draws.beta(2, 4 + place % 3, rows - positives)
    high = draws.beta(4, 2 + (place % 3) / 2, positives)
    return np.stack([np.histogram(side, edges)[0] for side in (low, high)])


def confusion_of(scores):
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
    tn, fp, fn, tp = confusion_of(scores).tolist()
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


def fairness_of(size: Size, scope: str, histograms) -> Fairness:
    groups, gaps, comparisons = [], [], []
    for attribute, names in size.families.items():
        shown = []
        for name in names:
            scores = histograms[attribute, name]
            if is_small(size, name):
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


def scores_of(size: Size, histograms) -> Iterator[GroupScores]:
    if not size.is_binary:
        for name in size.classes:
            yield _group_scores("class", name, next(iter(histograms.values())))
        return
    if histograms:
        everyone = np.sum(list(histograms.values()), axis=0)
        yield _group_scores("overall", "overall", everyone)
    for (attribute, group), scores in histograms.items():
        if is_small(size, group):
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
