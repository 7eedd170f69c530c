"""Who sums with whom in a round: all sites together, or random groups, each by itself.

The groups of a training round follow from the agreement and the round's number, so every side
derives them alone and a site refuses to sum with others. No site chooses where it stands, and a
coordinator cannot once the sites have agreed. The run's id and the digest of the run rules are left
out: the one names a folder, the other a consortium's key,
and the same settings shall give the same model again. What the draw does not give: whoever writes
the agreement may try many seeds, and everyone knows all groups beforehand. So malicious sites are
counted as if they stood in the worst places, and colluders are held off by each group's own quorum
and threshold, not by chance.

An evaluation round is one sum over all sites, and a training round in groups carries no counts of
held-out rows: they hardly change from round to round, and sums over ever other sets of sites could
be solved for each site's.
"""

from dataclasses import dataclass

from federation import canonical
from federation.agreement import Agreement
from federation.agreement_kinds import AnyAgreement
from federation.config import group_quorum, group_sizes, group_threshold


@dataclass(frozen=True, slots=True)
class SumGroup:
    """Sites that sum together, and how many of them it takes.

    Attributes:
        sites: sorted.
        quorum: fewest whose sum may be opened.
        threshold: fewest that together can open anything.
    """

    sites: tuple[str, ...]
    quorum: int
    threshold: int


def sum_groups(agreement: AnyAgreement, round_: int) -> tuple[SumGroup, ...]:
    """The groups of a round, disjoint and with every site in one; larger groups first.

    Rounds past the agreement's last training round are evaluations: one group of all, as the
    sites of a set of queries are.
    """
    rules = agreement.federation
    everyone = (SumGroup(agreement.sites, rules.quorum, rules.threshold),)
    if not isinstance(agreement, Agreement) or round_ > agreement.rounds:
        return everyone
    rule = agreement.robustness
    if not rule.is_grouped:
        return everyone
    drawn = _drawn(agreement, round_)
    groups, start = [], 0
    for size in group_sizes(len(drawn), rule.groups):
        members = tuple(sorted(drawn[start : start + size]))
        groups.append(SumGroup(members, group_quorum(rules, size), group_threshold(rules, size)))
        start += size
    return tuple(groups)


def sum_group_of(agreement: AnyAgreement, round_: int, site: str) -> SumGroup:
    """The group that a site sums with in a round."""
    return next(group for group in sum_groups(agreement, round_) if site in group.sites)


def smallest_sum_group(agreement: AnyAgreement) -> SumGroup:
    """A group of a training round with the fewest sites: what its quorum hides is the least."""
    return sum_groups(agreement, 1)[-1]


def _drawn(agreement: Agreement, round_: int) -> list[str]:
    """All sites in the round's random order: by SHA-256 of agreement, round and name."""
    digest = (
        agreement.model_copy(update={"run": "", "rules_digest": "", "spec_digest": ""})
        .digest()
        .hex()
    )
    return sorted(
        agreement.sites,
        key=lambda site: canonical.digest(["hedgerow/sum-groups/1", digest, round_, site]),
    )
