"""Secure sums of several groups of sites side by side: five exchanges for all of them together.

Each group is a secure sum of its own, with its own keys, quorum and survivors; what they share is
the exchange, in which every site is asked one question. A group that fails opens nothing and is
missing from the round. Keys are not exchanged ahead: the next round's groups are other ones.
"""

import hashlib
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass

from federation.envelope import Body, Phase
from federation.errors import RoundFailed
from federation.ring_vector import RingVector
from federation.round_messages import Work
from privacy.message_sizes import largest_answer
from privacy.secure_sum import coordinator
from server.conversation import Question
from server.secure_round import Line, Losses, SecureSum, Session, SurvivorRecord

EXCHANGES_IN_GROUPS = 5


@dataclass(frozen=True, slots=True)
class GroupSum:
    """What one group revealed: the modular sum, in the layout's rings, and of which sites."""

    total: RingVector
    survivors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GroupedSum(SecureSum):
    """What the groups of one round revealed; `total` adds up those that were opened.

    Attributes:
        groups: at least as many as were asked for.
    """

    groups: tuple[GroupSum, ...]


@dataclass(frozen=True, slots=True)
class _Step:
    """What a group asks its sites next; `take` is given every answer as it comes, if it is there.

    Attributes:
        bodies: per site, what it is asked.
        take: of a site's name and answer.
    """

    bodies: Mapping[str, Body]
    take: Callable[[str, bytes], None] | None = None


_PHASES = (Phase.ADVERTISE, Phase.SHARE, Phase.TRAIN, Phase.SIGN, Phase.OPEN)
_Steps = Generator[_Step, Mapping[str, bytes], GroupSum]


def sum_in_groups(
    line: Line,
    sessions: Sequence[Session],
    model: bytes,
    survivors: SurvivorRecord,
    fewest: int,
) -> GroupedSum:
    """Run one session per group, all in the same exchanges.

    Args:
        line: to the sites.
        sessions: of disjoint groups, at the same place of the run.
        model: the global model as it travels.
        survivors: of all groups together; a group that has some there is bound to them.
        fewest: groups that must be opened.

    Raises:
        FailedRound: fewer were.
    """
    round_ = _GroupedRound(line, sessions, model, survivors)
    for phase in _PHASES:
        round_.ask(phase)
    return round_.revealed(fewest)


class _GroupedRound:
    """The groups' sums while they run."""

    def __init__(
        self, line: Line, sessions: Sequence[Session], model: bytes, survivors: SurvivorRecord
    ) -> None:
        self._line, self._sessions, self._losses = line, sessions, Losses()
        self._sites = [session.terms.sites for session in sessions]
        bound = [_bound_in(session, survivors) for session in sessions]
        self._opened: dict[int, GroupSum] = {}
        self._failed: dict[int, RoundFailed] = {}
        self._running: dict[int, _Steps] = {}
        self._asking: dict[int, _Step] = {}
        for group, session in enumerate(sessions):
            absent = set(session.terms.sites) - set(bound[group].bound or session.terms.sites)
            self._losses.note(absent, "not invited: the others signed a sum without it before")
            self._running[group] = _steps(line, session, model, bound[group])
            self._asking[group] = next(self._running[group])

    def ask(self, phase: Phase) -> None:
        """One exchange with the sites of all groups that are still running."""
        if not self._asking:
            return
        asked = {site: group for group, step in self._asking.items() for site in step.bodies}
        takes = {group: step.take for group, step in self._asking.items()}

        def take(site: str, body: bytes) -> None:
            of_group = takes[asked[site]]
            if of_group is not None:
                of_group(site, body)

        bodies = {site: self._asking[group].bodies[site] for site, group in asked.items()}
        largest = max(largest_answer(phase, session.terms) for session in self._sessions)
        answers, _ = self._line.conversation.ask_with_rider(
            Question(phase, self._sessions[0].place, bodies, largest),
            None,
            self._line.timeout,
            take if phase is Phase.TRAIN else None,
        )
        self._losses.add(answers)
        for group in tuple(self._asking):
            own = {s: body for s, body in answers.bodies.items() if asked[s] == group}
            self._advance(group, own)

    def _advance(self, group: int, answers: Mapping[str, bytes]) -> None:
        del self._asking[group]
        try:
            self._asking[group] = self._running[group].send(answers)
        except StopIteration as done:
            self._opened[group] = done.value
        except RoundFailed as error:
            self._failed[group] = error

    def revealed(self, fewest: int) -> GroupedSum:
        """The groups' sums.

        Raises:
            FailedRound: fewer than `fewest` were opened.
        """
        for group, error in self._failed.items():
            self._losses.note(self._sites[group], f"its group has no sum: {error}")
        if len(self._opened) < fewest:
            raise self._losses.failed(
                RoundFailed(
                    f"{len(self._opened)} of {len(self._sites)} groups have a sum, {fewest} are "
                    "needed"
                )
            )
        groups = tuple(self._opened[group] for group in sorted(self._opened))
        total = groups[0].total.copy()
        for one in groups[1:]:
            total.add(one.total)
        survivors = tuple(sorted(site for one in groups for site in one.survivors))
        lost = {site for sites in self._sites for site in sites} - set(survivors)
        reasons = self._losses.dropped
        return GroupedSum(
            total=total,
            survivors=survivors,
            dropped={s: reasons.get(s, "excluded by a failed check") for s in sorted(lost)},
            exchanges=EXCHANGES_IN_GROUPS,
            prepared=None,
            noise_seeds={},
            groups=groups,
        )


def _bound_in(session: Session, survivors: SurvivorRecord) -> SurvivorRecord:
    """The record of one group, kept within that of the round."""

    def record(members: tuple[str, ...]) -> None:
        survivors.extend(members)

    of_round = set(survivors.bound or ())
    bound = tuple(site for site in session.terms.sites if site in of_round)
    return SurvivorRecord(bound or None, record)


def _steps(line: Line, session: Session, model: bytes, survivors: SurvivorRecord) -> _Steps:
    """One group's sum: what it asks, exchange by exchange, and in the end what it revealed."""
    roster = line.conversation.roster.public_keys()
    invited = survivors.bound or session.terms.sites
    adverts = yield _Step(dict.fromkeys(invited, session.invitation.to_bytes()))
    sharing, bundles = coordinator.gather(session.terms, adverts, roster)
    dealt = yield _Step(bundles)
    masking, envelopes = coordinator.route(sharing, dealt)
    sums = coordinator.Accumulation(masking, hashlib.sha256(model).digest())
    work = {site: Work(model, sealed).pieces() for site, sealed in envelopes.items()}
    yield _Step(work, sums.add)
    signing, named = sums.close()
    survivors.bind(signing.survivors)
    agreed = yield _Step(dict.fromkeys(signing.survivors, named))
    opening, agreements = coordinator.relay(signing, agreed)
    answers = yield _Step(agreements)
    revealed = coordinator.reveal(opening, answers)
    return GroupSum(revealed.total, revealed.survivors)
