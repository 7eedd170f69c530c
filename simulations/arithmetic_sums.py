"""A round's sum by arithmetic alone: the vectors that sites would mask, added up unmasked.

The protocol of `privacy.secure_sum` opens the sum of the survivors' vectors modulo each ring, and
nothing else; this computes that sum directly. The coordinator's side of a run is the same code
behind it: layout, decoding, noise that is surplus, steps, findings. Memory is that of one model per
worker and one sum, whatever the number of sites.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from federation.agreement import Agreement
from federation.envelope import BUDGET_EXHAUSTED, Phase
from federation.errors import RoundFailed
from federation.layout import VectorLayout
from federation.ring_vector import RingVector
from federation.round_layout import RoundKind
from federation.round_messages import Spending
from federation.run_folder import RunFolder
from federation.sum_groups import SumGroup
from privacy.run_plan import noise_in_the_sum
from privacy.surplus_noise import revealed_seeds
from server.grouped_round import GroupedSum, GroupSum
from server.run_record import record_attempt
from server.secure_round import FailedRound, SecureSum
from server.secure_sums import drawn_groups
from simulations.chunk_player import ChunkSum, ChunkWork
from simulations.chunk_workers import ChunkWorkers
from simulations.fault_plan import Loss
from simulations.simulated_ledgers import SimulatedLedgers

IN_THE_SUM = frozenset({Phase.SIGN, Phase.OPEN})
"""Phases in which a site is lost too late for its vector to be missing from the sum."""

LostIn = Callable[[str, int, int], Loss | None]
"""Of a site, a round and an attempt: where the site is lost and why; None if it is not."""


@dataclass
class ArithmeticSums:
    """Sums of the rounds of one run.

    Attributes:
        workers: that play the sites.
        folder: of the run.
        agreement: of the run.
        layout: of the vector of a round.
        chunks: of sites that sum together.
        lost_in: which sites fail where.
        ledgers: what the sites have spent.
        attempts: per round number, the last attempt's; rounds add theirs.
    """

    workers: ChunkWorkers
    folder: RunFolder
    agreement: Agreement
    layout: Callable[[RoundKind], VectorLayout]
    chunks: Callable[[tuple[str, ...]], list[tuple[str, ...]]]
    lost_in: LostIn
    ledgers: SimulatedLedgers
    attempts: dict[int, int] = field(default_factory=dict)

    def attempt(self, number: int, kind: RoundKind, model: bytes) -> SecureSum:
        """One attempt at a round, as `server.secure_sums.Sums.attempt`."""
        groups = drawn_groups(self.agreement, number)
        attempt = self.attempts[number] = self.attempts.get(number, 0) + 1
        record_attempt(self.folder, number, attempt)
        absent = self._absent(groups, number, attempt)
        if kind is RoundKind.TRAIN:
            self._require_budget(groups, absent)
        trained = [s for group in groups for s in group.sites if not _is_out(absent.get(s))]
        if kind is RoundKind.TRAIN and self.attempts[number] == 1:
            self.ledgers.charge(trained)
        opened, dropped, secrets = self._opened(groups, absent, number, kind, model)
        rule = self.agreement.robustness
        grouped = rule.is_grouped and kind is RoundKind.TRAIN
        fewest = rule.fewest_groups if grouped else 1
        dropped |= {
            s: f"{lost.phase}: {lost.reason}" for s, lost in absent.items() if _is_out(lost)
        }
        if len(opened) < fewest:
            raise _too_few(groups, opened, fewest, dropped)
        survivors = tuple(sorted(site for group in opened for site in group.survivors))
        total = opened[0].total.copy()
        for group in opened[1:]:
            total.add(group.total)
        told = {s: why for s, why in sorted(dropped.items()) if s not in set(survivors)}
        seeds = self._revealed(secrets, survivors, absent)
        if grouped:
            return GroupedSum(total, survivors, told, 0, None, {}, tuple(opened))
        return SecureSum(total, survivors, told, 0, None, seeds)

    def close(self, *, completed: bool) -> Mapping[str, Spending]:  # noqa: ARG002 - nothing is kept
        """What each site would have spent."""
        return self.ledgers.statements()

    def _absent(self, groups: tuple[SumGroup, ...], number: int, attempt: int) -> dict[str, Loss]:
        found = {
            site: self.lost_in(site, number, attempt) for group in groups for site in group.sites
        }
        return {site: lost for site, lost in found.items() if lost is not None}

    def _require_budget(self, groups: tuple[SumGroup, ...], absent: Mapping[str, Loss]) -> None:
        """Return if enough sites can pay for the round.

        Raises:
            FailedRound: the budget of sites does not cover it.
        """
        asked = [site for group in groups for site in group.sites if site not in absent]
        spent = [site for site in asked if not self.ledgers.can_pay(site)]
        if spent:
            why = f"{Phase.ADVERTISE}: refused: {BUDGET_EXHAUSTED}: the budget does not cover it"
            reason = f"the budget of {len(spent)} of {len(asked)} sites does not cover the round"
            refusals = dict.fromkeys(spent, BUDGET_EXHAUSTED)
            raise FailedRound(reason, dict.fromkeys(spent, why), refusals)

    def _opened(
        self,
        groups: tuple[SumGroup, ...],
        absent: Mapping[str, Loss],
        number: int,
        kind: RoundKind,
        model: bytes,
    ) -> tuple[list[GroupSum], dict[str, str], dict[str, bytes]]:
        """The sums of groups that have enough survivors; who was dropped; secrets of noise."""
        out = frozenset(site for site, lost in absent.items() if _is_out(lost))
        works, of_group = [], []
        for index, group in enumerate(groups):
            for sites in self.chunks(group.sites):
                works.append(ChunkWork(kind, number, sites, out & set(sites)))
                of_group.append(index)
        layout = self.layout(kind)
        totals = [RingVector.zeros(layout.stretches) for _ in groups]
        survivors: list[list[str]] = [[] for _ in groups]
        dropped: dict[str, str] = {}
        secrets: dict[str, bytes] = {}

        def take(chunk: int, done: ChunkSum) -> None:
            totals[of_group[chunk]].add(done.total)
            survivors[of_group[chunk]] += done.survivors
            dropped.update(done.failed)
            secrets.update(done.secrets)

        for chunk, why in self.workers.play(works, model, take).items():
            dropped.update(dict.fromkeys(works[chunk].sites, why))
        opened = [
            GroupSum(totals[index], tuple(sorted(survivors[index])))
            for index, group in enumerate(groups)
            if len(survivors[index]) >= group.quorum
        ]
        return opened, dropped, secrets

    def _revealed(
        self,
        secrets: Mapping[str, bytes],
        survivors: tuple[str, ...],
        absent: Mapping[str, Loss],
    ) -> dict[str, tuple[bytes, ...]]:
        """Seeds of surplus noise, of the survivors that are there to open their shares."""
        plan = noise_in_the_sum(self.agreement)
        if plan is None or plan.surplus is None or not secrets:
            return {}
        there = [site for site in survivors if site not in absent]
        return {s: revealed_seeds(plan.surplus, secrets[s], len(survivors)) for s in there}


def _is_out(lost: Loss | None) -> bool:
    return lost is not None and lost.phase not in IN_THE_SUM


def _too_few(
    groups: tuple[SumGroup, ...], opened: list[GroupSum], fewest: int, dropped: dict[str, str]
) -> FailedRound:
    reasons = Counter(dropped.values())
    told = "".join(f"; {count} sites: {why}" for why, count in reasons.most_common(5))
    if len(groups) == 1:
        left = len(groups[0].sites) - len(dropped)
        failure = RoundFailed(f"{left} sites are left, the quorum is {groups[0].quorum}{told}")
    else:
        failure = RoundFailed(f"{len(opened)} of {len(groups)} groups have a sum, {fewest} needed")
    return FailedRound(str(failure), dropped, {})
