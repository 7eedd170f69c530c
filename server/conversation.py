"""Asking sites and believing only what they signed: node ids are addresses, never identities."""

import secrets
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from federation.envelope import Body, Data, Phase, Reply, Request, parse_reply, reply_parts
from federation.errors import PrivacyRefusal, ProtocolViolation, RoundFailed
from federation.roster import Roster
from privacy.message_sizes import LARGEST_ANSWER, require_size
from server.transport import Lost, Transport

LOOK_SECONDS = 0.5
"""Between two looks for nodes that are not there yet, or that gave no answer."""
ENLIST_AGAIN_SECONDS = 20.0
"""After which a node that is silent is asked anew: what died with its process is not answered."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a run a question is asked; round and attempt are 0 outside rounds."""

    run: str
    round: int = 0
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Question:
    """What some sites are asked; `bodies` says whom and with which body.

    Attributes:
        largest_answer: bytes of a body; a larger one is not an answer.
    """

    phase: Phase
    place: Place
    bodies: Mapping[str, Body]
    largest_answer: int

    def for_only(self, sites: Collection[str]) -> "Question":
        """The same, of some of the sites."""
        return replace(self, bodies={s: body for s, body in self.bodies.items() if s in sites})


@dataclass(frozen=True, slots=True)
class Answers:
    """What came back to one question.

    Attributes:
        bodies: per site that answered `ok`, the verified reply's body.
        lost: per site that did not, why.
        refusals: per site that refused, its code.
        silent: sites that said nothing that they signed.
    """

    bodies: Mapping[str, bytes]
    lost: Mapping[str, str]
    refusals: Mapping[str, str]
    silent: frozenset[str] = frozenset()

    def completed_by(self, later: "Answers") -> "Answers":
        """These, and what came when the silent were asked once more."""
        lost = {s: why for s, why in self.lost.items() if s not in later.bodies} | dict(later.lost)
        refusals = {**self.refusals, **later.refusals}
        return Answers({**self.bodies, **later.bodies}, lost, refusals, later.silent)


