"""Real agents under a coordinator that lies at every step: refused or harmless, never one site's.

Whatever it does in a first attempt, and then honestly in a second: each sum that opens is exactly
that of its survivors, at least the quorum; all sums of a round are over one set of them; and each
site is charged at most once.
"""

import gc
import itertools
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from federation_in_process import Federation
from lying_coordinator import Killed, Sites, Sitting, is_exact, ridden, values

from client.agent import MOST_ATTEMPTS
from federation.entropy import SystemEntropy
from federation.envelope import Phase
from federation.errors import RoundFailed
from federation.round_layout import RoundKind
from federation.round_messages import COMPLETED, Work
from federation.task import SiteData, SiteRequest
from privacy.message_sizes import LARGEST_QUESTION, largest_question
from privacy.secure_sum import coordinator
from privacy.secure_sum.messages import MaskedInput, Survivors
from simulations.lying_coordinator import PHASES
from simulations.tasks.heart import HeartTask

TABLE = {
    "run": {"name": "test", "rounds": 20},
    "privacy": {"mode": "off"},
    "training": {"local_steps": 1, "sampling_rate": 0.05},
}


@pytest.fixture
def sites(tmp_path) -> Sites:
    return Sites(Federation(tmp_path, TABLE))


@pytest.fixture
def fresh(sites: Sites) -> int:
    """A training round that nobody has played."""
    return sites.fresh()


def outcome(sitting: Sitting) -> tuple[str, ...] | None:
    """The survivors of the sum that was opened, which is exact; None if nothing was."""
    try:
        revealed = sitting.play()
    except RoundFailed:
        return None
    assert is_exact(sitting.sites, sitting.round, revealed)
    assert len(revealed.survivors) >= sitting.sharing.terms.quorum
    return revealed.survivors


def assert_harmless(sites: Sites, round_: int, opened: list[tuple[str, ...] | None]) -> None:
    """One survivor set and one charge a round, and every release is paid."""
    assert len({survivors for survivors in opened if survivors}) <= 1
    for site in sites.names:
        reserved, released = sites.charges(site, round_)
        assert released <= reserved <= 1
        if any(site in survivors for survivors in opened if survivors):
            assert released == (sites.kind(round_) is RoundKind.TRAIN)


def played_to(sites: Sites, round_: int, attempt: int, phase: Phase) -> Sitting:
    sitting = Sitting(sites, round_, attempt)
    for now in PHASES[: PHASES.index(phase) + 1]:
        sitting.step(now)
    return sitting


# -- each phase, each lie ------------------------------------------------------------------

VICTIM = 0


def flipped(body: bytes, at: int) -> bytes:
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :] if body else b"\0"


def altered(at: float) -> Callable[[bytes, bytes, bytes], bytes]:
    return lambda body, _other, _earlier: flipped(body, int(at * (len(body) - 1)))


LIES: dict[str, Callable[[bytes, bytes, bytes], bytes]] = {
    "the message of another site": lambda _body, other, _earlier: other,
    "a message of another session": lambda _body, _other, earlier: earlier,
    "its first byte altered": altered(0),
    "a byte in the middle altered": altered(0.5),
    "its last byte altered": altered(1),
    "its end cut off": lambda body, _other, _earlier: body[:-1],
    "a byte too many": lambda body, _other, _earlier: body + b"\0",
    "nothing": lambda _body, _other, _earlier: b"",
}


@pytest.fixture
def earlier(sites: Sites) -> Sitting:
    """A whole session from which messages are replayed."""
    sitting = Sitting(sites, sites.fresh(), 1)
    assert outcome(sitting) == sites.names
    return sitting


