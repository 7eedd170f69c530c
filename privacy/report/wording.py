"""What a ledger's numbers mean, in sentences that hold for this ledger and for no other by chance.

The claim's fields are those that NIST SP 800-226 (2025, doi 10.6028/NIST.SP.800-226) asks for, and
Ponomareva et al. 2023, arXiv:2303.00654, section 5.3.3.
"""

import math
from collections.abc import Iterable, Iterator, Sequence

from federation.report_page.number_text import epsilon as epsilon_text
from federation.report_page.number_text import listing, percent, setting
from federation.summary import SEEDED, SYSTEM
from privacy.report.document import Audit, Gain, HitRate, Plan, Policy, Spending, Statement

WEAK = 10.0
"""Above it a guarantee is called weak: Ponomareva et al. 2023, arXiv:2303.00654, section 5.2."""

NO_BOUND = "no bound"
RELATIONS = {
    "add-or-remove-one": "added or removed: one of two neighbouring tables has them, one has not",
    "replace-one": "replaced by others: neighbouring tables have as many rows",
}


def bound(value: float | None) -> str:
    """An epsilon as text, rounded up."""
    return NO_BOUND if value is None else epsilon_text(value)


def headline(spent: Spending, more: int | None, most: int) -> str:
    """What a reader should take away if nothing else is read."""
    if spent.epsilon is None:
        return (
            "No guarantee: something was released of these records that nothing bounds. What was "
            "spent cannot be stated as an epsilon."
        )
    at = f"at delta {setting(spent.delta)}"
    if spent.budget is None:
        return f"Epsilon {bound(spent.epsilon)} is spent {at}; the owner of the data set no bound."
    share = percent(spent.epsilon / spent.budget)
    of = f"Epsilon {bound(spent.epsilon)} of {setting(spent.budget)} is spent {at} ({share})"
    if more is None:
        return f"{of}; nothing was charged yet."
    many = f"{most:,} or more" if more >= most else f"{more:,}"
    return f"{of}; {many} more charge{'' if more == 1 else 's'} like the last would be admitted."


def gain_words(hit_rate: HitRate, spent: float | None) -> str:
    """The guarantee as a sentence about an attacker."""
    if spent is None:
        return "Nothing limits what an attacker finds out about a record."
    accused = f"1 in {1 / hit_rate.false_positive_rate:.0f}"
    return (
        "Whoever sees everything that was released, knows every other record, and wrongly accuses "
        f"{accused} of those who were not in the table, finds at most "
        f"{percent_up(hit_rate.true_positive_rate)} of those who were."
    )


def left(value: float | None) -> str:
    """What is left of a budget, rounded down at the third decimal."""
    if value is None:
        return "–"
    down = math.floor(value * 1000) / 1000
    return "< 0.001" if 0 < value < 0.001 else f"{down:,.3f}".rstrip("0").rstrip(".")


def percent_up(share: float) -> str:
    """A share that bounds something, as a percentage with two decimals, rounded up."""
    return f"{min(100.0, -(-share * 10_000 * (1 - 1e-12) // 1) / 100):.2f} %"


def warnings(
    spent: Spending,
    policies: Sequence[Policy],
    plans: Sequence[Plan],
    rows: int | None,
    opened: int,
) -> Iterator[str]:
    """What must not be overlooked."""
    sources = {plan.noise_source for plan in plans if plan.charged}
    if SEEDED in sources:
        yield (
            "Seeded noise: a run drew its noise from a seed, as simulations do. Whoever knows the "
            "seed can take the noise away. The numbers are those of a deployed run, and protect "
            "nobody here."
        )
    if spent.epsilon is None:
        yield "A release without privacy is among the charges: no epsilon bounds what it tells."
    elif spent.budget is not None and spent.epsilon > spent.budget:
        yield "More is spent than the budget in force allows."
    if spent.epsilon is not None and spent.epsilon > WEAK:
        yield f"An epsilon above {WEAK:g} is a weak guarantee; read the rates, not the number."
    if rows is not None and spent.delta >= 1 / rows:
        yield (
            f"Delta {setting(spent.delta)} is not below 1 / {rows:,} rows: it would permit giving "
            "a whole record away."
        )
    if len(policies) > 1:
        yield f"The budget was amended {_times(len(policies) - 1)}; see why, and by whom."
    if opened:
        yield (
            f"{opened:,} reservation{'' if opened == 1 else 's'} stand{'s' if opened == 1 else ''} "
            "open and count as spent."
        )


def rows_words(rows: int | None, delta: float) -> str:
    """Delta against the number of records."""
    if rows is None:
        return "The ledger does not say how many records there are; hold delta against 1 / rows."
    times = 1 / (rows * delta)
    side = "below" if delta < 1 / rows else "NOT below"
    return f"Delta {setting(delta)} is {side} 1 / {rows:,} rows" + (
        f", by a factor of {times:,.1f}." if delta < 1 / rows else "."
    )


