"""What federation bought and what privacy cost, as sentences computed from the yardsticks.

Two models are called level when their scores differ by less than `LEVEL`; the sentences say so
instead of reading meaning into a third decimal.
"""

from dataclasses import dataclass
from typing import Literal

from federation.report_page.number_text import difference, listing, rate
from federation.summary import Baseline, Estimate, Summary, Utility

LEVEL = 0.01
"""Scores closer than this are level. With 1,000 held-out rows, chance alone moves an AUC more."""

LOOSE = 0.2
"""Bounds of an AUC this far apart leave nothing to compare: the scores crowd into a few bins."""

Metric = Literal["AUC", "accuracy"]

ALONE = "alone: "
MAJORITY = "majority class"
CENTRALIZED = "centralized"
CENTRALIZED_WITH_DP = "centralized with the same DP"
FEDERATED = "federated"


@dataclass(frozen=True, slots=True)
class SiteGain:
    """One site's choice: train alone or join, both judged on the site's own held-out rows.

    Attributes:
        site: name of the site.
        rows: its held-out rows.
        alone: score of the model it trained alone.
        federated: score of the federated model.
        gain: federated - alone; None when either has no value.
        margin: half the width of the interval of an accuracy on so few rows, if it is known.
    """

    site: str
    rows: int
    alone: Estimate
    federated: Estimate
    gain: float | None
    margin: float | None

    @property
    def is_clear(self) -> bool:
        """Whether the gain, or loss, is more than chance among so few rows may be."""
        return self.gain is not None and abs(self.gain) > max(self.margin or 0.0, LEVEL)

    @property
    def is_level_or_worse(self) -> bool:
        """Whether the site would do as well, or better, alone."""
        return self.is_level or self.is_worse

    @property
    def is_better(self) -> bool:
        """Whether the site does better with the federated model."""
        return self.gain is not None and self.gain >= LEVEL

    @property
    def is_level(self) -> bool:
        """Whether the site would do as well alone."""
        return self.gain is not None and abs(self.gain) < LEVEL

    @property
    def is_worse(self) -> bool:
        """Whether the site would do better alone."""
        return self.gain is not None and self.gain <= -LEVEL


def final_utility(summary: Summary) -> Utility | None:
    """Utility of the whole federation's model after the last evaluated round, if any."""
    if not summary.utility:
        return None
    return max(summary.utility, key=lambda point: point.after_round).overall


def yardsticks(summary: Summary) -> tuple[Baseline, ...]:
    """The baselines and, last, the federated model on the same rows."""
    final = final_utility(summary)
    others = tuple(one for one in summary.baselines if one.name != FEDERATED)
    recorded = tuple(one for one in summary.baselines if one.name == FEDERATED)
    if recorded or final is None:
        return others + recorded
    description = "the model of this run, after its last evaluated round"
    federated = Baseline(
        name=FEDERATED, description=description, simulation_only=False, utility=final
    )
    return (*others, federated)


def named(summary: Summary, name: str) -> Utility | None:
    """Utility of one yardstick; None if it was not measured."""
    found = [one.utility for one in yardsticks(summary) if one.name == name]
    return found[0] if found else None


def score(utility: Utility, metric: Metric) -> Estimate:
    """AUC or accuracy of a utility."""
    return utility.auc if metric == "AUC" else utility.accuracy


def metric_for(utilities: tuple[Utility, ...]) -> Metric:
    """AUC if every utility has one within bounds closer than `LOOSE`, else accuracy.

    AUC comes first because, unlike accuracy, it does not reward guessing the frequent class.
    """
    return "AUC" if all(_is_determined(one.auc) for one in utilities) else "accuracy"


def overall_metric(summary: Summary) -> Metric:
    """The metric in which all trained yardsticks can be compared."""
    trained = tuple(one.utility for one in yardsticks(summary) if one.name != MAJORITY)
    return metric_for(trained)


def own_rows_metric(summary: Summary) -> Metric:
    """The metric in which every site can compare training alone with joining."""
    pairs = (
        pair
        for one in summary.baselines
        for pair in (one.on_own_rows, one.federated_on_own_rows)
        if pair is not None
    )
    return metric_for(tuple(pairs))


def site_gains(summary: Summary) -> tuple[SiteGain, ...]:
    """Per site that trained alone as a yardstick: what joining gained on its own rows."""
    metric = own_rows_metric(summary)
    return tuple(
        _gain(one.name.removeprefix(ALONE), one.on_own_rows, one.federated_on_own_rows, metric)
        for one in summary.baselines
        if one.on_own_rows is not None and one.federated_on_own_rows is not None
    )


