"""When a check says watch or act, in numbers and in the page's words, and how to mend it.

Marks are conventions, not laws; where one has a source, it is named. No rule met means ok.
"""

from dataclasses import dataclass

from evaluation.audit.leakage import RED_AUC, YELLOW_AUC, YELLOW_INFORMATION_VALUE

MISSING_WATCH, MISSING_ACT = 0.05, 0.5
MISSING_GAP, MISSING_GAP_CHANCE = 0.05, 0.01
SHARE_ACT, ROWS_ACT = 0.01, 5
"""From this share and this many rows on, single slips have become a habit."""
REPEATED_ACT = 0.10
CONFLICTING_ACT = 0.05
RARE_WATCH, RARE_ACT = 0.10, 0.01
NOISE_WATCH, NOISE_ACT = 0.10, 0.25
KAPPA_WATCH, KAPPA_ACT = 0.6, 0.4
"""Landis and Koch 1977: above 0.6 substantial, up to 0.4 fair at best."""


BEYOND_CHANCE = 100.0
"""Rows of few, coarse features are alike by chance, and features that go together make that more
frequent than independent ones would be: some twenty times in a census. A hundred times is a sign of
copies; where a column tells rows apart, chance gives next to none."""
_BEYOND = "and a hundred times as many as independent features would give"
EXPECTED_ROWS = 5
"""Fewer expected rows may be none by chance: exp(-5) is 0.7 %."""


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


@dataclass(frozen=True, slots=True)
class Rule:
    """Of one check.

    Attributes:
        name: of the check.
        watch: when it says watch.
        act: when it says act.
        remedy: how to mend what it finds.
    """

    name: str
    watch: str
    act: str
    remedy: str


RULES: dict[str, Rule] = {
    "missing": Rule(
        "Missing values",
        f"a feature is missing in {_percent(MISSING_WATCH)} of the rows or more",
        f"a feature is missing in {_percent(MISSING_ACT)} of the rows or more",
        "Find out where the values get lost (export, unit that does not measure them); if they do "
        "not exist, agree with the other sites to drop the feature.",
    ),
    "missing_by_label": Rule(
        "Missing and the label",
        f"a feature's missing share differs between classes by {_percent(MISSING_GAP)} or more, "
        f"and by chance in fewer than {_percent(MISSING_GAP_CHANCE)} of cases over all features",
        "never",
        "Ask whether the measurement is made because of the outcome; then its absence gives the "
        "label away, and the feature does not belong into the model.",
    ),
    "range": Rule(
        "Out of range",
        "a number lies outside the public range of its feature",
        f"{_percent(SHARE_ACT)} of a feature's rows, and at least {ROWS_ACT}, do",
        "Check the unit and codes such as 999 for missing; correct the cells, or have the task's "
        "range widened for all sites.",
    ),
    "levels": Rule(
        "Unknown categories",
        "a level is not among the declared ones",
        f"{_percent(SHARE_ACT)} of a feature's rows, and at least {ROWS_ACT}, have such a level",
        "Map the local codes to the declared levels, or have the level declared for all sites.",
    ),
    "constant": Rule(
        "Constant columns",
        "a feature has one value in all rows, or none",
        "never",
        "Check that the column was exported; a site where it cannot vary learns nothing from it.",
    ),
    "duplicates": Rule(
        "Duplicate rows",
        "a row repeats features and label of another",
        f"{_percent(REPEATED_ACT)} of the rows do, {_BEYOND}",
        "Remove records that were exported twice. Different people can be alike where features are "
        "few and coarse; those stay.",
    ),
    "conflicts": Rule(
        "Conflicting labels",
        "rows with the same features have different labels",
        f"{_percent(CONFLICTING_ACT)} of the rows are among such, {_BEYOND}",
        "Look the records up: one of the labels is wrong, or the features do not decide it.",
    ),
    "overlap": Rule(
        "Held-out rows in training",
        "a held-out row stands, features and label, among the training rows, too",
        f"{_percent(SHARE_ACT)} of the held-out rows, and at least {ROWS_ACT}, do, {_BEYOND}",
        "Remove duplicates before the split; keep all records of a person in one split. Until then "
        "every measured accuracy is too good.",
    ),
    "balance": Rule(
        "Class balance",
        f"a class has fewer than {_percent(RARE_WATCH)} of the rows",
        f"a class is absent, or has fewer than {_percent(RARE_ACT)} of the rows",
        "Check how labels were coded. A rare class is no error, but accuracy then says little: "
        "look at AUC and at the majority baseline.",
    ),
    "groups": Rule(
        "Balance within groups",
        f"a group has no row of a class of which at least {EXPECTED_ROWS} were to be expected",
        "never",
        "Check the coding of group and label; rates such as TPR are not defined for such a group.",
    ),
    "leakage": Rule(
        "Leakage",
        f"one feature alone reaches an AUC of {YELLOW_AUC:g} or an information value above "
        f"{YELLOW_INFORMATION_VALUE:g}, and more than shuffled labels do",
        f"one feature alone reaches an AUC of {RED_AUC:g}, and more than shuffled labels do",
        "Find out when the value is written down: if after the outcome, or because of it, the "
        "feature must go.",
    ),
    "label_noise": Rule(
        "Label noise",
        f"at least {_percent(NOISE_WATCH)} of the labels are estimated wrong",
        f"at least {_percent(NOISE_ACT)} are, by predictions that beat guessing",
        "Have the rows of uncertain.csv labelled again by somebody who does not see the old label. "
        "The estimate is an upper bound: rows that are hard to tell count, too.",
    ),
    "yardstick": Rule(
        "Model against guessing",
        "predictions are right no more often than the majority class is there",
        "never",
        "Without better predictions the estimate of label noise and the ranking mean little; give "
        "a trained model with --model, or check features and labels.",
    ),
    "annotators": Rule(
        "Annotators",
        f"kappa of two label columns, or of all, is below {KAPPA_WATCH:g}",
        f"it is below {KAPPA_ACT:g}",
        "Agree on how borderline cases are labelled, then label the disputed rows together.",
    ),
}
"""By the key of the check, in the order of the page."""