def assumptions(
    spent: Spending, policies: Sequence[Policy], plans: Sequence[Plan], shared: int | None
) -> Iterator[str]:
    """What must be true for the numbers to be."""
    charged = [plan for plan in plans if plan.charged]
    if not charged:
        yield "Nothing stands in the ledger, so nothing is assumed."
        return
    yield (
        "Every charge's parameters are those in the ledger: the software at the site did what it "
        "charged for. An audit tests that; a ledger cannot."
    )
    yield from _composition(spent, policies, charged)
    if any("sampled" in plan.mechanism for plan in charged):
        yield (
            "Each step drew every record independently with the rate that was charged (Poisson "
            "sampling), and who was drawn stays secret. Shuffled batches would not do."
        )
    if shared is not None:
        yield (
            f"Where sites share the noise, at least {shared} sites added their share and kept it "
            "to themselves, and the secure sum opened nothing but the total."
        )
    if any(plan.site_level for plan in charged):
        yield "Site-level noise is counted apart: it is taken to hide no record at all."
    yield (
        "What is reserved counts as spent, whether or not it was released; only what provably "
        "never left was given back."
    )


def _composition(
    spent: Spending, policies: Sequence[Policy], charged: Sequence[Plan]
) -> Iterator[str]:
    if spent.guaranteed_by == "whole plan":
        yield (
            "One run has the budget to itself. It fixed every parameter and the number of its "
            "charges before the first of them, so that all of them together cost at most epsilon "
            f"{bound(spent.guaranteed)}, whatever was seen meanwhile and however early it ended."
        )
    elif spent.guaranteed_by == "filter":
        yield (
            "The filter adds up Renyi divergences at one order, fixed before the first charge, and "
            f"refuses what goes past epsilon {bound(spent.guaranteed)}. That holds however later "
            "runs were chosen, also after seeing what earlier ones gave (Feldman and Zrnic 2021, "
            "arXiv:2008.11193)."
        )
    else:
        yield "The owner of the data set no bound, so nothing limits what later runs may cost."
    if spent.epsilon is not None:
        yield (
            f"The tighter epsilon {bound(spent.epsilon)} adds up what "
            f"{'the run' if len(charged) == 1 else f'{len(charged)} runs'} did as if "
            "all of it, and where it ended, had been fixed beforehand."
        )
    if len(policies) > 1:
        yield (
            "The budget was amended. If what earlier runs gave was a reason for it, no proof "
            "covers that choice: neither the old bound nor the new one is then guaranteed."
        )


def not_covered(plans: Sequence[Plan], shared: int | None, records: int) -> Iterator[str]:
    """What these numbers say nothing about."""
    if records > 1:
        yield (
            f"A person with more than {records} records: the guarantee is for up to so many, and "
            "weakens with every further one; see the table."
        )
    else:
        yield (
            "A person with several records: the guarantee is for one record each, and weakens with "
            "every further one; see the table."
        )
    yield (
        "The same person's records at other sites or in other datasets: each has a ledger of its "
        "own, and for that person they add up."
    )
    yield (
        "Choices made by looking at results, such as the learning rate or which run is published, "
        "unless they were charged; and anything else that the site publishes about these people."
    )
    yield (
        "Held-out rows, which accuracy, fairness and drift are measured on: their counts are "
        "summed securely over sites, exactly and without noise, and no epsilon bounds them."
    )
    yield (
        "Facts declared in public: the number of rows, who took part, when, and this report itself."
    )
    if shared is not None:
        yield (
            "Sites that pretend to add their share of the noise: faults are measured in every "
            "round, malice is not."
        )
    if any(plan.site_level for plan in plans):
        yield "A whole site's counts of held-out rows: site-level noise covers its updates only."
    yield (
        "Timing, memory and power of the machines at the site, whoever can read its disk, sites "
        "that lie about their data, and denial of service."
    )