def sentences(summary: Summary) -> tuple[str, ...]:
    """What the yardsticks say, in at most four sentences; none without yardsticks."""
    found = (
        _against_alone(site_gains(summary), own_rows_metric(summary)),
        _against_centralized(summary),
        _price_of_privacy(summary),
        _resolution(summary),
    )
    return tuple(sentence for sentence in found if sentence)


def _is_determined(auc: Estimate) -> bool:
    if auc.value is None:
        return False
    bounded = auc.kind == "exact_bounds" and auc.low is not None and auc.high is not None
    return not bounded or (auc.high or 0.0) - (auc.low or 0.0) < LOOSE


def _gain(site: str, alone: Utility, federated: Utility, metric: Metric) -> SiteGain:
    own, joint = score(alone, metric), score(federated, metric)
    gain = None if own.value is None or joint.value is None else joint.value - own.value
    return SiteGain(site, alone.rows, own, joint, gain, _half_width(alone))


def _against_alone(gains: tuple[SiteGain, ...], metric: Metric) -> str:
    changes = [one.gain for one in gains if one.gain is not None]
    if not changes:
        return ""
    better = tuple(one for one in gains if one.is_better)
    level = tuple(one.site for one in gains if one.is_level)
    worse = tuple(one for one in gains if one.is_worse)
    text = (
        f"Judged on each site's own held-out rows, the federated model scores higher than the "
        f"model that the site trained alone at {len(better)} of {len(changes)} sites "
        f"({metric} {difference(min(changes))} to {difference(max(changes))})"
    )
    text += f"{_clear(better)}." if better else "."
    if level:
        text += f" At {listing(level)} training alone is as good."
    if worse:
        text += f" At {listing(tuple(one.site for one in worse))} training alone scores higher"
        text += f"{_clear(worse)}."
    return text


def _clear(gains: tuple[SiteGain, ...]) -> str:
    """At which of some sites the difference is more than the margin of their rows."""
    clear = tuple(one.site for one in gains if one.is_clear)
    if len(clear) == len(gains):
        return ", by more than chance among so few rows"
    if not clear:
        return ", but by no more than chance among so few rows"
    return f", by more than chance among so few rows at {listing(clear)}"


def _against_centralized(summary: Summary) -> str:
    metric = overall_metric(summary)
    pooled, federated = _value(summary, CENTRALIZED, metric), _value(summary, FEDERATED, metric)
    if pooled is None or federated is None:
        return ""
    gap = pooled - federated
    opening = f"Pooling all rows in one place and training without privacy gives {metric} "
    if abs(gap) < LEVEL:
        return f"{opening}{rate(pooled)}; the federated model is level with it ({rate(federated)})."
    direction = "less" if gap > 0 else "more"
    return f"{opening}{rate(pooled)}; the federated model reaches {rate(abs(gap))} {direction}."


def _price_of_privacy(summary: Summary) -> str:
    if summary.privacy.mode == "off":
        return ""
    metric = overall_metric(summary)
    pooled = _value(summary, CENTRALIZED, metric)
    private = _value(summary, CENTRALIZED_WITH_DP, metric)
    federated = _value(summary, FEDERATED, metric)
    if pooled is None or private is None or federated is None:
        return ""
    return (
        f"The same differential privacy on pooled rows changes {metric} by "
        f"{difference(private - pooled)}: the price of privacy; keeping the rows apart changes it "
        f"by a further {difference(federated - private)}."
    )


def _resolution(summary: Summary) -> str:
    """How small a difference the held-out rows can show at all."""
    final = named(summary, FEDERATED)
    if final is None or not summary.baselines or _half_width(final) is None:
        return ""
    text = (
        f"With {final.rows:,} held-out rows an accuracy is known to about "
        f"±{rate(_half_width(final), 2)}"
    )
    own = [one.on_own_rows for one in summary.baselines if one.on_own_rows is not None]
    widths = [width for width in map(_half_width, own) if width is not None]
    if widths:
        text += f", on one site's own rows to ±{rate(max(widths), 2)} at the smallest site"
    return f"{text}; read smaller differences as ties."


def _half_width(utility: Utility) -> float | None:
    low, high = utility.accuracy.low, utility.accuracy.high
    return None if low is None or high is None else (high - low) / 2


def _value(summary: Summary, name: str, metric: Metric) -> float | None:
    utility = named(summary, name)
    return None if utility is None else score(utility, metric).value
