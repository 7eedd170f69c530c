"""One secure sum over a Flower Grid, from the sites' names to the weighted mean.

Every exchange travels as a `train` or `evaluate` message, which is what a stock ClientApp has
functions for: its mod answers for it. Four exchanges of a session carry no model: names (once per
run), keys, shares before the app's message; agreement and opening after it.
"""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from federation.errors import ConfigError, RoundFailed
from privacy.secure_sum import coordinator, keys
from privacy.secure_sum.keys import SIGNATURE_BYTES
from privacy.secure_sum.stages import NONCE_BYTES, RECORD, Stage
from privacy.secure_sum.terms import SessionTerms
from privacy.secure_sum.transcript import Label
from privacy.secure_sum.weighted_mean import Mean, WeightedMeanPlan, model_digest

Roster = Mapping[str, Ed25519PublicKey]
Names = Mapping[int, str]
"""Per node, the site that it is."""

_log = logging.getLogger("flwr")


@dataclass(frozen=True, slots=True)
class Rules:
    """Under which a federation's sums are taken.

    Attributes:
        federation: its name, which the sites know.
        roster: every site's public key.
        quorum: fewest survivors whose sum is opened.
        threshold: fewest sites that together reconstruct a secret.
        timeout: seconds that an exchange without training may take.
    """

    federation: str
    roster: Roster = field(repr=False)
    quorum: int
    threshold: int
    timeout: float


@dataclass(frozen=True, slots=True)
class Session:
    """A session whose keys and shares are exchanged, and that waits for masked inputs.

    Attributes:
        category: of its messages, `train` or `evaluate`.
        round: of the strategy.
        plan: what is summed.
        masking: the coordinator's state.
        nodes: per site, its node.
        model: digest of the arrays that the app's messages hold, 32 bytes.
    """

    category: str
    round: int
    plan: WeightedMeanPlan
    masking: coordinator.Masking = field(repr=False)
    nodes: Mapping[str, int]
    model: bytes