@pytest.mark.slow
@pytest.mark.parametrize("phase", PHASES)
def test_a_lie_to_one_site_costs_at_most_its_place(
    sites: Sites, earlier: Sitting, phase: Phase
) -> None:
    victim, other = sites.names[VICTIM], sites.names[VICTIM + 1]
    for lie in LIES.values():

        def tell(
            now: Phase, bodies: dict[str, bytes], lie: Callable[..., bytes] = lie
        ) -> dict[str, bytes]:
            if now is phase and victim in bodies:
                was = earlier.shown[phase][victim]
                bodies[victim] = lie(bodies[victim], bodies[other], was)
            return bodies

        round_ = sites.fresh() if phase is Phase.TRAIN else sites.fresh_evaluation()
        first = Sitting(sites, round_, 1, tell)
        opened = [outcome(first), outcome(Sitting(sites, round_, 2))]
        assert_harmless(sites, round_, opened)
        assert any(opened)
        refusals = [why for by_site in first.refused.values() for why in by_site.values()]
        assert all(why.startswith("protocol: ") for why in refusals), refusals


@pytest.mark.slow
@pytest.mark.parametrize("phase", PHASES)
def test_a_question_asked_twice_is_refused_and_ends_the_session(
    sites: Sites, fresh: int, phase: Phase
) -> None:
    victim, sitting = sites.names[VICTIM], played_to(sites, fresh, 1, phase)
    sitting.put(phase, sitting.shown[phase], only=[victim])
    assert sitting.refused[phase][victim].startswith("protocol")
    for now in PHASES[1:]:
        body = sitting.shown.get(now, {}).get(victim, b"")
        assert sites.ask(victim, sitting.request(now, body)).code == "protocol"
    # A set that was signed stands: all of it have to come back.
    opened = [outcome(Sitting(sites, fresh, 2))]
    assert opened == [sites.names]
    assert_harmless(sites, fresh, opened)


@pytest.mark.slow
@pytest.mark.parametrize("reached", PHASES)
def test_a_question_out_of_order_is_refused_and_ends_the_session(
    sites: Sites, earlier: Sitting, reached: Phase
) -> None:
    victim, following_phase = sites.names[VICTIM], PHASES.index(reached) + 1
    for asked in PHASES[1:following_phase] + PHASES[following_phase + 1 :]:
        sitting = played_to(sites, sites.fresh_evaluation(), 1, reached)
        body = sitting.shown.get(asked, earlier.shown[asked])[victim]
        assert sites.ask(victim, sitting.request(asked, body)).code == "protocol"
        if reached is Phase.OPEN:
            continue
        # What would have been in order is refused, too.
        in_order = PHASES[following_phase]
        sitting.prepare(in_order)
        reply = sites.ask(victim, sitting.request(in_order, sitting.shown[in_order][victim]))
        assert reply.code == "protocol"


# -- two open sessions ---------------------------------------------------------------------


@pytest.mark.parametrize("phase", PHASES[1:])
def test_no_message_passes_from_one_of_two_open_sessions_to_the_other(
    sites: Sites, phase: Phase
) -> None:
    """Both stand before the same phase; each is shown what belongs to the other."""
    before = PHASES[PHASES.index(phase) - 1]
    one, two = (played_to(sites, sites.fresh(), 1, Phase.ADVERTISE) for _ in range(2))
    for now in PHASES[1 : PHASES.index(before) + 1]:
        one.step(now)
        two.step(now)
    one.prepare(phase)
    two.prepare(phase)
    for mine, other in ((one, two), (two, one)):
        if phase is Phase.SIGN:
            continue  # the same set of sites is named by the same bytes
        mine.put(phase, other.shown[phase])
        assert set(mine.refused[phase]) == set(sites.names)
        assert all(why.startswith("protocol") for why in mine.refused[phase].values())


def test_two_open_sessions_of_following_rounds_both_open_in_any_order(sites: Sites) -> None:
    one, two = (played_to(sites, sites.fresh(), 1, Phase.ADVERTISE) for _ in range(2))
    for now in PHASES[1:]:
        two.step(now)
        one.step(now)
    revealed = two.reveal()
    assert is_exact(sites, two.round, revealed)
    assert one.reveal().survivors == sites.names
    for sitting in (one, two):
        assert [sites.charges(site, sitting.round) for site in sites.names] == [(1, 1)] * 4


