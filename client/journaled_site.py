"""A site's half of a secure sum that lives in its journal: each answer may come from a new process.

A state of `privacy.secure_sum.site` follows from the terms, a secret seed and the messages that
were answered to. The journal holds exactly these, each once; the state before an answer is made
again from them. So nothing need be pickled, and a process may end after every message, as Flower's
do. To make the masked state again costs its masks once more, on a vector of zeros that is dropped.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from client.session_journal import SessionJournal
from federation.entropy import Entropy, SeededEntropy, SystemEntropy
from federation.errors import ProtocolViolation
from federation.ring_vector import RingVector
from privacy.secure_sum import site
from privacy.secure_sum.stages import Stage
from privacy.secure_sum.terms import SessionTerms
from privacy.secure_sum.transcript import DIGEST_BYTES
from privacy.secure_sum.weighted_mean import WeightedMeanPlan

_SEED_BYTES = 32
_SYSTEM = SystemEntropy()


@dataclass(frozen=True, slots=True)
class SecureSumSite:
    """Who a site is, and the least that it demands: all of it is the site's own.

    Attributes:
        federation: name that the terms must bear.
        name: of this site, in the roster.
        identity: the key that signs for it.
        roster: this site's pinned copy of every site's public key.
        floor: the smallest quorum and threshold that it takes part under.
        clip: the largest L2 norm of an update that it contributes.
        largest_weight: the largest weight that it contributes under.
        journal: what it keeps between two messages.
    """

    federation: str
    name: str
    identity: Ed25519PrivateKey = field(repr=False)
    roster: Mapping[str, Ed25519PublicKey] = field(repr=False)
    floor: site.SitePolicyFloor
    clip: float
    largest_weight: int
    journal: SessionJournal = field(repr=False)


class JournaledSession:
    """One session of a site; every method is one answer, and none is given twice.

    Args:
        owner: whose session it is.
        run: what the terms must name as their run.
        round_: likewise; later than every round that was begun for this run.
        entropy: of the session's seed.
    """

    def __init__(
        self, owner: SecureSumSite, run: str, round_: int, entropy: Entropy = _SYSTEM
    ) -> None:
        self._owner, self._run, self._round, self._entropy = owner, run, round_, entropy
        self._line = repr((owner.federation, owner.name, run))

    def advertise(self, terms_bytes: bytes, plan_bytes: bytes) -> bytes:
        """Fresh keys for these terms.

        Raises:
            ProtocolViolation: the terms or the plan are not what this site takes part under, or it
                began this round or a later one before.
        """
        terms = SessionTerms.from_bytes(terms_bytes)
        self._require_acceptable(terms, WeightedMeanPlan.from_bytes(plan_bytes))
        seed = self._entropy.bytes(_SEED_BYTES)
        _, answer = self._advertise(terms, seed)
        entries = {"seed": seed, "terms": terms_bytes, "plan": plan_bytes}
        self._owner.journal.begin(self._line, self._round, entries)
        return answer

    def share(self, bundle: bytes) -> bytes:
        """The dealt shares, for the adverts in `bundle`."""
        _, answer = self._share(bundle)
        self._record(Stage.SHARE, bundle)
        return answer

    def accept_envelopes(self, envelopes: bytes, model: bytes) -> None:
        """Keep the envelopes, before any training: a round is trained for once.

        They are opened and checked when the vector is there.

        Args:
            envelopes: what the other sites sealed for this one.
            model: digest of the global model that the vector will be about, 32 bytes.
        """
        self._read(Stage.SHARE)
        self._record(Stage.MASK, model + envelopes)

    def mask(self, vector: RingVector) -> bytes:
        """The masked vector, for the envelopes that were accepted; called once after that."""
        _, answer = self._mask(self._read(Stage.MASK), vector)
        return answer

    def sign(self, survivors: bytes) -> bytes:
        """Agreement to a survivor set."""
        _, answer = self._sign(survivors)
        self._record(Stage.SIGN, survivors)
        return answer

    def open_shares(self, agreements: bytes) -> bytes:
        """The shares that open the sum; the session is over and its seed forgotten."""
        state, _ = self._sign(self._read(Stage.SIGN))
        _, answer = site.open_shares(state, agreements)
        self._record(Stage.OPEN, b"")
        self.end()
        return answer

    def end(self) -> None:
        """Give no further answer in this session."""
        self._owner.journal.end(self._line, self._round)

    @property
    def plan(self) -> WeightedMeanPlan:
        """What the site agreed to contribute."""
        return WeightedMeanPlan.from_bytes(self._read("plan"))

    def _advertise(self, terms: SessionTerms, seed: bytes) -> tuple[site.Advertised, bytes]:
        owner = self._owner
        # The seed is the system's own and secret: this is a key derivation, not a simulation.
        entropy = SeededEntropy(seed).child(Stage.ADVERTISE)
        return site.advertise(terms, owner.name, owner.identity, entropy, owner.floor)

    def _share(self, bundle: bytes) -> tuple[site.Shared, bytes]:
        seed = self._read("seed")
        state, _ = self._advertise(SessionTerms.from_bytes(self._read("terms")), seed)
        entropy = SeededEntropy(seed).child(Stage.SHARE)
        return site.share(state, bundle, self._owner.roster, entropy)

    def _mask(self, entry: bytes, vector: RingVector | None) -> tuple[site.Masked, bytes]:
        state, _ = self._share(self._read(Stage.SHARE))
        model, envelopes = entry[:DIGEST_BYTES], entry[DIGEST_BYTES:]
        summed = RingVector.zeros(state.terms.stretches) if vector is None else vector
        return site.mask(state, envelopes, model, summed)

    def _sign(self, survivors: bytes) -> tuple[site.Signed, bytes]:
        # The second part of the answer, the masks alone, is dropped: they must never leave.
        state, _ = self._mask(self._read(Stage.MASK), None)
        return site.sign(state, survivors)

    def _read(self, entry: str) -> bytes:
        return self._owner.journal.read(self._line, self._round, entry)

    def _record(self, entry: str, data: bytes) -> None:
        self._owner.journal.record(self._line, self._round, entry, data)

    def _require_acceptable(self, terms: SessionTerms, plan: WeightedMeanPlan) -> None:
        owner = self._owner
        named = terms.federation, terms.run, terms.round
        expected = owner.federation, self._run, self._round
        _require(named == expected, f"terms: they are for {named}, expected {expected}")
        strangers = sorted(set(terms.sites) - set(owner.roster))
        _require(not strangers, f"terms: not in this site's roster: {', '.join(strangers)}")
        _require(terms.is_complete and not terms.groups, "terms: expected all sites as neighbours")
        layout = plan.layout()
        _require(terms.config_digest == plan.digest(), "terms: they are for another plan")
        _require(
            terms.layout_digest == layout.digest() and terms.stretches == layout.stretches,
            "terms: the layout is not the plan's",
        )
        _require(plan.summands == len(terms.sites), "plan: not for this number of sites")
        _require(
            plan.clip <= owner.clip,
            f"plan: the clip {plan.clip:g} is above this site's, {owner.clip:g}",
        )
        _require(
            plan.largest_weight <= owner.largest_weight,
            f"plan: the largest weight {plan.largest_weight} is above this site's, "
            f"{owner.largest_weight}",
        )


def _require(holds: bool, check: str) -> None:  # noqa: FBT001 - an assertion that cannot be switched off
    if not holds:
        raise ProtocolViolation(check)