def claim(  # noqa: PLR0913, PLR0917 - what a claim is made of
    spent: Spending,
    whole_site: Spending | None,
    policies: Sequence[Policy],
    plans: Sequence[Plan],
    gain: Gain,
    rows: str,
    shared: int | None,
    audits: Sequence[Audit],
    period: tuple[str, str],
    accountant: str,
) -> tuple[Statement, ...]:
    """All fields of a claim, in the order in which a reader asks."""
    charged = [plan for plan in plans if plan.charged]
    fields = (
        ("Guarantee", _guarantee(spent, policies, charged)),
        ("In plain words", gain.words),
        ("Unit of privacy", _unit(policies[-1])),
        ("Neighbouring relation", RELATIONS[policies[-1].neighbouring_relation]),
        ("Bound on contributions", _contributions(charged, policies[-1].records_per_person)),
        ("Delta against rows", rows),
        ("Who is held off", _trust(charged, shared)),
        ("What is released", _released(charged)),
        ("Mechanisms", _mechanisms(charged)),
        ("Scope of composition", _scope(spent, policies, plans, period)),
        ("Accountant", accountant),
        ("Randomness", _randomness(charged)),
        ("Floating point", _floating_point(charged)),
        ("Dropouts and collusion", _dropouts(charged, shared)),
        ("Site as a whole", _of_sites(whole_site)),
        ("Utility of groups", "The ledger has none; it is in the run's part, if one was given."),
        ("Software", _software(charged)),
        ("Empirical audit", _audited(audits)),
    )
    return tuple(Statement(name=name, text=text) for name, text in fields)


def _guarantee(spent: Spending, policies: Sequence[Policy], charged: Sequence[Plan]) -> str:
    if not charged:
        return "Nothing was released, so epsilon is 0."
    if spent.epsilon is None:
        return "None: a release without privacy was charged."
    stated = (
        f"(epsilon, delta)-differential privacy with epsilon {bound(spent.epsilon)} at delta "
        f"{setting(spent.delta)}"
    )
    if spent.guaranteed is None:
        return f"{stated}, if every run's settings were fixed beforehand."
    unless = "unless the amendment was made because of results" if len(policies) > 1 else ""
    return (
        f"{stated}, if every run's settings were fixed beforehand; epsilon "
        f"{bound(spent.guaranteed)} at the same delta {unless or 'in any case'}."
    )


def _unit(policy: Policy) -> str:
    if policy.records_per_person > 1:
        return f"A person with up to {policy.records_per_person} rows in the site's training table."
    return "One record: a row of the site's training table. A person with several has less."


def _contributions(charged: Sequence[Plan], records: int) -> str:
    norms = sorted({plan.max_grad_norm for plan in charged if plan.max_grad_norm is not None})
    shown = listing(tuple(setting(norm) for norm in norms))
    clip = (
        f"Each record's gradient is clipped to an L2 norm of {shown}."
        if norms
        else "Each mechanism's own sensitivity, as charged."
    )
    if records > 1:
        return (
            f"{clip} That nobody has more than {records} records is a promise about the data, kept "
            "where rows are loaded."
        )
    return f"{clip} How many records a person has is not capped by the ledger."


def _trust(charged: Sequence[Plan], shared: int | None) -> str:
    if not charged:
        return "Nothing was released."
    if shared is None:
        return (
            "Everybody outside the site, the coordinator and all other sites together included: "
            "the site adds the whole noise before anything leaves."
        )
    return (
        "Whoever sees the sums and the models. It rests on the secure sum, and on at least "
        f"{shared} sites, this one among them, that keep their noise to themselves; not on the "
        "coordinator."
    )


def _released(charged: Sequence[Plan]) -> str:
    tasks = tuple(dict.fromkeys(plan.task for plan in charged if plan.task))
    total = sum(plan.charged for plan in charged)
    of = f" for {listing(tasks)}" if tasks else ""
    return (
        f"{total:,} noised vector{'' if total == 1 else 's'}{of}, each summed over sites; and the "
        "models or answers made of them."
        if charged
        else "Nothing."
    )


def _mechanisms(charged: Sequence[Plan]) -> str:
    described = dict.fromkeys(
        f"{in_words(plan.mechanism)} ("
        + ", ".join(f"{one.name} {one.value}" for one in plan.parameters)
        + f"), charged {_times(plan.charged)} in run {plan.run}"
        for plan in charged
    )
    shown = list(described)
    more = f"; and {len(shown) - 4} runs more, in the table" if len(shown) > 4 else ""
    return "; ".join(shown[:4]) + more if shown else "None."


MECHANISMS = {
    "poisson_sampled_gaussian": "Gaussian noise on Poisson samples, the site's own",
    "poisson_sampled_distributed_gaussian": (
        "discrete Gaussian noise on Poisson samples, shared among sites"
    ),
    "gaussian": "Gaussian noise on all rows, the site's own",
    "laplace": "Laplace noise, the site's own",
    "discrete_gaussian": "discrete Gaussian noise, the site's own",
    "discrete_laplace": "discrete Laplace noise, the site's own",
    "distributed_discrete_laplace": "discrete Laplace noise, shared among sites",
    "repeat_and_select": "the best of a random number of repetitions",
    "non_private": "no noise",
}
"""What `privacy.event` calls mechanisms, in words."""


def in_words(mechanism: str) -> str:
    """One mechanism, or several joined by ` + `."""
    return "; and ".join(MECHANISMS[name] for name in mechanism.split(" + "))