def test_at_most_two_sessions_are_open_and_never_two_of_one_round(sites: Sites) -> None:
    victim = sites.names[VICTIM]
    at = [sites.fresh() for _ in range(4)]
    asked = [(0, 1), (1, 1), (0, 2), (1, 2), (1, 3), (2, 1), (1, 4), (3, 1), (0, 3), (2, 2)]
    for index, attempt in asked:
        Sitting(sites, at[index], attempt).step(Phase.ADVERTISE)
        places = sites.agent(victim)._sessions.keys()
        rounds = [place[1] for place in places]
        assert len(rounds) == len(set(rounds)) <= 2
        assert max(rounds) - min(rounds) <= 1


def test_a_second_session_of_a_round_ends_the_first(sites: Sites, fresh: int) -> None:
    """Else shares of one session could be opened for two sets, at sites that were told apart."""
    first = played_to(sites, fresh, 1, Phase.TRAIN)
    second = played_to(sites, fresh, 2, Phase.ADVERTISE)
    first.prepare(Phase.SIGN)
    first.put(Phase.SIGN, first.shown[Phase.SIGN])
    assert set(first.refused[Phase.SIGN]) == set(sites.names)
    for now in PHASES[1:]:
        second.step(now)
    assert is_exact(sites, fresh, second.reveal())
    assert_harmless(sites, fresh, [sites.names])


def test_a_session_whose_model_was_never_shown_opens_nothing(sites: Sites, fresh: int) -> None:
    sitting = played_to(sites, fresh, 1, Phase.SHARE)
    named = Survivors(sites.names).to_bytes(sites.names)
    for site in sites.names:
        reply = sites.ask(site, sitting.request(Phase.SIGN, named))
        assert "out of order" in reply.reason
        assert sites.charges(site, fresh) == (0, 0)


# -- sizes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", PHASES[1:])
def test_a_body_too_large_for_its_phase_is_refused_unopened(sites: Sites, phase: Phase) -> None:
    sitting = played_to(sites, sites.fresh_evaluation(), 1, PHASES[PHASES.index(phase) - 1])
    sitting.prepare(phase)
    limit = largest_question(phase, sitting.terms, len(sites.model))
    for site, body in sitting.shown[phase].items():
        assert len(body) <= limit
        padded = sitting.request(phase, body + bytes(limit + 1 - len(body)))
        reply = sites.ask(site, padded)
        assert (reply.status, reply.code) == ("refused", "protocol")
        assert reply.reason == (
            f"a body of {limit + 1} bytes in phase {phase}: the largest that can be is {limit}"
        )
        assert "no session" in sites.ask(site, sitting.request(phase, body)).reason


@pytest.mark.parametrize("phase", LARGEST_QUESTION)
def test_so_is_one_outside_sessions(sites: Sites, phase: Phase) -> None:
    limit = LARGEST_QUESTION[phase]
    for body in (bytes(limit), bytes(limit + 1)):
        reply = sites.ask(sites.names[VICTIM], sites.request(phase, 1, 1, body))
        assert ("the largest that can be" in reply.reason) == (len(body) > limit)


def test_a_rider_too_large_is_refused_and_costs_what_it_rides_on_nothing(sites: Sites) -> None:
    sitting = played_to(sites, sites.fresh_evaluation(), 1, Phase.TRAIN)
    sitting.prepare(Phase.SIGN)
    for site, body in sitting.shown[Phase.SIGN].items():
        large = bytes(LARGEST_QUESTION[Phase.ADVERTISE] + 1)
        rider = sites.request(Phase.ADVERTISE, sitting.round + 1, 1, large)
        reply = sites.ask(site, sitting.request(Phase.SIGN, body, rider))
        assert reply.status == "ok"
        assert "in phase advertise: the largest" in ridden(reply).reason
        sitting.note(Phase.SIGN, site, reply)
    assert following(sitting, Phase.SIGN) == sites.names


