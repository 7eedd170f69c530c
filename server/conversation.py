"""Asking sites and believing only what they signed: node ids are addresses, never identities."""

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from federation.envelope import Phase, Reply, Request, parse_reply
from federation.errors import ProtocolViolation, RoundFailed
from federation.roster import Roster
from server.transport import Lost, Transport


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a run a question is asked; round and attempt are 0 outside rounds."""

    run: str
    round: int = 0
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Answers:
    """What came back to one question.

    Attributes:
        bodies: per site that answered `ok`, the verified reply's body.
        lost: per site that did not, why.
        refusals: per site that refused, its code.
    """

    bodies: Mapping[str, bytes]
    lost: Mapping[str, str]
    refusals: Mapping[str, str]


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
        self, phase: Phase, place: Place, bodies: Mapping[str, bytes], timeout: float
    ) -> Answers:
        """Ask each site in `bodies`; wait at most `timeout` seconds."""
        requests = {
            site: self._request(phase, place, body, timeout) for site, body in bodies.items()
        }
        replies = self.transport.exchange(
            {self.addresses[site]: request for site, request in requests.items()}, timeout
        )
        keys = self.roster.public_keys()
        answered: dict[str, bytes] = {}
        lost: dict[str, str] = {}
        refusals: dict[str, str] = {}
        for site, request in requests.items():
            raw = replies.get(self.addresses[site], Lost("no reply"))
            if isinstance(raw, Lost):
                lost[site] = f"{phase}: {raw.reason}"
                continue
            try:
                reply = Reply.verify(raw, self.roster.federation, request, keys[site], site)
            except ProtocolViolation as error:
                lost[site] = f"{phase}: {error}"
                continue
            if reply.status == "ok":
                answered[site] = reply.body
            else:
                lost[site] = f"{phase}: {reply.status}: {reply.reason}"
                if reply.status == "refused":
                    refusals[site] = reply.code
        return Answers(answered, lost, refusals)

    def find_sites(
        self, sites: tuple[str, ...], place: Place, timeout: float
    ) -> tuple[dict[str, int], dict[str, bytes]]:
        """Which node speaks for which site, and each site's answer to `enlist`.

        Nodes that come online late are waited for: Flower starts a ServerApp before all nodes are
        registered.

        Raises:
            RoundFailed: not every site was found within `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        addresses: dict[str, int] = {}
        bodies: dict[str, bytes] = {}
        heard: set[int] = set()
        trouble: dict[int, str] = {}
        while set(addresses) != set(sites):
            new = [node for node in self.transport.nodes() if node not in heard]
            for node, site, body in self._enlist(new, place, timeout, trouble):
                if site in sites and site not in addresses:
                    addresses[site], bodies[site] = node, body
            heard |= set(new)
            if time.monotonic() > deadline:
                missing = ", ".join(sorted(set(sites) - set(addresses)))
                told = f"; {'; '.join(sorted(set(trouble.values())))}" if trouble else ""
                raise RoundFailed(
                    f"{len(addresses)} of {len(sites)} sites are online after {timeout:g} s; "
                    f"missing: {missing}{told}"
                )
            if not new:
                time.sleep(0.05)
        return addresses, bodies

    def _enlist(
        self, nodes: list[int], place: Place, timeout: float, trouble: dict[int, str]
    ) -> list[tuple[int, str, bytes]]:
        requests = {
            node: self._request(Phase.ENLIST, place, self.roster.federation.encode(), timeout)
            for node in nodes
        }
        found = []
        keys = self.roster.public_keys()
        for node, raw in (self.transport.exchange(requests, timeout) if requests else {}).items():
            if isinstance(raw, Lost):
                trouble[node] = raw.reason
                continue
            try:
                site = parse_reply(raw)[0].site
                if site not in keys:
                    raise ProtocolViolation(f"a node speaks for {site!r}, which no roster knows")
                reply = Reply.verify(raw, self.roster.federation, requests[node], keys[site], site)
            except ProtocolViolation as error:
                trouble[node] = str(error)
                continue
            if reply.status == "ok":
                found.append((node, site, reply.body))
            else:
                trouble[node] = f"{site}: {reply.reason}"
        return found

    def _request(self, phase: Phase, place: Place, body: bytes, timeout: float) -> Request:
        return Request(
            place.run,
            place.round,
            place.attempt,
            phase,
            secrets.token_hex(16),
            self.clock() + timeout,
            body,
        )
