"""What a run guarantees and what it does not, in sentences that a data-protection officer can use.

The fields follow NIST SP 800-226: unit, neighbouring relation, parameters, trust model, scope of
composition, and what is not covered.
"""

from federation.agreement import Agreement


def covered(agreement: Agreement) -> tuple[str, ...]:
    """Sentences about what is guaranteed."""
    rules, terms = agreement.federation, agreement.privacy
    colluders = min(rules.threshold - 1, 2 * rules.quorum - len(agreement.sites) - 1)
    sums = (
        f"The coordinator learns sums over at least {rules.quorum} of {len(agreement.sites)} "
        "sites, never one site's update, weight, metric or count. This holds against a coordinator "
        f"that lies, together with up to {colluders} colluding "
        f"site{'' if colluders == 1 else 's'}.",
        "No row leaves a site, in any form.",
    )
    if terms is None:
        return sums
    return (
        f"Each training record is protected by differential privacy: whoever sees every model of "
        f"this run cannot tell well whether one record was there. The unit is one record, "
        "neighbouring datasets differ by adding or removing one, and the bound on epsilon is the "
        f"one in the table, at delta = {terms.delta:g}, over all runs in the site's ledger.",
        "It does not rest on trust in the coordinator or in other sites: each site adds the whole "
        "noise to its own gradients before anything leaves.",
        *sums,
    )


def not_covered(agreement: Agreement) -> tuple[str, ...]:
    """Sentences about what is not guaranteed."""
    without = (
        ("This run trained WITHOUT differential privacy: the model may reveal training records.",)
        if agreement.privacy is None
        else (
            "A person with several records: the guarantee is for one record each, and weakens with "
            "every further one.",
        )
    )
    return (
        *without,
        "Held-out rows (used for accuracy, fairness and drift): their counts are summed securely "
        "over sites, exactly and without noise, and are not part of epsilon.",
        "If the set of surviving sites changes between rounds, counts that stay the same from "
        "round to round can be had for the lost site by subtracting two sums.",
        "Facts declared in public: each site's number of training rows, who took part and when.",
        "Choices made by looking at results, such as the learning rate, and anything a site "
        "publishes elsewhere about the same people.",
        "Sites that lie about their data, the machines at a site, and denial of service.",
    )
