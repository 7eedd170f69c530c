"""From what was measured to verdicts: one check per rule of `rules`, worst first wins."""

from collections.abc import Callable, Iterable, Sequence

from evaluation.audit import rules
from evaluation.audit.document import (
    Check,
    Column,
    GroupBalance,
    NoiseEstimate,
    Predictions,
    Raters,
    Repetition,
    Verdict,
)
from evaluation.audit.leakage import Leak
from federation.report_page.number_text import count, listing, percent, rate

SEVERITY: dict[Verdict, int] = {"off": 0, "ok": 1, "watch": 2, "act": 3}
_MOST_NAMED = 4

NOTHING_THERE = "There are no rows."


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The most severe; `off` for none."""
    return max(verdicts, key=SEVERITY.__getitem__, default="off")


def missing(column: Column) -> Verdict:
    """By the share of rows without a value."""
    share = column.missing / column.rows if column.rows else 0.0
    return _graded(share >= rules.MISSING_WATCH, share >= rules.MISSING_ACT)


def missing_by_label(column: Column, features: int) -> Verdict:
    """By the gap between classes; the chance is shared among all features (Bonferroni)."""
    gap, chance = column.missing_gap, column.missing_gap_p_value
    if gap is None or chance is None:
        return "ok"
    return _graded(gap >= rules.MISSING_GAP and chance < rules.MISSING_GAP_CHANCE / features)


def out_of_range(column: Column) -> Verdict:
    """By the rows below and above the public range."""
    return _habit(column.below + column.above, column.rows)


def unknown_level(column: Column) -> Verdict:
    """By the rows of no declared level."""
    return _habit(column.other, column.rows)


def constant(column: Column) -> Verdict:
    """By whether there is but one value."""
    return _graded(column.constant)


def leakage(found: Leak | None) -> Verdict:
    """By the AUC and information value of the feature alone."""
    return "ok" if found is None else _graded(found.is_yellow, found.is_red)


def column_checks(columns: Sequence[Column], leaks: Sequence[Leak | None]) -> tuple[Check, ...]:
    """Missing, missing by label, range, levels, constant and leakage over all features.

    Each names the features that its rule holds for, the worst first.
    """
    if not any(column.rows for column in columns):
        keys = ("missing", "missing_by_label", "range", "levels", "constant", "leakage")
        return tuple(_check(key, "off", NOTHING_THERE) for key in keys)
    by_label: Callable[[Column], Verdict] = lambda one: missing_by_label(one, len(columns))  # noqa: E731
    return (
        _over(columns, "missing", missing, "No feature is missing in many rows.",
              lambda one: one.missing, _missing_words),
        _over(columns, "missing_by_label", by_label, "Missing does not depend on the class.",
              lambda one: one.missing_gap or 0.0,
              lambda one: f"{one.name} (by {percent(one.missing_gap)})"),
        _over(columns, "range", out_of_range, "All numbers lie in their public ranges.",
              lambda one: one.below + one.above,
              lambda one: f"{one.name} ({count(one.below)} below, {count(one.above)} above)"),
        _over(columns, "levels", unknown_level, "All levels are declared.",
              lambda one: one.other, lambda one: f"{one.name} ({count(one.other)} rows)"),
        _over(columns, "constant", constant, "Every feature varies.",
              lambda one: one.missing, lambda one: one.name),
        _leakage_check(columns, leaks),
    )  # fmt: skip


def repetition_checks(found: Repetition, rows: int) -> tuple[Check, ...]:
    """Duplicates, conflicting labels, overlap.

    Args:
        found: over all splits.
        rows: of all splits.
    """
    if not rows:
        keys = ("duplicates", "conflicts", "overlap")
        return tuple(_check(key, "off", NOTHING_THERE) for key in keys)
    copies, conflicting = found.repeated_with_label, found.conflicting_rows
    by_chance = rules.BEYOND_CHANCE * found.chance_pairs
    duplicates = _check(
        "duplicates",
        _graded(copies > 0, copies >= rules.REPEATED_ACT * rows and copies > by_chance),
        f"Rows that repeat another's features and label: {_of(copies, rows)}; features alone: "
        f"{count(found.repeated)}."
        if found.repeated
        else "No two rows are alike.",
    )
    conflicts = _check(
        "conflicts",
        _graded(
            conflicting > 0,
            conflicting >= rules.CONFLICTING_ACT * rows and conflicting > by_chance,
        ),
        f"Rows that share their features with one of another class: {_of(conflicting, rows)}, in "
        f"{count(found.conflicting_sets)} sets."
        if conflicting
        else "Rows that are alike have the same label.",
    )
    shared = found.shared_with_label
    overlap = _check(
        "overlap",
        _habit(shared, found.held_out)
        if shared > rules.BEYOND_CHANCE * found.chance_shared
        else _graded(shared > 0),
        f"Held-out rows that stand among the training rows, too: {_of(shared, found.held_out)}; "
        f"by features alone: {count(found.shared)}."
        if found.shared
        else "No held-out row stands among the training rows.",
    )
    held_out = overlap if found.held_out else _check("overlap", "off", "No row is held out.")
    return duplicates, conflicts, held_out


def balance_checks(
    classes: Sequence[str], labels: Sequence[int], groups: Sequence[GroupBalance]
) -> tuple[Check, ...]:
    """Class balance over all rows, and within groups.

    Args:
        classes: their names.
        labels: rows per class.
        groups: of all attributes.
    """
    rows = sum(labels)
    if not rows:
        return tuple(_check(key, "off", NOTHING_THERE) for key in ("balance", "groups"))
    least = min(labels) / rows
    rarest = classes[list(labels).index(min(labels))]
    overall = _check(
        "balance",
        _graded(least < rules.RARE_WATCH, least < rules.RARE_ACT),
        f"Rows of the rarest class, {rarest}: {_of(min(labels), rows)}.",
    )
    populated = [one for one in groups if sum(one.labels)]
    if not populated:
        return overall, _check("groups", "off", "The task has no sensitive attribute.")
    lacking = [one for one in populated if _lacks_a_class(one.labels, labels)]
    named = _named([f"{one.attribute} {one.group}" for one in lacking])
    return overall, _check(
        "groups",
        _graded(bool(lacking)),
        f"A class is absent in: {named}." if lacking else "No group lacks a class it should have.",
    )


def prediction_checks(
    predictions: Predictions, noise: NoiseEstimate | None, mislabelled: int
) -> tuple[Check, ...]:
    """Label noise, and whether the predictions it rests on beat guessing."""
    if noise is None or predictions.accuracy is None or predictions.majority_accuracy is None:
        reason = predictions.reason or "There are no predictions."
        return tuple(_check(key, "off", reason) for key in ("label_noise", "yardstick"))
    useful = predictions.accuracy > predictions.majority_accuracy
    return (
        _check(
            "label_noise",
            _graded(noise.share >= rules.NOISE_WATCH, useful and noise.share >= rules.NOISE_ACT),
            f"Labels estimated wrong, at most: {_of(noise.wrong, predictions.rows)}; rows "
            f"confidently of another class: {count(mislabelled)}.",
        ),
        _check(
            "yardstick",
            _graded(not useful),
            f"Accuracy {rate(predictions.accuracy)}; always the majority class: "
            f"{rate(predictions.majority_accuracy)}.",
        ),
    )


def annotator_check(raters: Sequence[Raters]) -> Check:
    """By the least kappa of two raters, or of all."""
    known = [(one.kappa, one) for one in raters if one.kappa is not None]
    if not known:
        text = "No two label columns share rows of two classes." if raters else (
            "The task names no further label column."
        )  # fmt: skip
        return _check("annotators", "off", text)
    least, of = min(known, key=lambda pair: pair[0])
    return _check(
        "annotators",
        _graded(least < rules.KAPPA_WATCH, least < rules.KAPPA_ACT),
        f"The least {of.measure} is {rate(least)}, of {listing(of.raters)} on "
        f"{count(of.rows)} rows.",
    )


def _lacks_a_class(group: Sequence[int], labels: Sequence[int]) -> bool:
    rows = sum(group)
    return any(
        not there and rows * everywhere >= rules.EXPECTED_ROWS * sum(labels)
        for there, everywhere in zip(group, labels, strict=True)
    )


def _leakage_check(columns: Sequence[Column], leaks: Sequence[Leak | None]) -> Check:
    known = [found for found in leaks if found is not None]
    if not known:
        return _check("leakage", "off", "All rows are of one class.")
    verdicts = {found.name: leakage(found) for found in known}
    verdict = worst(verdicts.values())
    flagged = [found for found in known if SEVERITY[verdicts[found.name]] > SEVERITY["ok"]]
    flagged.sort(key=lambda found: found.auc, reverse=True)
    strongest = max(known, key=lambda found: found.auc)
    told = _named(
        [
            f"{found.name} (AUC {rate(found.auc)}, information value "
            f"{rate(found.information_value)})"
            for found in flagged
        ]
    )
    return _check(
        "leakage",
        verdict,
        f"Told by one feature alone: {told}."
        if flagged
        else f"No one of {len(columns)} features tells the label alone; the most is "
        f"{strongest.name}, AUC {rate(strongest.auc)}.",
    )


def _over(
    columns: Sequence[Column],
    key: str,
    judge: Callable[[Column], Verdict],
    fine: str,
    badness: Callable[[Column], float],
    words: Callable[[Column], str],
) -> Check:
    verdicts = [judge(column) for column in columns]
    found = [
        column
        for column, verdict in zip(columns, verdicts, strict=True)
        if verdict in {"watch", "act"}
    ]
    found.sort(key=badness, reverse=True)
    text = f"{_named([words(column) for column in found])}." if found else fine
    return _check(key, worst(verdicts), text)


def _missing_words(column: Column) -> str:
    return f"{column.name} ({percent(column.missing / column.rows)})"


def _check(key: str, verdict: Verdict, finding: str) -> Check:
    rule = rules.RULES[key]
    remedy = rule.remedy if verdict in {"watch", "act"} else ""
    return Check(key=key, name=rule.name, verdict=verdict, finding=finding, remedy=remedy)


def _graded(watch: bool, act: bool = False) -> Verdict:  # noqa: FBT001, FBT002 - two rules, in order
    return "act" if act else "watch" if watch else "ok"


def _habit(rows: int, of: int) -> Verdict:
    return _graded(rows > 0, rows >= max(rules.ROWS_ACT, rules.SHARE_ACT * of))


def _named(names: Sequence[str]) -> str:
    shown = tuple(names[:_MOST_NAMED])
    more = len(names) - len(shown)
    return f"{', '.join(shown)} and {more} more" if more else listing(shown)


def _of(rows: int, total: int) -> str:
    share = percent(rows / total) if total else "0 %"
    return f"{count(rows)} of {count(total)} ({share})"
