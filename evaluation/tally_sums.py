"""What a sum of tallies says: its segments by meaning, as whole numbers, checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from evaluation.group_metrics import FN, TP, Counts
from evaluation.tally_spec import OVERALL, Group, TallySpec, Window
from federation.errors import DataError
from federation.schema import Feature
from federation.task import Floats


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


def _no_more(correct: int, rows: int, name: str) -> int:
    if correct > rows:
        raise DataError(f"sum of {name}: expected at most {rows} rows, got {correct} right")
    return correct
