"""A threshold of its own for each group, so that the groups' rates are alike; from counts alone.

Hardt, Price and Srebro 2016, arXiv:1610.02413, section 4, as fairlearn's ThresholdOptimizer has it
(objective accuracy): the best accuracy at which all groups have the same rate, reached by deciding
between two thresholds at random. Rows are seen through score bins, which moves thresholds by less
than a bin.

**Before it is used.** The decision looks at the sensitive attribute, which law may forbid or
demand; two people with the same score may be told apart by chance; the rules belong to one version
of one model and to the rows they were fitted on, and are to be fitted again with every other; and
thresholds hide what a model does to a group, they do not mend it.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Self, get_args

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError, model_validator

from evaluation.group_metrics import Counts, Floats
from evaluation.mitigation.figures import figures
from evaluation.mitigation.tradeoff_curve import GRID, Metric, TradeoffCurve, tradeoff_curve
from evaluation.resampling import generator
from federation.errors import DataError
from federation.mitigation_summary import (
    Figures,
    MitigationOutcome,
    ParityCriterion,
    ThresholdRule,
)
from federation.summary import Part

ALIKE: dict[ParityCriterion, Metric] = {
    "demographic_parity": "selection_rate",
    "equal_opportunity": "true_positive_rate",
    "false_positive_rate_parity": "false_positive_rate",
}
"""The rate that a criterion of one rate makes alike."""

FOLDS = 5


class GroupThresholds(Part):
    """Rules of a model's groups, to be kept beside the model; as JSON and back without loss.

    Attributes:
        attribute: whose groups.
        criterion: what the rules make alike.
        score_bins: bins of equal width on [0, 1] that cuts count.
        otherwise: threshold for rows of a group without a rule, such as `unknown`.
        model_sha256: of the model file whose scores these are; empty if it was not said.
    """

    attribute: str
    criterion: ParityCriterion
    score_bins: Annotated[int, Field(ge=2)]
    rules: tuple[ThresholdRule, ...]
    otherwise: Annotated[float, Field(ge=0, le=1)] = 0.5
    model_sha256: str = ""

    @model_validator(mode="after")
    def _of_these_bins(self) -> Self:
        names = [rule.group for rule in self.rules]
        if len(set(names)) != len(names):
            raise ValueError("two rules for one group")
        if any(not 0 <= cut <= self.score_bins for rule in self.rules for cut in rule.cuts):
            raise ValueError(f"a cut outside 0 to score_bins = {self.score_bins}")
        return self

    def to_json(self) -> str:
        """As a file."""
        return self.model_dump_json(indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """From a file.

        Raises:
            DataError: names the field that is wrong.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "thresholds"
            raise DataError(f"thresholds: {where}: {first['msg']}") from error

    def probability(self, score: Floats, group: Sequence[str]) -> Floats:
        """The probability with which each row is selected, shape (N,).

        Args:
            score: probability of the positive class, in [0, 1], shape (N,).
            group: name of each row's group; one without a rule is decided by `otherwise`.

        Raises:
            DataError: a score is no probability, or there is another number of groups.
        """
        names = np.asarray(group)
        if names.shape != score.shape or not np.all((score >= 0) & (score <= 1)):
            raise DataError("scores: expected one in [0, 1] for each group named")
        bins = np.minimum((score * self.score_bins).astype(np.int64), self.score_bins - 1)
        chances: Floats = (score >= self.otherwise).astype(np.float64)
        for rule in self.rules:
            own = names == rule.group
            chances[own] = selected_by(rule, self.score_bins)[bins[own]]
        return chances

    def apply(self, score: Floats, group: Sequence[str], uniform: Floats) -> npt.NDArray[np.bool_]:
        """Who is selected, shape (N,).

        Args:
            score: as `probability`.
            group: as `probability`.
            uniform: a number in [0, 1) per row, drawn by the caller once for a case and kept, so
                that asking again cannot change the answer.

        Raises:
            DataError: as `probability`, or a number is outside [0, 1).
        """
        if uniform.shape != score.shape or not np.all((uniform >= 0) & (uniform < 1)):
            raise DataError("uniform: expected a number in [0, 1) for each row")
        return np.asarray(uniform < self.probability(score, group))


def threshold_rules(
    scores_by_group: Mapping[str, Counts],
    criterion: ParityCriterion,
    attribute: str,
    model_sha256: str = "",
) -> GroupThresholds:
    """The rules of best expected accuracy among those that make a rate alike in all groups.

    Args:
        scores_by_group: rows of label 0 and label 1 per score bin, each of shape (2, bins), of the
            groups that may be shown. Counts that noise made negative are taken for 0.
        criterion: what shall be alike.
        attribute: whose groups they are.
        model_sha256: of the model file, to be kept with the rules.

    Raises:
        DataError: fewer than two groups, other bins in one of them, or a group without positives or
            without negatives, of which nothing can be made alike.
    """
    tables = _tables(scores_by_group)
    fit = _for_odds if criterion == "equalized_odds" else _for_one_rate
    bins = next(iter(tables.values())).shape[1]
    rules = fit(tables, criterion)
    return GroupThresholds(
        attribute=attribute,
        criterion=criterion,
        score_bins=bins,
        rules=tuple(rules),
        model_sha256=model_sha256,
    )


