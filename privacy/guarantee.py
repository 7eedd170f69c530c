"""What a run guarantees and what it does not, in sentences that a data-protection officer can use.

The fields follow NIST SP 800-226: unit, neighbouring relation, parameters, trust model, scope of
composition, and what is not covered.
"""

from federation.agreement import Agreement, NoiseInTheSum
from federation.sum_groups import fewest_in_sum, smallest_sum_group, sum_groups
from privacy.secure_sum.terms import tolerated_colluders


def fewest_tolerated_colluders(agreement: Agreement) -> int:
    """How many sites may collude with a lying coordinator in whichever sum tolerates the fewest.

    That is the sum of all sites, or in training the sum of a group.
    """
    rules = agreement.federation
    sums = [(rules.threshold, rules.quorum, len(agreement.sites))]
    # Their sizes, quorums and thresholds are the same in every training round.
    sampled = agreement.sampling.kind != "all"
    groups = (smallest_sum_group(agreement),) if sampled else sum_groups(agreement, 1)
    sums += [(group.threshold, group.quorum, len(group.sites)) for group in groups]
    return min(tolerated_colluders(*each) for each in sums)


def covered(agreement: Agreement) -> tuple[str, ...]:
    """Sentences about what is guaranteed."""
    terms, fewest = agreement.privacy, fewest_in_sum(agreement.federation, agreement.sampling)
    colluders = fewest_tolerated_colluders(agreement)
    apart = (
        f" Counts of a cohort are summed over at least {agreement.evaluation.minimum_contributors}."
        if agreement.cohorts
        else ""
    )
    sums: tuple[str, ...] = (
        f"The coordinator learns sums over at least {fewest} of {len(agreement.sites)} "
        f"sites.{apart}{_in_groups(agreement)} "
        "No round shows it one site's update, weight, metric or count, even if it "
        f"lies and up to {colluders} site{'' if colluders == 1 else 's'} "
        f"{'colludes' if colluders == 1 else 'collude'} with it.",
    )
    if agreement.site_level is not None:
        sums = (*sums, _site_level(agreement))
    if terms is None:
        return (*sums, "Rows stay at the sites; what leaves is the model's update and counts.")
    return (
        "Each training record is protected by differential privacy: whoever sees every model of "
        "this run cannot tell well whether one record was there. The unit is one record, "
        "neighbouring datasets differ by adding or removing one, and the bound is the epsilon in "
        "the table, at the delta beside it, over all runs in the site's ledger.",
        "It does not rest on trust in the coordinator or in other sites: each site adds the whole "
        "noise to its own gradients before anything leaves."
        if terms.shared is None
        else _shared_noise(agreement, terms.shared),
        *sums,
        "Rows stay at the sites; what leaves is noised updates and counts of held-out rows."
        if agreement.counts_exactly
        else "Rows stay at the sites; what leaves is noised updates. Held-out rows are counted by "
        "evaluations after the run, with noise, and charged for.",
    )


def _shared_noise(agreement: Agreement, terms: NoiseInTheSum) -> str:
    honest = agreement.federation.quorum - terms.colluders
    return (
        "It rests on the secure sum and on the other sites, though not on the coordinator: each "
        f"site adds only a part of the noise, and the parts of {honest} sites that keep theirs to "
        f"themselves are enough.{_of_surplus(terms)}{_of_colluders(terms)}"
    )


def _of_surplus(terms: NoiseInTheSum) -> str:
    return " What proves surplus of their noise is removed." if terms.remove_surplus else ""


def _of_colluders(terms: NoiseInTheSum) -> str:
    if terms.colluders:
        return f" Up to {terms.colluders} of them may tell the coordinator their own noise."
    return " A site that tells the coordinator its own noise weakens it for the others."


