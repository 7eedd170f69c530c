"""Pieces of a report about scores: curves and calibration per group, and gaps site by site."""

from federation.summary import Estimate, Part


class ReliabilityBin(Part):
    """Rows whose scores are alike, and how often the positive class occurred among them.

    Attributes:
        low: least score of the bin.
        high: score that the bin ends before; 1 belongs to the last bin.
        rows: number of rows.
        mean_score: exact but for 5e-7; None if there are no rows.
        observed: share of positives, with its Wilson 95 % interval.
    """

    low: float
    high: float
    rows: int
    mean_score: float | None
    observed: Estimate


class RocPoint(Part):
    """What happens if scores from a threshold on are called positive.

    Attributes:
        threshold: least score that is; None: no score is.
        false_positive_rate: share of the negatives that are called positive.
        true_positive_rate: share of the positives that are.
    """

    threshold: float | None
    false_positive_rate: float
    true_positive_rate: float


class BrierParts(Part):
    """Murphy's parts of the Brier score: `reliability - resolution + uncertainty + within_bins`.

    Attributes:
        reliability: squared distance of mean score and base rate per bin; 0 is best.
        resolution: squared distance of a bin's base rate from the group's; large is best.
        uncertainty: of always quoting the base rate.
        within_bins: what scores within a bin add or take by differing from one another.
    """

    reliability: float
    resolution: float
    uncertainty: float
    within_bins: float


class GroupScores(Part):
    """One group's scores against its outcomes, or why nothing is said of them.

    Attributes:
        attribute: whose group it is, `overall`, or `class` (one class against the rest).
        group: which.
        combines: the groups that this one takes together because they cannot be shown apart; it
            has no curves then.
        rows: number of rows; 0 if it is not told.
        positives: number of positives; None if it is not told.
        auc: with bounds that hold for certain for these rows.
        auc_sampling: with the interval of sampling such rows (DeLong).
        ks: largest distance of the score distributions of positives and negatives.
        brier: mean squared distance of score and outcome.
        brier_parts: what it consists of.
        ece: expected calibration error on the agreed bins.
        calibration_in_the_large: mean score less base rate; above 0, risk is overstated.
        reliability: from low scores to high, neighbours joined until no count is small.
        roc: from the highest threshold to the lowest; empty where a class does not occur.
        suppressed: whether it is withheld.
        reason: why.
    """

    attribute: str
    group: str
    combines: tuple[str, ...] = ()
    rows: int = 0
    positives: int | None = None
    auc: Estimate | None = None
    auc_sampling: Estimate | None = None
    ks: Estimate | None = None
    brier: float | None = None
    brier_parts: BrierParts | None = None
    ece: float | None = None
    calibration_in_the_large: Estimate | None = None
    reliability: tuple[ReliabilityBin, ...] = ()
    roc: tuple[RocPoint, ...] = ()
    suppressed: bool = False
    reason: str = ""


class SiteDisparities(Part):
    """How many sites have a gap of which size on their own held-out rows.

    Attributes:
        scope: `overall` or a cohort's name.
        attribute: whose groups are compared.
        metric: fairlearn's name.
        sites: in the sum; 0 if withheld.
        not_estimable: of them, those with too few rows to tell.
        edges: of the buckets; each is closed below, the last one above too.
        counts: sites per bucket; empty if withheld.
        withheld: why nothing is shown; empty otherwise.
    """

    scope: str
    attribute: str
    metric: str
    sites: int = 0
    not_estimable: int = 0
    edges: tuple[float, ...]
    counts: tuple[int, ...] = ()
    withheld: str = ""
