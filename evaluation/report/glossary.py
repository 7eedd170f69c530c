"""Every abbreviation and term of the page, once, with its definition or formula."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Term:
    """A word of the field and what it means here; `formula` may be empty."""

    word: str
    meaning: str
    formula: str = ""


TERMS: tuple[Term, ...] = (
    Term(
        "Accuracy",
        "Share of held-out rows predicted right. With two classes a row is predicted positive "
        "from a probability of 0.5 on.",
        "(TP + TN) / N",
    ),
    Term(
        "Adjusted p-value",
        "The chance of rates as far apart as these if all groups were alike, raised for the number "
        "of attributes and rates looked at (Holm): below 0.05 is beyond chance, and the chance of "
        "one false finding or more among all of a scope is at most 5 %.",
    ),
    Term(
        "AUC",
        "Area under the receiver operating characteristic curve: the chance that a random "
        "positive row scores above a random negative one. It is read from summed histograms of "
        "scores, so it is given with bounds that hold for certain on these rows; with more than "
        "two classes it is the mean over classes, each against the rest.",
        "P(score of a positive > score of a negative) + ½ P(equal)",
    ),
    Term("Balanced accuracy", "Mean over classes of the share predicted right."),
    Term("Brier score", "Mean squared error of the predicted probabilities; 0 is perfect."),
    Term(
        "Clipping",
        "No record moves a site's update by more than the clipping norm C, measured as the "
        "Euclidean length of its gradient.",
        "g / max(1, ‖g‖ / C)",
    ),
    Term("Cohort", "A named set of sites whose sums are also read on their own."),
    Term(
        "Colluding sites tolerated",
        "How many sites may tell a lying coordinator all they know: together they still learn sums "
        "only, in which the others hide. In the counts of a cohort a site hides among that "
        "cohort's other honest sites only. Where sites mask with some of the others, not all, it "
        "holds up to a small chance, which the planner of the graph states.",
        "min(threshold − 1, 2 · quorum − sites − 1)",
    ),
    Term(
        "Confidence interval (95 %)",
        "Where a value would lie if the same study were repeated on other rows, in 95 of 100 "
        "repetitions. For shares: Wilson's interval; for balanced accuracy and F1: made of "
        "Wilson's; for gaps: a bootstrap from the summed counts.",
    ),
    Term(
        "Critical value",
        "What PSI stays below by chance in 95 of 100 comparisons without any drift, all features "
        "of the scope together.",
        "χ²(1 − 0.05 / features; bins − 1) · (1 / n + 1 / m)",
    ),
    Term(
        "Demographic parity difference, ratio",
        "Largest minus smallest, or smallest over largest, selection rate of the groups.",
    ),
    Term(
        "Differential privacy (DP), ε and δ",
        "Whatever is released is almost as likely if one unit, here a record, is left out. ε "
        "(epsilon) bounds how much likelier any outcome may become, δ (delta) the chance of "
        "leaving that bound. Smaller is stronger.",
        "P(outcome | with) ≤ e^ε · P(outcome | without) + δ",
    ),
    Term("Digest", "SHA-256 of a file or setting: equal digests mean equal content."),
    Term(
        "Equal opportunity difference, ratio",
        "As demographic parity, for true positive rates.",
    ),
    Term(
        "Equalized odds difference, ratio",
        "The worse of the gaps in true positive rate and in false positive rate.",
    ),
    Term(
        "Expected by chance",
        "What a gap would be on average if all groups were alike: the largest minus the smallest "
        "of several noisy rates is never zero.",
    ),
    Term(
        "F1",
        "Harmonic mean of precision and true positive rate.",
        "2 TP / (2 TP + FP + FN)",
    ),
    Term("False negative rate (FNR)", "Share of positive rows predicted negative.", "1 − TPR"),
    Term(
        "False positive rate (FPR)", "Share of negative rows predicted positive.", "FP / (FP + TN)"
    ),
    Term(
        "Jensen–Shannon distance (JS)",
        "Distance between two distributions, from 0 (same) to 1 (nothing in common).",
        "√(½ KL(p ‖ m) + ½ KL(q ‖ m)), m = (p + q) / 2, logarithm to base 2",
    ),
    Term(
        "Kolmogorov–Smirnov distance (KS)",
        "Largest gap between two cumulative distributions; through bins, a lower bound of it.",
    ),
    Term(
        "Ledger head",
        "Hash of the last entry of a site's privacy ledger. Each entry contains the hash of the "
        "one before, so the head vouches for the whole ledger.",
    ),
    Term(
        "Log loss",
        "Mean negative logarithm of the probability given to the class that came true, in nats.",
        "−(1/N) Σ ln p(true class)",
    ),
    Term(
        "Neighbouring relation",
        "What counts as one unit more or less: with add or remove, two data sets are neighbours "
        "if one has one record more.",
    ),
    Term(
        "Noise multiplier",
        "Standard deviation of the noise added to a sum of clipped gradients, in units of the "
        "clipping norm.",
        "σ; noise ~ N(0, σ²C²)",
    ),
    Term(
        "PLD, RDP",
        "Two ways to add up what many releases cost: privacy loss distributions (tight) and "
        "Rényi differential privacy (looser). Both give valid upper bounds.",
    ),
    Term(
        "Population stability index (PSI)",
        "How far the shares of rows per bin have moved; 0.1 and 0.25 are the customary marks.",
        "Σ (current − reference) · ln(current / reference)",
    ),
    Term("Precision", "Share of rows predicted positive that are positive.", "TP / (TP + FP)"),
    Term("Quorum", "The fewest sites that a sum may hold; below it, a site refuses."),
    Term(
        "Sampling rate",
        "Chance that a record takes part in a step, drawn afresh for each record and step.",
        "q",
    ),
    Term(
        "Secure sum",
        "A protocol by which the coordinator learns the sum of the sites' vectors and nothing "
        "about any single one.",
    ),
    Term("Selection rate", "Share of rows predicted positive.", "(TP + FP) / N"),
    Term(
        "Suppressed",
        "Not shown, because so few rows are in the group that a number could point at a person.",
    ),
    Term(
        "Threshold",
        "How many sites must help before a sum can be opened; fewer can open nothing.",
    ),
    Term("True negative rate (TNR)", "Share of negative rows predicted negative.", "1 − FPR"),
    Term(
        "True positive rate (TPR)", "Share of positive rows predicted positive.", "TP / (TP + FN)"
    ),
)
"""In alphabetical order."""