class SecureSession:
    """Opens sessions on a Grid and closes them.

    Args:
        rules: of the federation.
        grid: whose nodes are asked.
    """

    def __init__(self, rules: Rules, grid: Grid) -> None:
        self._rules, self._grid = rules, grid
        self._names: dict[int, str] = {}

    def begin(
        self, category: str, round_: int, messages: list[Message], plan: WeightedMeanPlan
    ) -> tuple[Session, list[Message]]:
        """A session among the nodes of the strategy's messages, and these, ready to be sent.

        Args:
            category: of the messages.
            round_: of the strategy; each is asked for once per category.
            messages: one per node, all with the same arrays.
            plan: for as many sites as there are messages; fewer if some do not enlist.

        Raises:
            RoundFailed: too few sites are left.
            ConfigError: the messages cannot be of one session, or the terms break a rule.
        """
        by_node = {message.metadata.dst_node_id: message for message in messages}
        models = {model_digest(_described(message.content)) for message in messages}
        if len(by_node) != len(messages) or len(models) != 1:
            raise ConfigError(
                "strategy", f"{len(messages)} messages", "one per node, all with the same arrays"
            )
        nodes = self._enlist(category, by_node)
        terms, plan = self._terms(category, round_, plan, sorted(nodes))
        invited = dict.fromkeys(nodes.values(), terms.to_bytes())
        names = {node: name for name, node in nodes.items()}
        adverts = self._ask(category, round_, Stage.ADVERTISE, invited, names, plan.to_bytes())
        sharing, bundles = coordinator.gather(terms, adverts, self._rules.roster)
        told = {nodes[name]: bundle for name, bundle in bundles.items()}
        dealt = self._ask(category, round_, Stage.SHARE, told, names)
        masking, envelopes = coordinator.route(sharing, dealt)
        session = Session(category, round_, plan, masking, nodes, models.pop())
        asked = [
            _extended(by_node[nodes[name]], _request(Stage.MASK, round_, envelope))
            for name, envelope in envelopes.items()
        ]
        return session, asked

    def finish(self, session: Session, replies: Iterable[Message]) -> tuple[Mean, tuple[str, ...]]:
        """The weighted mean of the sites whose masked input came, and who they are.

        Raises:
            RoundFailed: too few are left.
        """
        names = {node: name for name, node in session.nodes.items()}
        accumulation = coordinator.Accumulation(session.masking, session.model)
        for name, masked in _answers(replies, names, Stage.MASK):
            accumulation.add(name, masked)
        signing, survivors = accumulation.close()
        told = {session.nodes[name]: survivors for name in signing.survivors}
        agreed = self._ask(session.category, session.round, Stage.SIGN, told, names)
        opening, agreements = coordinator.relay(signing, agreed)
        told = {session.nodes[name]: each for name, each in agreements.items()}
        opened = self._ask(session.category, session.round, Stage.OPEN, told, names)
        revealed = coordinator.reveal(opening, opened)
        return session.plan.decode(revealed.total), revealed.survivors

    def _enlist(self, category: str, nodes: Iterable[int]) -> dict[str, int]:
        """Per site that proved its name, its node; asked once per node and run."""
        unknown = [node for node in nodes if node not in self._names]
        nonce = os.urandom(NONCE_BYTES)
        proofs = self._ask(
            category, 0, Stage.ENLIST, dict.fromkeys(unknown, nonce), {n: str(n) for n in unknown}
        )
        for node in unknown:
            name = self._proven_name(node, nonce, proofs.get(str(node), b""))
            if name is not None:
                self._names[node] = name
        enlisted: dict[str, int] = {}
        for node in nodes:
            name = self._names.get(node)
            if name in enlisted:
                raise ConfigError(
                    "roster", name, "one node for each site", "two nodes hold this site's key"
                )
            if name is not None:
                enlisted[name] = node
        return enlisted

    def _proven_name(self, node: int, nonce: bytes, proof: bytes) -> str | None:
        signature, name = proof[:SIGNATURE_BYTES], proof[SIGNATURE_BYTES:]
        for site, key in self._rules.roster.items():
            place = f"{self._grid.run.run_id}/{node}".encode()
            body = self._rules.federation.encode(), place, nonce, name
            if site.encode() == name and keys.is_signed(key, signature, Label.ENLIST, *body):
                return site
        if proof:
            _log.warning("secure sum: node %d is no site of the roster", node)
        return None

    def _terms(
        self, category: str, round_: int, plan: WeightedMeanPlan, sites: list[str]
    ) -> tuple[SessionTerms, WeightedMeanPlan]:
        rules = self._rules
        if len(sites) < rules.quorum:
            raise RoundFailed(
                f"enlist: {len(sites)} of {plan.summands} nodes proved to be a site of the roster "
                f"and the quorum is {rules.quorum}"
            )
        plan = plan.for_sites(len(sites))
        layout = plan.layout()
        run = f"{self._grid.run.run_id}/{category}"
        terms = SessionTerms(
            rules.federation, run, round_, 1, plan.digest(), layout.digest(), tuple(sites),
            rules.threshold, rules.quorum, len(sites) - 1, layout.stretches,
        )  # fmt: skip
        return terms, plan

    def _ask(
        self,
        category: str,
        round_: int,
        stage: Stage,
        bodies: Mapping[int, bytes],
        names: Names,
        plan: bytes = b"",
    ) -> dict[str, bytes]:
        """Per name, the answer of each node that gave one in time."""
        messages = [
            Message(
                RecordDict({RECORD: _request(stage, round_, body, plan)}), node, category,
                ttl=self._rules.timeout, group_id=str(round_),
            )
            for node, body in bodies.items()
        ]  # fmt: skip
        replies = self._grid.send_and_receive(messages, timeout=self._rules.timeout)
        return dict(_answers(replies, names, stage))


def _request(stage: Stage, round_: int, body: bytes, plan: bytes = b"") -> ConfigRecord:
    return ConfigRecord({"stage": stage.value, "round": round_, "body": body, "plan": plan})


def _extended(message: Message, request: ConfigRecord) -> Message:
    """The strategy's message with one more record; strategies share one content among messages."""
    metadata = message.metadata
    return Message(
        RecordDict({**message.content, RECORD: request}),
        metadata.dst_node_id,
        metadata.message_type,
        ttl=metadata.ttl,
        group_id=metadata.group_id,
    )


def _answers(replies: Iterable[Message], names: Names, stage: Stage) -> Iterator[tuple[str, bytes]]:
    """Name and answer of each reply that holds one; the log says what the others hold."""
    for reply in replies:
        name = names.get(reply.metadata.src_node_id)
        if name is None:
            continue
        if reply.has_error():
            _log.warning("secure sum: %s: %s: %s", stage, name, reply.error.reason)
            continue
        record = reply.content.config_records.get(RECORD)
        answer = None if record is None else record.get("answer")
        if not isinstance(answer, bytes):
            _log.warning("secure sum: %s: %s: the reply holds no answer", stage, name)
            continue
        yield name, answer


def _described(content: RecordDict) -> Iterator[tuple[str, str, tuple[int, ...], bytes]]:
    for key, record in content.array_records.items():
        for name, array in record.items():
            yield f"{key}/{name}", array.dtype, tuple(array.shape), array.data
