"""The thresholds behind the verdicts, and the same rules in words, as the page prints them."""

from dataclasses import dataclass
from typing import Literal

Grade = Literal["OK", "Watch", "Act", "Off"]

GAP_WATCH = 0.1
GAP_ACT = 0.2
RATIO_WATCH = 0.8
"""The four-fifths rule: 29 CFR 1607.4(D), Uniform Guidelines on Employee Selection Procedures."""

WEAK_EPSILON = 10.0
"""Above it a guarantee is called weak: Ponomareva et al. 2023, arXiv:2303.00654, section 5.2."""

WORSENED = 1.05


@dataclass(frozen=True, slots=True)
class Rule:
    """When a topic gets a grade; no rule met means OK."""

    topic: str
    grade: Grade
    when: str


RULES: tuple[Rule, ...] = (
    Rule(
        "Utility",
        "Act",
        "The model does not beat guessing: its accuracy is at most that of always answering the "
        "most frequent class, and its AUC is unknown or its lower end is at most 0.5.",
    ),
    Rule(
        "Utility",
        "Watch",
        "The run did not complete; or guessing was not measured; or log loss is above that of "
        f"quoting the base rate, or more than {100 * (WORSENED - 1):.0f} % above its best earlier "
        "round; or a site does as well alone, on its own rows.",
    ),
    Rule("Utility", "Off", "No round was evaluated."),
    Rule(
        "Fairness",
        "Act",
        f"A difference between groups is at least {GAP_ACT:g} and its interval lies above what "
        "chance alone gives equal groups of these sizes.",
    ),
    Rule(
        "Fairness",
        "Watch",
        f"A difference is at least {GAP_WATCH:g} and its interval lies above chance; or it is at "
        f"least {GAP_ACT:g} and cannot be told from chance, because groups are small; or a ratio "
        f"is below {RATIO_WATCH:g} (the four-fifths rule) and its interval lies below chance; or "
        "no gap can be estimated.",
    ),
    Rule("Fairness", "Off", "No sensitive attribute was counted."),
    Rule("Drift", "Act", "A feature's PSI is above 0.25 and above its critical value."),
    Rule(
        "Drift",
        "Watch",
        "A feature's PSI is above 0.1 and above its critical value; or every window is too small "
        "to tell.",
    ),
    Rule("Drift", "Off", "No windows were compared."),
    Rule(
        "Privacy",
        "Act",
        "A site has spent more than its budget; or what a site has spent, or where its noise came "
        "from, is not known.",
    ),
    Rule(
        "Privacy",
        "Watch",
        f"The noise is seeded (simulation only); or a site's epsilon is above {WEAK_EPSILON:g}, "
        "which is weak; or delta is at least 1 / rows of a site; or a site refused work or holds "
        "an open reservation.",
    ),
    Rule("Privacy", "Off", "The run trained without differential privacy."),
)
