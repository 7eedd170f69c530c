"""A site that lives in its journal: the same sum, each answer once, and no terms but its own."""

from dataclasses import replace

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from client.journaled_site import JournaledSession, SecureSumSite
from client.session_journal import MemoryJournal
from federation.errors import ProtocolViolation
from privacy.secure_sum import coordinator
from privacy.secure_sum.messages import Survivors
from privacy.secure_sum.site import SitePolicyFloor
from privacy.secure_sum.terms import SessionTerms
from privacy.secure_sum.weighted_mean import WeightedMeanPlan

NAMES = ("east", "north", "south", "west")
KEYS = {
    name: Ed25519PrivateKey.from_private_bytes(bytes([k + 1]) * 32) for k, name in enumerate(NAMES)
}
ROSTER = {name: key.public_key() for name, key in KEYS.items()}
PLAN = WeightedMeanPlan("n", 10, 1.0, {"a": (3,)}, {}, 4)
MODEL = bytes(range(32))


def terms_for(plan: WeightedMeanPlan, **changes) -> SessionTerms:
    layout = plan.layout()
    values = {
        "federation": "f", "run": "1/train", "round": 5, "attempt": 1,
        "config_digest": plan.digest(), "layout_digest": layout.digest(), "sites": NAMES,
        "threshold": 2, "quorum": 3, "degree": 3, "stretches": layout.stretches,
    }  # fmt: skip
    return SessionTerms(**(values | changes))


TERMS = terms_for(PLAN)


def owner(name: str = "north", **changes) -> SecureSumSite:
    one = SecureSumSite(
        "f", name, KEYS[name], ROSTER, SitePolicyFloor(3, 2), 1.0, 10, MemoryJournal()
    )
    return replace(one, **changes)


class Played:
    """A session of four sites, up to where each has masked; `sessions` go on from there."""

    def __init__(self) -> None:
        self.owners = {name: owner(name) for name in NAMES}
        adverts = {
            name: self.at(name).advertise(TERMS.to_bytes(), PLAN.to_bytes()) for name in NAMES
        }
        sharing, self.bundles = coordinator.gather(TERMS, adverts, ROSTER)
        dealt = {name: self.at(name).share(self.bundles[name]) for name in NAMES}
        masking, self.envelopes = coordinator.route(sharing, dealt)
        accumulation = coordinator.Accumulation(masking, MODEL)
        for k, name in enumerate(NAMES):
            vector = PLAN.encode({"a": np.full(3, k / 10)}, {}, 1 + k)
            self.at(name).accept_envelopes(self.envelopes[name], MODEL)
            accumulation.add(name, self.at(name).mask(vector))
        self.signing, self.survivors = accumulation.close()

    def at(self, name: str) -> JournaledSession:
        """Made anew each time, as by a new process."""
        return JournaledSession(self.owners[name], "1/train", 5)

    def sign(self) -> dict[str, bytes]:
        agreed = {name: self.at(name).sign(self.survivors) for name in NAMES}
        self.opening, agreements = coordinator.relay(self.signing, agreed)
        return agreements


def test_the_sum_is_that_of_the_vectors() -> None:
    played = Played()
    opened = {name: played.at(name).open_shares(told) for name, told in played.sign().items()}
    mean = PLAN.decode(coordinator.reveal(played.opening, opened).total)
    exact = sum((1 + k) * k / 10 for k in range(4)) / 10
    assert mean.update["a"] == pytest.approx(np.full(3, exact), abs=1e-7)
    assert mean.weight == 10


def test_a_site_agrees_to_one_survivor_set_only() -> None:
    """Two sums of the same vectors over different sets would differ by one site's vector."""
    played = Played()
    played.at("north").sign(played.survivors)
    other = Survivors(NAMES[:3]).to_bytes(NAMES)
    for again in (other, played.survivors):
        with pytest.raises(ProtocolViolation, match="sign: answered before"):
            played.at("north").sign(again)


def test_no_step_is_taken_twice() -> None:
    played = Played()
    session = played.at("north")
    with pytest.raises(ProtocolViolation, match="round 5: it or a later one was begun before"):
        session.advertise(TERMS.to_bytes(), PLAN.to_bytes())
    with pytest.raises(ProtocolViolation, match="share: answered before"):
        session.share(played.bundles["north"])
    with pytest.raises(ProtocolViolation, match="mask: answered before"):
        session.accept_envelopes(played.envelopes["north"], MODEL)
    told = played.sign()["north"]
    session.open_shares(told)
    with pytest.raises(ProtocolViolation, match=r"no session is open|session is over"):
        session.open_shares(told)


def test_no_step_is_taken_early() -> None:
    one = owner()
    session = JournaledSession(one, "1/train", 5)
    with pytest.raises(ProtocolViolation, match="no session is open"):
        session.share(b"")
    session.advertise(TERMS.to_bytes(), PLAN.to_bytes())
    with pytest.raises(ProtocolViolation, match="share: not answered yet"):
        session.accept_envelopes(b"", MODEL)
    with pytest.raises(ProtocolViolation, match="mask: not answered yet"):
        session.sign(Survivors(NAMES).to_bytes(NAMES))


FEWER = {name: key for name, key in ROSTER.items() if name != "west"}
OTHER = replace(PLAN, clip=0.5)


@pytest.mark.parametrize(
    ("terms", "plan", "changes", "check"),
    [
        (terms_for(PLAN, federation="g"), PLAN, {}, "terms: they are for "),
        (terms_for(PLAN, run="1/evaluate"), PLAN, {}, "terms: they are for "),
        (terms_for(PLAN, round=6), PLAN, {}, "terms: they are for "),
        (TERMS, PLAN, {"roster": FEWER}, "terms: not in this site's roster: west"),
        (terms_for(PLAN, degree=2), PLAN, {}, "terms: expected all sites as neighbours"),
        (terms_for(PLAN, groups=(NAMES,)), PLAN, {}, "terms: expected all sites as neighbours"),
        (TERMS, OTHER, {}, "terms: they are for another plan"),
        (
            terms_for(PLAN, layout_digest=OTHER.layout().digest()), PLAN, {},
            "terms: the layout is not the plan's",
        ),
        (
            terms_for(PLAN, stretches=replace(PLAN, arrays={"a": (4,)}).layout().stretches),
            PLAN, {}, "terms: the layout is not the plan's",
        ),
        (
            terms_for(PLAN.for_sites(5)), PLAN.for_sites(5), {},
            "plan: not for this number of sites",
        ),
        (TERMS, PLAN, {"clip": 0.99}, "plan: the clip 1 is above this site's, 0.99"),
        (TERMS, PLAN, {"largest_weight": 9}, "plan: the largest weight 10 is above this site's, 9"),
        (TERMS, PLAN, {"floor": SitePolicyFloor(4, 2)}, "terms: the quorum 3 is below"),
    ],
)  # fmt: skip
def test_other_terms_are_refused_and_begin_nothing(terms, plan, changes, check) -> None:
    one = owner(**changes)
    session = JournaledSession(one, "1/train", 5)
    with pytest.raises(ProtocolViolation) as raised:
        session.advertise(terms.to_bytes(), plan.to_bytes())
    assert str(raised.value).startswith(check)
    acceptable = replace(
        one, roster=ROSTER, clip=1.0, largest_weight=10, floor=SitePolicyFloor(3, 2)
    )
    assert JournaledSession(acceptable, "1/train", 5).advertise(TERMS.to_bytes(), PLAN.to_bytes())