# -- riders --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("phase", PHASES[2:])
@pytest.mark.parametrize("ahead", [0, 1, 2], ids=["same round", "next round", "far round"])
def test_whatever_rides_on_a_message_of_a_round_the_round_stays_one(
    sites: Sites, earlier: Sitting, phase: Phase, ahead: int
) -> None:
    """Every kind of question rides on the messages to all sites."""
    for riding in PHASES:
        round_ = sites.fresh_evaluation()
        # Of the same round: of this very session, and the invitation to another attempt.
        attempt = 1 if ahead == 0 and riding is not Phase.ADVERTISE else 2
        sitting = played_to(sites, round_, 1, PHASES[PHASES.index(phase) - 1])
        sitting.prepare(phase)
        for site, body in sitting.shown[phase].items():
            invited = riding is Phase.ADVERTISE
            riders = sites.invitation(round_ + ahead) if invited else earlier.shown[riding][site]
            rider = sites.request(riding, round_ + ahead, attempt, riders)
            reply = sites.ask(site, sitting.request(phase, body, rider))
            assert reply.status == "ok"
            sitting.note(phase, site, reply)
            assert ridden(reply).status == ("ok" if invited else ridden(reply).status)
        opened = [following(sitting, phase), outcome(Sitting(sites, round_, 3))]
        assert any(opened)
        assert_harmless(sites, round_, opened)


def following(sitting: Sitting, phase: Phase) -> tuple[str, ...] | None:
    """The outcome of a sitting that stands after `phase`."""
    try:
        for now in PHASES[PHASES.index(phase) + 1 :]:
            sitting.step(now)
        revealed = sitting.reveal()
    except RoundFailed:
        return None
    assert is_exact(sitting.sites, sitting.round, revealed)
    return revealed.survivors


def test_riders_neither_reserve_nor_charge(sites: Sites, fresh: int) -> None:
    def charged() -> dict[str, tuple[int, int]]:
        accounts = {site: sites.agent(site)._assets.ledger.account() for site in sites.names}
        return {
            site: (one.counts["reserve"], one.counts["refuse"]) for site, one in accounts.items()
        }

    before = charged()
    sitting = played_to(sites, sites.agreement.rounds + 1, 1, Phase.TRAIN)
    sitting.prepare(Phase.SIGN)
    for attempt, (site, body) in enumerate(sitting.shown[Phase.SIGN].items(), start=1):
        rider = sites.request(Phase.ADVERTISE, fresh, attempt, sites.invitation(fresh))
        reply = sites.ask(site, sitting.request(Phase.SIGN, body, rider))
        assert ridden(reply).status == "ok"
    assert charged() == before


# -- what a round is bound to --------------------------------------------------------------


def sums_over_two_vectors(sites: Sites, round_: int, forget: Callable[[], None]) -> list[str]:
    """How the sites answer to `train` once more, after the round was opened and `forget`."""
    assert outcome(Sitting(sites, round_, 1)) == sites.names
    forget()
    again = Sitting(sites, round_, 2)
    with suppress(RoundFailed):
        again.play()
    return [*again.refused.get(Phase.ADVERTISE, {}).values()]


def test_a_run_finished_in_the_middle_has_no_site_train_a_round_again(
    sites: Sites, fresh: int
) -> None:
    """Else two sums over one set differ by this site's two vectors."""
    victim = sites.names[VICTIM]

    def forget() -> None:
        assert sites.ask(victim, sites.request(Phase.CLOSE, 0, 0, COMPLETED)).status == "ok"

    refusals = sums_over_two_vectors(sites, fresh, forget)
    assert refusals == ["protocol: train: this round had another vector of this site before"]
    assert sites.charges(victim, fresh) == (1, 1)