@dataclass(frozen=True)
class Conversation:
    """The coordinator's line to the sites of one federation.

    Attributes:
        roster: the public keys that replies are verified with.
        transport: how requests travel.
        addresses: node id of each enlisted site.
        clock: seconds since the epoch; requests expire by it.
    """

    roster: Roster
    transport: Transport
    addresses: Mapping[str, int] = field(default_factory=dict)
    clock: Callable[[], float] = time.time

    def ask(
        self, phase: Phase, place: Place, bodies: Mapping[str, Body], timeout: float
    ) -> Answers:
        """Ask each site in `bodies` outside sessions; wait at most `timeout` seconds."""
        question = Question(phase, place, bodies, LARGEST_ANSWER[phase])
        return self.ask_with_rider(question, None, timeout)[0]

    def ask_with_rider(
        self,
        question: Question,
        rider: Question | None,
        timeout: float,
        take: Callable[[str, bytes], None] | None = None,
    ) -> tuple[Answers, Answers]:
        """Ask two questions in one exchange; the second rides on the first where a site has both.

        Args:
            question: the first.
            rider: the second; a site that is asked only this gets it as a message of its own.
            timeout: seconds to wait at most.
            take: given every valid answer to the first when it arrives; its body is then forgotten,
                and stands in the answers as empty.
        """
        first, second = _Heard(), _Heard()
        asked = self._requests(question, timeout)
        riding = self._requests(rider, timeout) if rider else {}
        carried = {
            site: replace(request, rider=riding.get(site)) for site, request in asked.items()
        }
        alone = {site: request for site, request in riding.items() if site not in asked}
        at = {self.addresses[site]: site for site in (*carried, *alone)}
        sent = {self.addresses[s]: request for s, request in (*carried.items(), *alone.items())}
        largest = question.largest_answer
        largest_riding = rider.largest_answer if rider else 0
        for node, raw in self.transport.exchange(sent, timeout):
            site = at.pop(node)
            if site in alone:
                self._hear(second, site, alone[site], raw, largest_riding)
                continue
            reply = self._hear(first, site, asked[site], raw, largest)
            if reply is not None and reply.status == "ok" and take is not None:
                take(site, reply.body)
                first.answered[site] = b""
            if site in riding:
                self._hear(second, site, riding[site], _ridden(raw), largest_riding)
        for site in at.values():
            heard = second if site in alone else first
            heard.silent.add(site)
            heard.lost[site] = f"{(alone if site in alone else asked)[site].phase}: no reply"
        return first.answers(), second.answers()

    @cached_property
    def _keys(self) -> Mapping[str, Ed25519PublicKey]:
        """Parsed once, not for every reply."""
        return self.roster.public_keys()

    def _requests(self, question: Question, timeout: float) -> dict[str, Request]:
        return {
            site: self._request(question.phase, question.place, body, timeout)
            for site, body in question.bodies.items()
        }

    def _hear(
        self, heard: "_Heard", site: str, request: Request, raw: Data | Lost, largest: int
    ) -> Reply | None:
        """Note what a site answered; None if it did not, or not with its signature."""
        phase = request.phase
        if isinstance(raw, Lost):
            heard.silent.add(site)
            heard.lost[site] = f"{phase}: {raw.reason}"
            return None
        key = self._keys[site]
        try:
            require_size(phase, len(reply_parts(raw)[0]), largest)
            reply = Reply.verify(raw, self.roster.federation, request, key, site)
        except ProtocolViolation as error:
            heard.silent.add(site)
            heard.lost[site] = f"{phase}: {error}"
            return None
        if reply.status == "ok":
            heard.answered[site] = reply.body
        else:
            heard.lost[site] = f"{phase}: {reply.status}: {reply.code}: {reply.reason}"
            if reply.status == "refused":
                heard.refusals[site] = reply.code
        return reply

    def find_sites(
        self, sites: tuple[str, ...], place: Place, timeout: float
    ) -> tuple[dict[str, int], dict[str, bytes]]:
        """Which node speaks for which site, and each site's answer to `enlist`.

        Nodes that come online late are waited for: Flower starts a ServerApp before all nodes are
        registered. One that gave no answer is asked again: its agent may be on its way back.

        Raises:
            RoundFailed: not every site was found within `timeout` seconds.
            PrivacyRefusal: a site will not, by its own rules.
        """
        deadline = time.monotonic() + timeout
        addresses: dict[str, int] = {}
        bodies: dict[str, bytes] = {}
        heard: set[int] = set()
        trouble: dict[int, str] = {}
        while set(addresses) != set(sites):
            new = [node for node in self.transport.nodes() if node not in heard]
            found, unheard = self._enlist(new, sites, place, timeout, trouble)
            for node, site, body in found:
                if site in sites and site not in addresses:
                    addresses[site], bodies[site] = node, body
            heard |= set(new) - unheard
            if time.monotonic() > deadline:
                missing = ", ".join(sorted(set(sites) - set(addresses)))
                told = f"; {'; '.join(sorted(set(trouble.values())))}" if trouble else ""
                raise RoundFailed(
                    f"{len(addresses)} of {len(sites)} sites are online after {timeout:g} s; "
                    f"missing: {missing}{told}"
                )
            if not set(new) - unheard:
                time.sleep(LOOK_SECONDS)
        return addresses, bodies

    def _enlist(
        self,
        nodes: list[int],
        sites: tuple[str, ...],
        place: Place,
        timeout: float,
        trouble: dict[int, str],
    ) -> tuple[list[tuple[int, str, bytes]], set[int]]:
        """Node, site and body of those that enlist, and the nodes to be asked again.

        Raises:
            PrivacyRefusal: one of `sites` refuses.
        """
        requests = {
            node: self._request(Phase.ENLIST, place, self.roster.federation.encode(), timeout)
            for node in nodes
        }
        found = []
        keys, unheard = self._keys, set(requests)
        patience = min(timeout, ENLIST_AGAIN_SECONDS)
        for node, raw in self.transport.exchange(requests, patience) if requests else ():
            if isinstance(raw, Lost):
                trouble[node] = raw.reason
                continue
            unheard.discard(node)
            try:
                require_size(Phase.ENLIST, len(reply_parts(raw)[0]), LARGEST_ANSWER[Phase.ENLIST])
                site = parse_reply(raw)[0].site
                if site not in keys:
                    raise ProtocolViolation(f"a node speaks for {site!r}, which no roster knows")
                reply = Reply.verify(raw, self.roster.federation, requests[node], keys[site], site)
            except ProtocolViolation as error:
                trouble[node] = str(error)
                continue
            trouble.pop(node, None)
            if reply.status == "ok":
                found.append((node, site, reply.body))
                continue
            trouble[node] = f"{site}: {reply.status}: {reply.code}: {reply.reason}"
            if reply.status == "refused" and reply.code != "protocol" and site in sites:
                raise PrivacyRefusal(f"not every site takes part: {trouble[node]}")
            if reply.status == "failed" or reply.code == "protocol":
                unheard.add(node)  # a full disk, a late answer: it may pass
        return found, unheard

    def _request(self, phase: Phase, place: Place, body: Body, timeout: float) -> Request:
        whole, pieces = (body, ()) if isinstance(body, bytes) else (b"", body)
        return Request(
            place.run,
            place.round,
            place.attempt,
            phase,
            secrets.token_hex(16),
            self.clock() + timeout,
            whole,
            pieces=pieces,
        )


def _ridden(raw: bytes | Lost) -> Data | Lost:
    """What came back for a rider; it is signed by itself, whatever the reply that carried it is."""
    if isinstance(raw, Lost):
        return raw
    try:
        return reply_parts(raw)[1] or Lost("no reply")
    except ProtocolViolation as error:
        return Lost(str(error))


@dataclass
class _Heard:
    """Answers while they come in."""

    answered: dict[str, bytes] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)

    def answers(self) -> Answers:
        return Answers(self.answered, self.lost, self.refusals, frozenset(self.silent))