def _scope(
    spent: Spending, policies: Sequence[Policy], plans: Sequence[Plan], period: tuple[str, str]
) -> str:
    expires = policies[-1].expires
    end = f" It expires at {expires}." if expires else " It does not expire."
    runs = "The one registered run" if len(plans) == 1 else f"All {len(plans)} registered runs"
    of = "" if spent.budget is None else f" of epsilon {setting(spent.budget)}"
    return (
        f"{runs} on this dataset, from {period[0]} to {period[1]}. The budget{of} is for good: it "
        f"is never reset, and raised only by a signed amendment.{end}"
    )


def _randomness(charged: Sequence[Plan]) -> str:
    sources = [plan.noise_source or "not stated" for plan in charged]
    said = listing(tuple(dict.fromkeys(sources)))
    if not charged:
        return "None was used."
    if set(sources) == {SYSTEM}:
        return "Batches and noise are drawn from the operating system's cryptographic generator."
    return f"Batches and noise are drawn from: {said}."


def _floating_point(charged: Sequence[Plan]) -> str:
    names = {name for plan in charged for name in plan.mechanism.split(" + ")}
    continuous = sorted(names & {"poisson_sampled_gaussian", "gaussian", "laplace"})
    if not charged:
        return "Nothing was computed."
    if continuous:
        return (
            f"{listing(tuple(continuous))}: numbers of finite precision stand for continuous "
            "noise. Each is the sum of four draws, so that its low bits tell no single one "
            "(Holohan and Braghin 2021, arXiv:2107.10138); beyond that they are not in epsilon. "
            "Accounting is rounded outwards."
        )
    return "The noise is discrete and sampled exactly. Accounting is rounded outwards."


def _dropouts(charged: Sequence[Plan], shared: int | None) -> str:
    if not charged:
        return "Nothing was released."
    cohort = min(plan.cohort for plan in charged)
    common = f"No sum is opened over fewer than {cohort} sites."
    if shared is None:
        return f"{common} Epsilon does not depend on who drops out or colludes."
    return (
        f"{common} Epsilon counts on {shared} shares of noise: the fewest sites in a sum, less "
        "those allowed to collude."
    )


def _of_sites(whole: Spending | None) -> str:
    if whole is None:
        return "No guarantee is claimed for a site's updates as a whole."
    return (
        f"Apart from that, and never added to it: epsilon {bound(whole.epsilon)} at delta "
        f"{setting(whole.delta)} for one site's updates, replaced by zeros."
    )


def _software(charged: Sequence[Plan]) -> str:
    names = tuple(dict.fromkeys(plan.software or "not stated" for plan in charged))
    digests = [plan.agreement_sha256 for plan in charged if plan.agreement_sha256]
    return (
        f"Charged by {listing(names)}. The table of runs has the digests of {len(digests)} signed "
        f"agreement{'' if len(digests) == 1 else 's'}, which fix every other setting."
        if charged
        else "Nothing was charged."
    )


def _audited(audits: Sequence[Audit]) -> str:
    if not audits:
        return "None is recorded in this ledger."
    last = audits[-1]
    if last.empirical_epsilon is None or last.confidence is None:
        return f"{_times(len(audits)).capitalize()}; the last is entry {last.entry}."
    proven = f"proven is at most {bound(last.proven_epsilon)}"
    return (
        f"{last.verdict}: an attack showed that epsilon is at least {last.empirical_epsilon:.3g} "
        f"({percent(last.confidence)} confidence, {last.trials:,} trials); {proven} for what was "
        f"audited. Entry {last.entry}."
    )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


def integrity(source: str, entries: int, own: int, others: Iterable[str]) -> tuple[str, ...]:
    """What was checked, and against what.

    Args:
        source: where the key is from.
        entries: of the ledger.
        own: statements of the site itself about the ledger.
        others: sites that stated to have seen it.
    """
    keys = {
        "given": "The last entry is signed with the key that was given.",
        "roster": (
            "The last entry is signed with the key that the roster certifies for the site; the "
            "roster is worth what the consortium.pub beside it is."
        ),
        "ledger": (
            "The last entry is signed with the key that the ledger itself states: whoever made up "
            "the whole ledger could have made up the key. Hold it against the roster."
        ),
    }
    names = tuple(dict.fromkeys(others))
    if names:
        witnessed = f"{listing(names)} saw it, and what they saw is still in it."
    elif own:
        witnessed = (
            "It holds what the site itself stated to the coordinator; no other site's statement "
            "about it was given."
        )
    else:
        witnessed = (
            "No witness was given: that entries were cut off at the end would not show here."
        )
    return (
        f"All {entries:,} entries follow each other, and none was changed.",
        keys[source],
        witnessed,
    )
