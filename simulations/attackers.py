"""Malicious sites, as a simulation plays them: another vector than was made.

The agent at a malicious site is the honest one, for its owner need not change it. What it trains on
is in `simulations.poisoned_rows`. A vector is changed on its way out: masks are added to it, so
whatever is added to the masked vector is added to the sum, and the site signs its own replies. The
clip that the agent keeps to binds honest sites only, and the coordinator, which sees sums, cannot
tell; the ring is all that bounds a malicious vector.
"""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np

from client.journal import Journal
from client.site_home import SiteHome
from evaluation.run_layout import run_layout, run_tally_spec
from federation.agreement import Agreement
from federation.config import FederationConfig
from federation.entropy import Entropy, SeededEntropy
from federation.envelope import Phase, Request, parse_reply
from federation.initial_model import parameter_count
from federation.layout import VectorLayout
from federation.ring_vector import RingVector
from federation.round_layout import UPDATE, RoundKind
from federation.simulation_choice import Attacker
from federation.task import Floats
from federation.task_loading import load_task
from federation.trained_task import as_trained
from privacy.secure_sum.messages import MaskedInput

Answer = Callable[[bytes], bytes]
AT_THE_VECTOR = frozenset({"sign_flip", "scaled_update", "noise_update"})
"""Kinds of attack that send another vector than was made; the others train on other rows."""


def attackers_of(config: FederationConfig) -> tuple[Attacker, ...]:
    """All attackers of a run with its sites named: those that are named, and those drawn by rate.

    The same sites for the same seed; a higher rate has those of a lower one among them.
    """
    named, drawn = config.simulation.attackers, config.simulation.random_attackers
    if drawn is None:
        return named
    entropy = SeededEntropy(config.run.seed).child("attackers")
    ranked = sorted(config.federation.sites, key=lambda site: entropy.child(site).bytes(16))
    known = {attacker.site for attacker in named}
    attack = drawn.model_dump(exclude={"rate"})
    chosen = sorted(ranked[: round(drawn.rate * len(ranked))])
    return (*named, *(Attacker(site=site, **attack) for site in chosen if site not in known))


def poisoned(answer: Answer, attack: Attacker | None, home: SiteHome, seed: int) -> Answer:
    """A site's answers, with another update in every training round; the same without attack.

    Args:
        answer: of the honest agent.
        attack: what the site does to its update.
        home: of the site, whose journal and key are the site's own.
        seed: of the run, which noise is drawn from.
    """
    if attack is None or attack.kind not in AT_THE_VECTOR:
        return answer

    def answer_poisoned(data: bytes) -> bytes:
        return _poison(Request.from_bytes(data), answer(data), home, attack, seed)

    return answer_poisoned


def attacked_vector(
    attack: Attacker | None,
    layout: VectorLayout,
    honest: RingVector,
    update_clip: float,
    draws: Entropy,
) -> RingVector:
    """What a malicious site sends in place of an honest training vector; that, without attack.

    Args:
        attack: what the site does to its update.
        layout: of the vector.
        honest: before masking.
        update_clip: that honest updates keep to.
        draws: of `attack_draws`, for noise.
    """
    if attack is None or attack.kind not in AT_THE_VECTOR:
        return honest
    sent = honest.copy()
    update = layout.decode(honest)[UPDATE]
    sending = malicious_update(attack, update, update_clip, draws)
    sent.add(_difference(layout, honest, sending))
    return sent


def attack_draws(seed: int, attack: Attacker, round_: int) -> Entropy:
    """Of the round, not the attempt: a round that is tried again is said again as it was."""
    return SeededEntropy(seed).child("attack", attack.site, round_)


def malicious_update(
    attack: Attacker, update: Floats, update_clip: float, draws: Entropy
) -> Floats:
    """What an attacker sends for an honest update, shape (parameters,).

    Args:
        attack: a `sign_flip`, `scaled_update` or `noise_update`.
        update: honest.
        update_clip: that honest updates keep to.
        draws: for noise.
    """
    if attack.kind == "noise_update":
        generator = np.random.default_rng(int.from_bytes(draws.bytes(16), "little"))
        deviation = attack.factor * update_clip / math.sqrt(len(update))
        return update + generator.normal(0.0, deviation, len(update))
    factor = -1.0 if attack.kind == "sign_flip" else attack.factor
    return factor * update


def _poison(request: Request, reply: bytes, home: SiteHome, attack: Attacker, seed: int) -> bytes:
    """The reply, and where it carries a training vector, with another update in that vector."""
    said, _ = parse_reply(reply)
    if request.phase is not Phase.TRAIN or said.status != "ok":
        return reply
    journal = Journal(home.journal)
    try:
        honest = journal.contribution(request.run, request.round)
        agreed = journal.agreement(request.run)
    finally:
        journal.close()
    if honest is None or honest.charge == 0 or agreed is None:
        return reply  # an evaluation: counts, which this attacker leaves alone
    layout = _training_layout(agreed)
    draws = attack_draws(seed, attack, request.round)
    clip = Agreement.from_bytes(agreed).training.update_clip
    vector = RingVector(layout.stretches, honest.vector)
    sent = MaskedInput.from_bytes(said.body, layout.stretches)
    masked = RingVector.unpack(layout.stretches, sent.packed)
    sending = malicious_update(attack, layout.decode(vector)[UPDATE], clip, draws)
    masked.add(_difference(layout, vector, sending))
    body = MaskedInput(sent.masks, masked.pack()).to_bytes()
    federation = home.given.read_roster(int(time.time())).federation
    return replace(said, body=body).sign(federation, request, home.read_identity())


def _difference(layout: VectorLayout, honest: RingVector, sending: Floats) -> RingVector:
    """What makes an honest vector one with another update.

    Up to half of the ring: past that the sum would wrap round, and poison less surely.
    """
    segment = next(segment for segment in layout.segments if segment.name == UPDATE)
    update = layout.decode(honest)[UPDATE]
    farthest = 2.0 ** (segment.bits - 2) * segment.step
    codes = np.rint((np.clip(sending, -farthest, farthest) - update) / segment.step)
    difference = RingVector.zeros(layout.stretches)
    layout.add(difference, UPDATE, codes.astype(np.int64))
    return difference


@lru_cache(maxsize=1)
def _training_layout(agreed: bytes) -> VectorLayout:
    agreement = Agreement.from_bytes(agreed)
    named = load_task(agreement.task.name, agreement.task.options)
    task = as_trained(named, agreement.training, agreement.mitigation)
    spec = run_tally_spec(task.schema, agreement)
    parameters = parameter_count(task, agreement.seed)
    return run_layout(spec, agreement, parameters, RoundKind.TRAIN)
