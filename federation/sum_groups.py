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
from federation.client_sampling import ClientSampling, sample_quorum
from federation.config import FederationRules, group_quorum, group_sizes, group_threshold
from federation.errors import ProtocolViolation


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
    rule, sampling = agreement.robustness, agreement.sampling
    if sampling.kind != "all":
        return (
            _sample_group(agreement, sampling.drawn(agreement.sites, _seed(agreement, round_))),
        )
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
    """The group that a site sums with in a round.

    Raises:
        ProtocolViolation: it is in none: the sites of the round are a sample without it.
    """
    groups = (group for group in sum_groups(agreement, round_) if site in group.sites)
    found = next(groups, None)
    if found is None:
        raise ProtocolViolation(f"round {round_}: this site is not in the sample that was drawn")
    return found


def smallest_sum_group(agreement: AnyAgreement) -> SumGroup:
    """A group of a training round with the fewest sites: what its quorum hides is the least."""
    if isinstance(agreement, Agreement) and agreement.sampling.kind == "poisson":
        fewest = fewest_in_sum(agreement.federation, agreement.sampling)
        return _sample_group(agreement, agreement.sites[:fewest])
    return sum_groups(agreement, 1)[-1]


def fewest_in_sum(rules: FederationRules, sampling: ClientSampling) -> int:
    """Fewest sites whose updates a training round sums: the quorum, or that of a sample."""
    if sampling.kind == "all":
        return rules.quorum
    return sample_quorum(sampling, len(rules.sites), rules.quorum)


def _sample_group(agreement: Agreement, sites: tuple[str, ...]) -> SumGroup:
    """A sample as a group; it is too small to be summed where it is below its quorum."""
    rules = agreement.federation
    fewest = fewest_in_sum(rules, agreement.sampling)
    quorum = max(fewest, (len(sites) + 1) // 2 + 1)
    share = -(-rules.threshold * fewest // len(rules.sites))
    return SumGroup(sites, quorum, min(max(2, share), quorum))


def _seed(agreement: Agreement, round_: int) -> bytes:
    """Of a round's draw, 32 bytes: of the agreement without what names a folder or a consortium."""
    plain = agreement.model_copy(update={"run": "", "rules_digest": "", "spec_digest": ""})
    return bytes.fromhex(
        canonical.digest(["hedgerow/client-sample/1", plain.digest().hex(), round_])
    )


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