def test_a_round_before_the_last_is_not_trained_again(sites: Sites) -> None:
    """A site keeps the vector of its last round only; whoever goes back finds none, and no new."""
    first, second = sites.fresh(), sites.fresh()
    victim = sites.names[VICTIM]

    def forget() -> None:
        sitting = played_to(sites, second, 1, Phase.SHARE)
        sitting.prepare(Phase.TRAIN)
        sitting.put(Phase.TRAIN, sitting.shown[Phase.TRAIN], only=[victim])
        assert victim in sitting.heard[Phase.TRAIN]

    refusals = sums_over_two_vectors(sites, first, forget)
    assert refusals == ["protocol: train: this round had another vector of this site before"]
    assert sites.charges(victim, first) == (1, 1)


def restart(sites: Sites) -> None:
    sites.federation.restart_agents()


def agree_to_another_run(sites: Sites) -> None:
    """So every agent drops the rows that it had read."""
    other = sites.agreement.model_copy(update={"run": "another"})
    for site in sites.names:
        request = sites.request(Phase.AGREE, 0, 0, other.to_bytes())
        assert sites.ask(site, replace(request, run="another")).status == "ok"


@pytest.mark.parametrize("drop_rows", [restart, agree_to_another_run])
def test_an_evaluation_is_said_again_as_it_was_though_rows_have_changed(
    sites: Sites, monkeypatch, drop_rows: Callable[[Sites], None]
) -> None:
    """Else two sums over one set differ by how a site's rows changed."""
    round_ = sites.fresh_evaluation()
    first = Sitting(sites, round_, 1)
    total = values(first.play().total)
    load = HeartTask.load

    def changed(task: HeartTask, request: SiteRequest) -> SiteData:
        return replace(load(task, request), current=load(task, request).reference)

    monkeypatch.setattr(HeartTask, "load", changed)
    drop_rows(sites)
    assert values(Sitting(sites, round_, 2).play().total) == total
    another = Sitting(sites, sites.fresh_evaluation(), 1)
    assert values(another.play().total) != total  # the rows did change


def test_an_evaluation_is_not_counted_anew_once_its_vector_is_forgotten(sites: Sites) -> None:
    victim, round_ = sites.names[VICTIM], sites.fresh_evaluation()
    assert outcome(Sitting(sites, round_, 1)) == sites.names
    assert sites.ask(victim, sites.request(Phase.CLOSE, 0, 0, COMPLETED)).status == "ok"
    again = played_to(sites, round_, 2, Phase.TRAIN)
    assert again.refused[Phase.TRAIN] == {
        victim: "protocol: train: this round had another vector of this site before"
    }


def test_the_evaluation_of_a_stopped_run_forgets_no_vector_that_is_still_to_be_sent(
    sites: Sites, fresh: int
) -> None:
    played_to(sites, fresh, 1, Phase.TRAIN)
    assert outcome(Sitting(sites, sites.fresh_evaluation(), 1)) == sites.names
    assert outcome(Sitting(sites, fresh, 2)) == sites.names
    assert_harmless(sites, fresh, [sites.names])


def test_a_round_has_so_many_attempts_and_not_one_more(sites: Sites) -> None:
    """Else a coordinator fills the journal with the marks of ever new ones."""
    round_ = sites.fresh_evaluation()
    Sitting(sites, round_, MOST_ATTEMPTS).step(Phase.ADVERTISE)
    journal = sites.agent(sites.names[VICTIM])._assets.journal
    marks = journal._db.execute("SELECT count(*) FROM marks").fetchone()
    for attempt in (MOST_ATTEMPTS + 1, 2**32 - 1):
        beyond = Sitting(sites, round_, attempt)
        beyond.step(Phase.ADVERTISE)
        assert set(beyond.refused[Phase.ADVERTISE].values()) == {
            f"attempts_exhausted: this site takes part in {MOST_ATTEMPTS} attempts of a round at "
            f"most, and this is number {attempt}: begin a new run"
        }
    assert journal._db.execute("SELECT count(*) FROM marks").fetchone() == marks


