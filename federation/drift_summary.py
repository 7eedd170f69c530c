"""What is known of a new data window of a model in use: drift, its alarms, and what follows.

Every number is a function of sums over sites; no charted bin and no named count is of 1 to
`minimum_cell - 1` rows.
"""

from typing import Literal

from federation.summary import Part

Verdict = Literal["ok", "watch", "act", "window too small"]
Kind = Literal["covariate", "prediction", "label", "concept", "data quality", "fairness"]
Baseline = Literal["reference", "previous window"]


class ShareChart(Part):
    """Shares of both windows in at most 12 bins; a row stands in exactly one."""

    bins: tuple[str, ...]
    before: tuple[float, ...]
    now: tuple[float, ...]


class Distances(Part):
    """Other distances of the same two histograms, for the record: the verdict is the PSI's.

    Attributes:
        ks_low: the rows' Kolmogorov-Smirnov distance is at least this; None for levels.
        ks_high: and at most this.
        jensen_shannon: distance in [0, 1], base 2.
        wasserstein: of rows moved into the public range, in the feature's unit; None for levels.
        wasserstein_error: the rows' own differs by at most this.
        wasserstein_scaled: over the standard deviation of the earlier window; None if that is 0.
        chi_square: Pearson's two-sample statistic on the tested bins.
        chi_square_p: its chance, for this comparison alone.
    """

    ks_low: float | None
    ks_high: float | None
    jensen_shannon: float
    wasserstein: float | None
    wasserstein_error: float | None
    wasserstein_scaled: float | None
    chi_square: float
    chi_square_p: float


class DriftFinding(Part):
    """One comparison of the window with an earlier one.

    Attributes:
        kind: what may have changed.
        subject: a feature, `scores`, `overall`, a group's label, or an attribute.
        statistic: what `value` is, for instance `psi` or `change in missing share`.
        against: the frozen reference, or the window before this one.
        rows_before: what was compared, of the earlier window: rows, positives or negatives.
        rows_now: likewise, of this window.
        before: the share or rate in the earlier window; None for a PSI, and where it is of fewer
            rows than the minimum cell.
        now: likewise, of this window.
        value: of the statistic; where a count is below the minimum cell, the smallest that it
            could be. None if there is nothing to compare.
        critical: what `value` exceeds in size by chance, with all comparisons of the window
            together, as often as the contract allows.
        watch: size from which a change matters.
        act: size from which it matters much.
        p_value: of the comparison, adjusted for all comparisons of the window (Holm).
        significant: whether the change is beyond chance.
        verdict: `watch` and `act` need size and significance.
        reason: why there is no value or no verdict; empty if there are both.
    """

    kind: Kind
    subject: str
    statistic: str
    against: Baseline
    rows_before: int
    rows_now: int
    before: float | None = None
    now: float | None = None
    value: float | None
    critical: float | None
    watch: float
    act: float
    p_value: float | None
    significant: bool
    verdict: Verdict
    reason: str = ""
    chart: ShareChart | None = None
    distances: Distances | None = None


class WindowDrift(Part):
    """One window of one scope.

    Attributes:
        scope: `overall`, a cohort's name, or the site's own name in its local report.
        window: name of the window.
        reference: name of the frozen reference.
        previous: name of the window before, if it was compared with.
        rows: in the window.
        sites: that contributed.
        noise_variance: of the noise in each count, 0 for exact sums.
        comparisons: that were made.
        false_alarms: chance that any of them is called significant when nothing has changed.
        verdict: the worst of the findings that have one.
    """

    scope: str
    window: str
    reference: str
    previous: str | None
    rows: int
    sites: int
    noise_variance: float
    comparisons: int
    false_alarms: float
    verdict: Verdict
    findings: tuple[DriftFinding, ...]


class WatchPoint(Part):
    """What a detector said of one window; `alarm` if a statistic passed its limit.

    An empty window has no limit.
    """

    window: str
    rows: int
    errors: int
    cusum: float
    cusum_limit: float | None
    page_hinkley: float
    page_hinkley_limit: float | None
    alarm: bool


class ConceptWatch(Part):
    """Error counts of a scope or group followed from window to window.

    Attributes:
        subject: `overall` or a group's label.
        reference_rows: of the reference.
        reference_errors: among them.
        windows_per_false_alarm: the contract.
    """

    scope: str
    subject: str
    reference_rows: int
    reference_errors: int
    windows_per_false_alarm: float
    points: tuple[WatchPoint, ...]


class SiteFlags(Part):
    """How many sites saw what in their own rows; never which.

    Attributes:
        subject: a feature, `scores`, `labels`, `errors` or `errors_cusum`.
        sites: that contributed.
        by_level: sites per level; None if fewer contributed than the minimum.
        text: the same in words.
    """

    subject: str
    sites: int
    by_level: dict[str, int] | None
    text: str


class FoundCohort(Part):
    """A cluster of sites whose rows are alike; the sites know that they are in it, nobody else."""

    name: str
    sites: int
    rows: int


class Recommendation(Part):
    """What to do about the model, and why."""

    action: Literal["none", "watch", "investigate", "retrain"]
    reasons: tuple[str, ...]
