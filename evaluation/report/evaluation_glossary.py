"""Every term of the evaluation page, once, with its formula and where it comes from."""

from evaluation.report.glossary import TERMS, Term

SHARED = frozenset({
    "Accuracy",
    "Adjusted p-value",
    "AUC",
    "Balanced accuracy",
    "Brier score",
    "Cohort",
    "Confidence interval (95 %)",
    "Digest",
    "Expected by chance",
    "F1",
    "False negative rate (FNR)",
    "False positive rate (FPR)",
    "Jensen–Shannon distance (JS)",
    "Log loss",
    "Precision",
    "Secure sum",
    "Selection rate",
    "True negative rate (TNR)",
    "True positive rate (TPR)",
})  # fmt: skip
"""Terms that mean the same on the run's page."""

OWN: tuple[Term, ...] = (
    Term("Base rate", "Share of positive rows.", "(TP + FN) / N"),
    Term(
        "Beyond chance",
        "The adjusted p-value is small enough: at most 0.05 for groups, at most the agreed share "
        "for drift. A gap or change calls for something if it is both large and beyond chance.",
    ),
    Term(
        "Brier score, its parts",
        "Reliability (distance of scores from what came true; 0 is best), resolution (how well "
        "scores tell rows apart), uncertainty (of the outcome itself), and what scores differ "
        "within bins. Murphy 1973; Stephenson, Coelho and Jolliffe 2008.",
        "reliability − resolution + uncertainty + within bins",
    ),
    Term(
        "Calibration in the large",
        "Mean score less base rate: above 0 the model overstates risk, below 0 it understates it.",
        "mean(score) − base rate",
    ),
    Term(
        "Chance in 1 of 20",
        "What groups that are alike exceed in one of twenty tables of these sizes (a ratio: fall "
        "below). Drawn as the pale range behind a gap.",
    ),
    Term(
        "Confident learning",
        "An estimate of how many labels are wrong, from rows whose predicted probability of "
        "another class is at least as high as is usual for that class. Classes that overlap count "
        "as errors, so it bounds from above rather than measures. Northcutt, Jiang and Chuang "
        "2021.",
    ),
    Term(
        "Critical value",
        "What a change stays below by chance, all comparisons of the window together, as often as "
        "the contract on false alarms says. It follows from the numbers of rows and of "
        "comparisons: small windows have large critical values.",
    ),
    Term(
        "Cross-fitted",
        "Measured on rows that the rule was not fitted on: rules from four fifths of the rows at a "
        "time, measured on the rest.",
    ),
    Term(
        "CUSUM",
        "Cumulative sum of evidence that the error rate has risen by a quarter. It starts again "
        "from 0 after an alarm. Page 1954; Reynolds and Stoumbos 1999.",
        "S = max(0, S + e · ln(p₁/p₀) + (n − e) · ln((1 − p₁)/(1 − p₀))), p₁ = 1.25 p₀",
    ),
    Term(
        "Demographic parity difference, ratio",
        "Largest minus smallest, or smallest over largest, selection rate of the groups. "
        "Definitions of gaps are those of fairlearn.",
        "max(selection rate) − min(selection rate)",
    ),
    Term(
        "Drift",
        "A change between windows. Covariate drift: of features. Prediction drift: of scores or of "
        "the share predicted positive. Label drift: of the base rate. Concept drift: of the errors "
        "or the calibration, with the same model. Fairness drift: of groups’ rates or gaps.",
    ),
    Term(
        "Dynamic limit",
        "Each window’s own limit of CUSUM and Page–Hinkley. Beside the detector run thousands of "
        "simulated streams without a change, with windows of the same sizes; the limit is what as "
        "many of them pass as the contract allows. Zhang and Woodall 2015; Shen et "
        "al. 2016.",
    ),
    Term(
        "Equal opportunity difference",
        "Largest minus smallest true positive rate of the groups: among those with the outcome, "
        "who is found? Hardt, Price and Srebro 2016.",
        "max(TPR) − min(TPR)",
    ),
    Term(
        "Equalized odds difference",
        "The worse of the gaps in true positive rate and in false positive rate. Hardt, Price and "
        "Srebro 2016.",
        "max(TPR gap, FPR gap)",
    ),
    Term(
        "Expected calibration error (ECE)",
        "Mean distance of the score from the share that came true, over bins of scores. In small "
        "groups chance alone makes it large. Naeini, Cooper and Hauskrecht 2015.",
        "Σ (rows of the bin / N) · |mean score − share of positives|",
    ),
    Term(
        "False-alarm contract",
        "How often somebody may be called for nothing: with a contract of one in N windows, the "
        "expected number of false alarms in any N windows is at most 1, all detectors together.",
    ),
    Term(
        "Four-fifths rule",
        "A customary line for selection: the lowest group’s selection rate below 0.8 of the "
        "highest’s. A line to look closer at, not proof of discrimination, nor is staying above it "
        "proof of none. 29 CFR 1607.4(D).",
        "min(selection rate) / max(selection rate) < 0.8",
    ),
    Term(
        "Holm’s adjustment",
        "Raises p-values for the number of comparisons, so that the chance of one false finding or "
        "more among all of them stays below one level. Holm 1979.",
    ),
    Term(
        "Information value (IV)",
        "How well one feature alone tells the label, over its bins; above 2 is suspicious.",
        "Σ (share of positives − share of negatives) · ln(their ratio)",
    ),
    Term(
        "KS (Kolmogorov–Smirnov distance)",
        "Largest gap between two cumulative distributions: of positives’ and negatives’ scores, or "
        "of two windows. Seen through bins it is known within bounds.",
    ),
    Term(
        "Leak",
        "A feature that tells the label all but alone (AUC of 0.95 or more by itself): often "
        "recorded after the outcome, and not to be had when the model is used.",
    ),
    Term(
        "Not estimable",
        "The denominator holds too few rows: no number is given, and the group is no part of gaps "
        "in that rate. Other tools report 0 here, which makes such a group the worst of all.",
    ),
    Term(
        "Page–Hinkley",
        "Cumulative sum of errors above the mean so far, less a tolerance. Page 1954; Hinkley "
        "1971.",
        "U = max(0, U + e − n · (mean + 0.005))",
    ),
    Term(
        "Population stability index (PSI)",
        "How far the shares of rows per bin have moved. The customary marks 0.1 and 0.25 alarm "
        "falsely on small windows; so a critical value stands beside them. Siddiqi 2006; "
        "Yurdakul 2018.",
        "Σ (current − reference) · ln(current / reference)",
    ),
    Term(
        "Receiver operating characteristic (ROC)",
        "True positive rate over false positive rate, for all thresholds.",
    ),
    Term(
        "Reference",
        "The window that all others are compared with. It was frozen, with the bins of every "
        "feature, before any other was counted.",
    ),
    Term(
        "Suppressed",
        "Not shown: so few rows that a number could point at a person, or a number from which such "
        "a one would follow. Done after the secure sum, never at a site.",
    ),
    Term(
        "Wasserstein distance",
        "How far a unit of rows must be moved, on average, to make one distribution of the other; "
        "also in standard deviations of the earlier window.",
    ),
    Term("Window", "Rows of one span of time, counted together."),
)

EVALUATION_TERMS: tuple[Term, ...] = tuple(
    sorted(
        (*OWN, *(term for term in TERMS if term.word in SHARED)),
        key=lambda term: term.word.casefold(),
    )
)
"""In alphabetical order."""
