"""Malicious sites, as a simulation plays them: reversed labels, or another vector than was made.

The agent at a malicious site is the honest one, for its owner need not change it. Labels are
reversed in the rows that it loads. A vector is changed on its way out: masks are added to it, so
whatever is added to the masked vector is added to the sum, and the site signs its own replies. The
clip that the agent keeps to binds honest sites only, and the coordinator, which sees sums, cannot
tell; the ring is all that bounds a malicious vector.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np
from torch import Tensor, nn

from client.journal import Journal
from client.site_home import SiteHome
from evaluation.run_layout import run_layout, run_tally_spec
from federation.agreement import Agreement
from federation.envelope import Phase, Request, parse_reply
from federation.initial_model import parameter_count
from federation.layout import VectorLayout
from federation.ring_vector import RingVector
from federation.round_layout import UPDATE, RoundKind
from federation.schema import TaskSchema
from federation.simulation_choice import Attacker
from federation.task import SiteData, SiteRequest, Task
from federation.task_loading import load_task
from federation.trained_task import as_trained
from privacy.secure_sum.messages import MaskedInput

Answer = Callable[[bytes], bytes]


class ReversedLabels:
    """A task whose train rows have class K - 1 - k instead of k; held-out rows are left alone."""

    def __init__(self, task: Task) -> None:
        self._task = task

    @property
    def schema(self) -> TaskSchema:
        """As the task's."""
        return self._task.schema

    @property
    def sites(self) -> tuple[str, ...]:
        """As the task's."""
        return self._task.sites

    def build_model(self) -> nn.Module:
        """As the task's."""
        return self._task.build_model()

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """As the task's."""
        return self._task.loss(output, target)

    def probabilities(self, output: Tensor) -> Tensor:
        """As the task's."""
        return self._task.probabilities(output)

    def load(self, request: SiteRequest) -> SiteData:
        """As the task's, with the train rows' labels reversed."""
        data = self._task.load(request)
        last = len(self.schema.classes) - 1
        return replace(data, train=replace(data.train, targets=last - data.train.targets))


def attacked_task(task: Task, attack: Attacker) -> Task:
    """What a malicious site trains."""
    return ReversedLabels(task) if attack.kind == "label_flip" else task


def attacked_vector(
    attack: Attacker | None, layout: VectorLayout, honest: RingVector
) -> RingVector:
    """What a malicious site sends in place of an honest training vector; that, without attack."""
    if attack is None or attack.kind == "label_flip":
        return honest
    sent = honest.copy()
    sent.add(_difference(layout, honest, _factor(attack)))
    return sent


def _factor(attack: Attacker) -> float:
    return -1.0 if attack.kind == "sign_flip" else attack.factor


def poisoned(answer: Answer, attack: Attacker | None, home: SiteHome) -> Answer:
    """A site's answers, with its update multiplied in every training round; none without attack.

    Args:
        answer: of the honest agent.
        attack: what the site does to its update.
        home: of the site, whose journal and key are the site's own.
    """
    if attack is None or attack.kind == "label_flip":
        return answer
    factor = _factor(attack)

    def answer_poisoned(data: bytes) -> bytes:
        return _poison(Request.from_bytes(data), answer(data), home, factor)

    return answer_poisoned


def _poison(request: Request, reply: bytes, home: SiteHome, factor: float) -> bytes:
    """The reply, and where it carries a training vector, with that vector's update multiplied."""
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
    vector = RingVector(layout.stretches, honest.vector)
    sent = MaskedInput.from_bytes(said.body, layout.stretches)
    masked = RingVector.unpack(layout.stretches, sent.packed)
    masked.add(_difference(layout, vector, factor))
    body = MaskedInput(sent.masks, masked.pack()).to_bytes()
    federation = home.given.read_roster(int(time.time())).federation
    return replace(said, body=body).sign(federation, request, home.read_identity())


def _difference(layout: VectorLayout, honest: RingVector, factor: float) -> RingVector:
    """What makes `factor` times the update of an honest vector.

    Up to half of the ring: past that the sum would wrap round, and poison less surely.
    """
    segment = next(segment for segment in layout.segments if segment.name == UPDATE)
    update = layout.decode(honest)[UPDATE]
    farthest = 2.0 ** (segment.bits - 2) * segment.step
    codes = np.rint((np.clip(factor * update, -farthest, farthest) - update) / segment.step)
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