@pytest.mark.parametrize("model", ["short", "long", "nan", "infinite", "empty"])
def test_a_model_that_cannot_be_trained_costs_no_charge_and_no_round(
    sites: Sites, fresh: int, model: str
) -> None:
    honest = sites.model
    spoiled = {
        "short": honest[:-4],
        "long": honest + bytes(4),
        "nan": honest[:-4] + np.float32(np.nan).tobytes(),
        "infinite": honest[:-4] + np.float32(np.inf).tobytes(),
        "empty": b"",
    }[model]

    def tell(phase: Phase, bodies: dict[str, bytes]) -> dict[str, bytes]:
        if phase is not Phase.TRAIN:
            return bodies
        works = {site: Work.from_bytes(body) for site, body in bodies.items()}
        return {site: Work(spoiled, work.envelopes).to_bytes() for site, work in works.items()}

    first = Sitting(sites, fresh, 1, tell)
    with pytest.raises(RoundFailed):
        first.play()
    says = "protocol: a body of" if model == "long" else "protocol: model"
    assert all(why.startswith(says) for why in first.refused[Phase.TRAIN].values())
    assert [sites.charges(site, fresh) for site in sites.names] == [(0, 0)] * 4
    assert outcome(Sitting(sites, fresh, 2)) == sites.names


def test_two_models_in_one_session_give_two_parts_of_which_none_is_opened(
    sites: Sites, fresh: int
) -> None:
    half = sites.names[:2]
    other = (np.frombuffer(sites.model, "<f4") + np.float32(1)).tobytes()

    def tell(phase: Phase, bodies: dict[str, bytes]) -> dict[str, bytes]:
        if phase is Phase.TRAIN:
            for site in half:
                envelopes = Work.from_bytes(bodies[site]).envelopes
                bodies[site] = Work(other, envelopes).to_bytes()
        return bodies

    sitting = Sitting(sites, fresh, 1, tell)
    for phase in PHASES[:3]:
        sitting.step(phase)
    # The coordinator names everybody, whatever it holds, and relays every tag that it got.
    named = Survivors(sites.names).to_bytes(sites.names)
    sitting.put(Phase.SIGN, dict.fromkeys(sites.names, named))
    assert set(sitting.heard[Phase.SIGN]) == set(sites.names)
    honest = MaskedInput.from_bytes(
        sitting.heard[Phase.TRAIN][sites.names[3]], sitting.sharing.terms.stretches
    )
    forged = {
        site: MaskedInput(
            honest.masks, MaskedInput.from_bytes(data, sitting.sharing.terms.stretches).packed
        )
        for site, data in sitting.heard[Phase.TRAIN].items()
    }
    sitting.signing, _ = sitting.collect({s: each.to_bytes() for s, each in forged.items()})
    sitting.step(Phase.OPEN)
    assert Phase.OPEN not in sitting.heard
    refusals = sitting.refused[Phase.OPEN]
    assert all("fewer than the quorum agreed" in why for why in refusals.values())
    # Each half is bound to its model: neither can be a quorum for this round any more.
    assert outcome(Sitting(sites, fresh, 2)) is None
    assert_harmless(sites, fresh, [])