def _site_level(agreement: Agreement) -> str:
    terms = agreement.site_level
    assert terms is not None
    honest = fewest_in_sum(agreement.federation, agreement.sampling) - terms.colluders
    return (
        "Apart from that, each site's updates as a whole are protected: whoever reads all sums "
        "cannot tell well whether one site's updates were in them. The unit is one site, "
        "neighbouring sums have its update replaced by zeros. It rests on the noise of at least "
        f"{honest} sites, each of which adds a share before the sum."
        f"{_of_surplus(terms)}{_of_colluders(terms)}"
    )


def _in_groups(agreement: Agreement) -> str:
    """What is learned beyond that where updates are summed in groups; else empty."""
    if not agreement.robustness.is_grouped:
        return ""
    group = smallest_sum_group(agreement)
    return (
        f" Updates it learns in smaller sums: each round one for each of "
        f"{agreement.robustness.groups} random groups, over at least {group.quorum} of the "
        f"{len(group.sites)} or more sites in it."
    )


def _of_mitigation(agreement: Agreement) -> tuple[str, ...]:
    method = agreement.mitigation.method if agreement.mitigation else "none"
    charged = agreement.mitigation and agreement.mitigation.counts_epsilon is not None
    if method == "reweighing" and charged:
        return ()  # counted with noise, and in the ledgers
    said = {
        "reweighing": "The weights of reweighing, if they are of counts: whoever counted training "
        "rows for them, as this run does without privacy, released these counts.",
        "constrained": "The multipliers of mitigation: they follow the groups' rates on held-out "
        "rows, so the model depends on these counts, too, and the figures on the same rows flatter "
        "it a little.",
    }
    return (said[method],) if method in said else ()


_EXACT_COUNTS = (
    "Held-out rows (used for accuracy, fairness and drift): their counts are summed securely "
    "over sites, exactly and without noise, and are not part of epsilon.",
    "Differences between rounds: if the set of surviving sites changes, or a coordinator that "
    "lies makes it change, counts of held-out rows that stay nearly the same from round to "
    "round can be had for the lost site by subtracting two sums.",
)


def not_covered(agreement: Agreement) -> tuple[str, ...]:
    """Sentences about what is not guaranteed."""
    without = (
        ("This run trained WITHOUT differential privacy: the model may reveal training records.",)
        if agreement.privacy is None
        else (
            "A person with several records: the guarantee is for one record each, and weakens with "
            "every further one.",
            "Later runs whose settings were chosen after seeing what earlier ones gave: the "
            "epsilon in the table adds up all runs as if their settings had been fixed beforehand. "
            "What holds however they were chosen is the site's budget, which its ledger enforces.",
        )
    )
    whole = ("A whole site's counts of held-out rows: site-level noise covers its updates only.",)
    shares = (
        "Sites that pretend to add their share of the noise: faults are measured in every round, "
        "malice is not.",
    )
    grouped = (
        (
            "What many sums over ever other groups say together: each site's update stands in one "
            "sum a round, with other sites each time, and what its updates have in common over the "
            "rounds can be estimated from all of them. Without differential privacy nothing bounds "
            "that.",
        )
        if agreement.robustness.is_grouped
        else ()
    )
    sampled = (
        (
            "Who took part in which round: the sample follows from the agreement, which every site "
            "and the coordinator know. The smaller epsilon of a sampled site holds against others "
            "only, and would have to be earned by a secret sample.",
        )
        if agreement.sampling.kind != "all"
        else ()
    )
    return (
        *without,
        *sampled,
        *grouped,
        *(whole if agreement.site_level is not None else ()),
        *(shares if agreement.noise_in_the_sum is not None else ()),
        *(_EXACT_COUNTS[:1] if agreement.counts_exactly else ()),
        *_of_mitigation(agreement),
        *(_EXACT_COUNTS[1:] if agreement.counts_exactly else ()),
        "Facts declared in public: each site's number of training rows, who took part and when.",
        "Choices made by looking at results, such as the learning rate, and anything a site "
        "publishes elsewhere about the same people.",
        "Sites that lie about their data, the machines at a site, and denial of service.",
    )
