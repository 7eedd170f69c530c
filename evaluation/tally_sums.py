"""What a sum of tallies says: its segments by meaning, as whole numbers, checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from evaluation.group_metrics import FN, TP, Counts, Gap
from evaluation.tally_spec import OVERALL, Family, Group, TallySpec, Window, site_gap_name
from federation.errors import DataError
from federation.schema import Feature
from federation.task import Floats

ROUNDING = 2.0**-12
"""Per row, what rounding a row's score, and each site's fraction among as many as 2**19 sites, may
move a sum by."""


@dataclass(frozen=True, slots=True)
class TallySums:
    """The decoded sum of one scope.

    Attributes:
        spec: what was counted.
        sums: per segment name, shape (segment.length,).
        noised: whether the counts carry noise: then they may be negative, and not add up.

    Every method raises KeyError if a segment is not there, and DataError if a count is not a whole
    number >= 0, or more rows are right than there are: then a site sent something else than counts.
    """

    spec: TallySpec
    sums: Mapping[str, Floats]
    noised: bool = False

    def rows(self) -> int:
        """Number of rows."""
        return int(self._counts("rows")[0])

    def correct(self) -> int:
        """Number of rows predicted right."""
        return _no_more(int(self._counts("correct")[0]), self.rows(), "correct")

    def confusion(self, label: str) -> Counts:
        """TN, FP, FN, TP of a group (binary) or a class against the rest; shape (4,)."""
        return self._counts(f"confusion/{label}")

    def scores(self, label: str) -> Counts:
        """Rows per label and score bin, shape (2, score_bins)."""
        return self._counts(f"scores/{label}").reshape(2, self.spec.score_bins)

    def outcomes(self, groups: Sequence[Group]) -> Counts:
        """TN, FP, FN, TP per group, shape (groups, 4).

        With more than two classes, what is counted of a group is right and wrong alone; it stands
        in TP and FN, so that rows and accuracy can be read from it and nothing else.
        """
        result = np.zeros((len(groups), 4), dtype=np.int64)
        for place, group in enumerate(groups):
            if self.spec.schema.is_binary:
                result[place] = self.confusion(group.label)
            else:
                rows, correct = self._counts(f"hits/{group.label}").tolist()
                if not self.noised:
                    _no_more(correct, rows, f"hits/{group.label}")
                result[place, [FN, TP]] = rows - correct, correct
        return result

    def labels(self) -> Counts:
        """Rows per class, shape (classes,)."""
        if self.spec.schema.is_binary:
            tn, fp, fn, tp = self.confusion("overall")
            return np.array([tn + fp, fn + tp])
        return np.array([self.confusion(label)[2:].sum() for label in self.spec.class_labels])

    def loss(self, name: str) -> float:
        """Sum over rows of `log_loss` (nats) or `brier`."""
        return float(self.sums[f"{name}/whole"][0] + self.sums[f"{name}/fraction"][0])

    def score_sums(self, label: str) -> Floats:
        """Sum of scores per calibration bin, shape (calibration bins,)."""
        return self._fixed_point(f"score_sum/{label}")

    def squared_error(self, label: str) -> float:
        """Sum over rows of the squared distance of score and outcome."""
        return float(self._fixed_point(f"squared_error/{label}")[0])

    def site_gaps(self, family: Family, gap: Gap) -> Counts:
        """Sites per bucket of `GAP_EDGES` and, last, those that cannot tell; shape (7,)."""
        return self._counts(site_gap_name(family, gap))

    def sites(self) -> int:
        """Sites in the sum, as their votes on gaps say; there must be a family to vote on."""
        return int(self.site_gaps(self.spec.families[0], self.spec.site_gaps[0]).sum())

    def histogram(self, window: Window, feature: Feature) -> Counts:
        """Rows per bin of a feature in a window, shape (bins,)."""
        return self._counts(f"{window}/{feature.name}")

    def require_consistent_outcomes(self) -> None:
        """Return if all outcome tallies are of one and the same number of rows.

        Raises:
            DataError: names one that is not; a site sent something else than counts of its rows.
        """
        rows = self.rows()
        self.correct()
        totals = {"labels": int(self.labels().sum())}
        for label in self.spec.class_labels or (OVERALL,):
            totals[f"confusion/{label}"] = int(self.confusion(label).sum())
            totals[f"scores/{label}"] = int(self.scores(label).sum())
        for family in self.spec.families:
            totals[f"groups of {family[0].attribute}"] = int(self.outcomes(family).sum())
        _require_totals(totals, rows)

    def require_consistent_report(self, sites: int) -> None:
        """Return if scores and site gaps could come from the rows that the outcomes are of.

        Sums of scores and of squared errors must lie within what the score histogram allows; the
        groups of a family must add up to all rows; on every gap each site has one vote.

        Args:
            sites: whose counts the sum is of.

        Raises:
            DataError: as `require_consistent_outcomes`.
        """
        for label in self.spec.table_labels:
            self._require_scores_of_their_bins(label)
        if self.spec.schema.is_binary:
            for family in self.spec.families:
                self._require_adding_up(family)
        for family in self.spec.families:
            for gap in self.spec.site_gaps:
                votes = int(self.site_gaps(family, gap).sum())
                if votes != sites:
                    name = site_gap_name(family, gap)
                    raise DataError(f"sum of {name}: expected {sites} votes, got {votes}")

    def _require_scores_of_their_bins(self, label: str) -> None:
        negatives, positives = self.scores(label)
        outcomes = self.confusion(label)
        _require_totals({f"scores/{label}, label 0": int(negatives.sum())}, int(outcomes[:2].sum()))
        _require_totals({f"scores/{label}, label 1": int(positives.sum())}, int(outcomes[2:].sum()))
        edges = np.linspace(0, 1, self.spec.score_bins + 1)
        low, high = edges[:-1], edges[1:]
        rows, starts = negatives + positives, self.spec.calibration_edges[:-1]
        _require_between(
            f"score_sum/{label}",
            self.score_sums(label),
            np.add.reduceat(rows * low, starts),
            np.add.reduceat(rows * high, starts),
            np.add.reduceat(rows, starts),
        )
        least = negatives * low**2 + positives * (1 - high) ** 2
        most = negatives * high**2 + positives * (1 - low) ** 2
        error = np.array([self.squared_error(label)])
        bounds = least.sum(keepdims=True), most.sum(keepdims=True)
        _require_between(f"squared_error/{label}", error, *bounds, rows.sum(keepdims=True))

    def _require_adding_up(self, family: Family) -> None:
        of_all = self.scores(OVERALL)
        rows = np.add.reduceat(of_all.sum(axis=0), self.spec.calibration_edges[:-1])
        named = f"groups of {family[0].attribute}"
        if np.any(sum(self.scores(group.label) for group in family) != of_all):
            raise DataError(f"sum of scores/{named}: expected those of all rows")
        for read, whole in (
            (self.score_sums, rows),
            (lambda label: np.array([self.squared_error(label)]), rows.sum(keepdims=True)),
        ):
            parts, total = np.sum([read(group.label) for group in family], axis=0), read(OVERALL)
            _require_between(f"score sums of {named}", parts, total, total, whole)

    def _fixed_point(self, name: str) -> Floats:
        fraction = self.sums[f"{name}/fraction"]
        if not np.all(fraction >= 0):
            raise DataError(f"sum of {name}/fraction: expected numbers >= 0; a site sent no counts")
        return self._counts(f"{name}/whole") + fraction

    def require_consistent_windows(self) -> None:
        """Return if every feature was counted over the same rows, and both windows over all.

        Raises:
            DataError: as `require_consistent_outcomes`.
        """
        features = self.spec.schema.features
        counted = {
            window: {f"{window}/{f.name}": int(self.histogram(window, f).sum()) for f in features}
            for window in get_args(Window)
        }
        for totals in counted.values():
            _require_totals(totals, next(iter(totals.values()), 0))
        whole = sum(next(iter(totals.values()), 0) for totals in counted.values())
        if features:
            _require_totals({"both windows": whole}, self.rows())

    def _counts(self, name: str) -> Counts:
        values = self.sums[name]
        if not np.all(((values >= 0) | self.noised) & (values == np.rint(values))):
            raise DataError(f"sum of {name}: expected whole numbers >= 0; a site sent no counts")
        return values.astype(np.int64)


def _require_totals(totals: Mapping[str, int], rows: int) -> None:
    for name, total in totals.items():
        if total != rows:
            raise DataError(
                f"sum of {name}: expected {rows} rows in all, got {total}; a site sent no counts"
            )


def _require_between(name: str, sums: Floats, low: Floats, high: Floats, rows: Counts) -> None:
    slack = rows * ROUNDING
    if np.any(sums < low - slack) or np.any(sums > high + slack):
        raise DataError(
            f"sum of {name}: expected what the histogram of scores allows; a site sent no counts"
        )


def _no_more(correct: int, rows: int, name: str) -> int:
    if correct > rows:
        raise DataError(f"sum of {name}: expected at most {rows} rows, got {correct} right")
    return correct