def threshold_outcomes(
    scores_by_group: Mapping[str, Counts], confusions: Mapping[str, Counts], attribute: str
) -> tuple[MitigationOutcome, ...]:
    """What rules by each criterion would do, beside what one threshold of 0.5 does.

    Args:
        scores_by_group: as `threshold_rules`.
        confusions: TN, FP, FN, TP of the same groups at 0.5, each of shape (4,).
        attribute: whose groups.

    Raises:
        DataError: as `threshold_rules`.
    """
    before = figures(np.stack([np.maximum(confusions[name], 0) for name in scores_by_group]))
    outcomes = []
    for criterion in get_args(ParityCriterion):
        thresholds = threshold_rules(scores_by_group, criterion, attribute)
        after = expected_confusions(thresholds, scores_by_group)
        outcomes.append(
            MitigationOutcome(
                criterion=criterion,
                attribute=attribute,
                rows=round(float(after.sum())),
                before=before,
                after=figures(after),
                cross_fitted=cross_fitted(scores_by_group, criterion, attribute),
                rules=thresholds.rules,
            )
        )
    return tuple(outcomes)


def selected_by(rule: ThresholdRule, bins: int) -> Floats:
    """The probability with which a rule selects rows of each bin, shape (bins,)."""
    places = np.arange(bins)
    first, second = (places >= cut for cut in rule.cuts)
    by_score = rule.first * first + (1 - rule.first) * second
    chances: Floats = rule.ignored * rule.selected_if_ignored + (1 - rule.ignored) * by_score
    return chances


def expected_confusions(
    thresholds: GroupThresholds, scores_by_group: Mapping[str, Counts]
) -> Floats:
    """TN, FP, FN, TP of each group with a rule, in expectation, shape (groups, 4)."""
    tables = []
    for rule in thresholds.rules:
        scores = np.maximum(scores_by_group[rule.group], 0)
        chosen = scores @ selected_by(rule, thresholds.score_bins)
        negatives, positives = scores.sum(axis=1) - chosen
        tables.append([negatives, chosen[0], positives, chosen[1]])
    return np.array(tables)


def cross_fitted(
    scores_by_group: Mapping[str, Counts], criterion: ParityCriterion, attribute: str
) -> Figures | None:
    """Figures on rows that rules were not fitted on: five folds, drawn from the counts alone.

    Rows of one cell are all alike, so that a random split of rows is a multivariate hypergeometric
    draw of counts; it is seeded by the counts. None if a fold leaves a group without a label.
    """
    tables = _tables(scores_by_group)
    whole = np.stack(list(tables.values()))
    draws = generator(whole)
    total = np.zeros((len(tables), 4))
    left, rows = whole.ravel().copy(), int(whole.sum())
    for fold in range(FOLDS):
        size = int(left.sum()) if fold == FOLDS - 1 else rows // FOLDS
        tested = draws.multivariate_hypergeometric(left, size, method="marginals")
        left -= tested
        own = dict(zip(tables, tested.reshape(whole.shape), strict=True))
        try:
            rest = {name: tables[name] - own[name] for name in tables}
            rules = threshold_rules(rest, criterion, attribute)
        except DataError:
            return None
        total += expected_confusions(rules, own)
    return figures(total)


def _tables(scores_by_group: Mapping[str, Counts]) -> dict[str, Counts]:
    tables = {name: np.maximum(scores, 0) for name, scores in scores_by_group.items()}
    if len(tables) < 2 or len({table.shape for table in tables.values()}) != 1:
        raise DataError("thresholds: expected two groups or more, with the same score bins")
    for name, table in tables.items():
        if not np.all(table.sum(axis=1) > 0):
            raise DataError(
                f"thresholds: {name} has no positive or no negative held-out row; leave it out"
            )
    return tables


def _for_one_rate(tables: Mapping[str, Counts], criterion: ParityCriterion) -> list[ThresholdRule]:
    curves = {
        name: tradeoff_curve(scores, ALIKE[criterion], "accuracy")
        for name, scores in tables.items()
    }
    rows = {name: int(scores.sum()) for name, scores in tables.items()}
    accuracy = np.sum([rows[name] * curve.heights for name, curve in curves.items()], axis=0)
    best = int(np.argmax(accuracy))
    bins = next(iter(tables.values())).shape[1]
    return [_rule(name, curve, best, bins) for name, curve in curves.items()]


def _for_odds(tables: Mapping[str, Counts], _: ParityCriterion) -> list[ThresholdRule]:
    """The best point below all groups' ROC curves; groups above it ignore some scores."""
    curves = {
        name: tradeoff_curve(scores, "false_positive_rate", "true_positive_rate")
        for name, scores in tables.items()
    }
    negatives, positives = np.sum([scores.sum(axis=1) for scores in tables.values()], axis=0)
    reached = np.min([curve.heights for curve in curves.values()], axis=0)
    accuracy = (negatives * (1 - GRID) + positives * reached) / (negatives + positives)
    best = int(np.argmax(np.around(accuracy, 15)))
    bins = next(iter(tables.values())).shape[1]
    rules = []
    for name, curve in curves.items():
        over_chance = curve.heights[best] - GRID[best]
        excess = curve.heights[best] - reached[best]
        ignored = float(np.clip(excess / over_chance, 0, 1)) if over_chance > 0 else 0.0
        rule = _rule(name, curve, best, bins)
        update = {"ignored": ignored, "selected_if_ignored": float(GRID[best])}
        rules.append(rule.model_copy(update=update))
    return rules


def _rule(name: str, curve: TradeoffCurve, place: int, bins: int) -> ThresholdRule:
    first, second = (int(cut) for cut in curve.cuts[place])
    return ThresholdRule(
        group=name,
        cuts=(first, second),
        thresholds=(first / bins, second / bins),
        first=float(np.clip(curve.first[place], 0, 1)),
    )