def test_sites_that_were_told_of_two_sets_never_open_both(sites: Sites) -> None:
    """Over all attempts of a round, told apart in every way, with the inputs of all sites held."""
    everyone, fewer = sites.names, sites.names[:-1]
    for told_fewer in range(4):
        round_, opened = sites.fresh(), set()
        for attempt in (1, 2, 3):
            sitting = played_to(sites, round_, attempt, Phase.TRAIN)
            whole = sitting.collect(sitting.heard[Phase.TRAIN])
            less = sitting.collect({s: sitting.heard[Phase.TRAIN][s] for s in fewer})
            sets = {everyone: whole, fewer: less}
            swapped = attempt == 2
            told = {
                site: fewer if (at < told_fewer) != swapped and site in fewer else everyone
                for at, site in enumerate(sites.names)
            }
            sitting.put(Phase.SIGN, {site: sets[told[site]][1] for site in sites.names})
            for survivors, (signing, _) in sets.items():
                tags = {
                    site: body
                    for site, body in sitting.heard.get(Phase.SIGN, {}).items()
                    if told[site] == survivors
                }
                sitting.signing = signing
                sitting.heard[Phase.OPEN] = {}
                try:
                    sitting.opening, shown = coordinator.relay(sitting.signing, tags)
                    sitting.put(Phase.OPEN, shown)
                    revealed = sitting.reveal()
                except RoundFailed:
                    continue
                assert is_exact(sites, round_, revealed)
                opened.add(revealed.survivors)
        assert len(opened) <= 1
        assert_harmless(sites, round_, [])


# -- a site that is killed -----------------------------------------------------------------


WRITES = (
    ("journal", "bind_model"), ("ledger", "reserve"), ("journal", "keep_contribution"),
    ("journal", "mark"), ("ledger", "commit"), ("journal", "remember_ledger"),
    ("journal", "bind_survivors"),
)  # fmt: skip
"""Everything a site makes durable in a round."""


@pytest.mark.slow
@pytest.mark.parametrize("write", [name for _, name in WRITES])
@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_a_site_killed_at_any_write_says_one_vector_on_one_charge(
    sites: Sites, write: str, done: bool
) -> None:
    """The coordinator waits for it and asks all anew, until nothing kills it any more."""
    victim, where = sites.names[VICTIM], {name: kind for kind, name in WRITES}[write]
    round_, opened, vectors = sites.fresh(), [], set()
    for nth in (1, 2, 3):
        store = getattr(sites.agent(victim)._assets, where)
        setattr(store, write, killing(getattr(store, write), nth, done))
        opened.append(outcome(Sitting(sites, round_, nth)))
        del store
        sites.federation.restart_agents()
        stored = sites.agent(victim)._assets.journal.contribution(sites.run, round_)
        if stored is not None:
            vectors.add(stored.vector.tobytes())
    opened.append(outcome(Sitting(sites, round_, 4)))
    assert opened[-1] == sites.names
    assert_harmless(sites, round_, opened)
    assert len(vectors) <= 1


def killing(write: Callable[..., object], nth: int, done: bool) -> Callable[..., object]:
    """A write of whose calls the `nth` kills the site, before it is done or after."""
    calls = itertools.count(1)

    def killed(*args: object) -> object:
        dies = next(calls) == nth
        if dies and not done:
            raise Killed
        result = write(*args)
        if dies:
            raise Killed
        return result

    return killed


# -- the agent's memory and randomness -----------------------------------------------------


def test_keys_and_self_masks_are_the_operating_systems_even_in_a_seeded_simulation(
    sites: Sites,
) -> None:
    for site in sites.names:
        agent = sites.agent(site)
        assert isinstance(agent._key_entropy, SystemEntropy)
        assert not isinstance(agent._assets.training_entropy, SystemEntropy)


def test_an_agent_that_agreed_to_other_runs_lets_go_of_their_rows(tmp_path) -> None:
    sites = Sites(Federation(tmp_path, TABLE | {"run": {"name": "test", "rounds": 1}}))
    victim = sites.names[VICTIM]
    held = weakref.ref(sites.bench(victim))
    other = sites.agreement.model_copy(update={"run": "another"})
    request = sites.request(Phase.AGREE, 0, 0, other.to_bytes())
    request = type(request)(
        "another", 0, 0, Phase.AGREE, request.nonce, request.expires, other.to_bytes()
    )
    assert sites.ask(victim, request).status == "ok"
    gc.collect()
    assert held() is None
