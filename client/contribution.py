"""The one exit of a site: whatever leaves passes here, and leaves as words of a secure sum.

    train  ->  clip  ->  weigh  \
                                 encode  ->  (agent: journal, mask)
    held-out rows  ->  tallies  /

A model update and an evaluation count go through alike; there is no second way out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from torch import Tensor, nn

from client.observation import outcome_tallies, report_tallies, window_tallies
from evaluation.run_layout import run_layout, run_tally_spec
from evaluation.tally_spec import TallySpec
from federation.agreement import Agreement
from federation.broadcast import Broadcast, BroadcastShape, broadcast_shape
from federation.control_variates import correction, own_control
from federation.entropy import Entropy
from federation.errors import ConfigError, DataError
from federation.initial_model import initial_model, parameter_count
from federation.layout import VectorLayout
from federation.local_layers import Mask, joined, local_mask, local_tensors, shared_of, thawed
from federation.mitigated_task import at_its_strongest, under
from federation.ring_vector import RingVector
from federation.round_layout import (
    CLIPPED_UPDATES,
    LARGEST_TRAINING_LOSS,
    PRESENT,
    TRAINING_LOSS,
    UPDATE,
    UPDATE_NORM,
    WEIGHT,
    RoundKind,
    scoped,
)
from federation.site_state import SiteState
from federation.task import Floats, SiteData, Task
from privacy.account import Charge
from privacy.arithmetic import ON_CPU, Arithmetic
from privacy.distributed_noise import DistributedNoisePlan, rounded_update
from privacy.dp_sgd import (
    Descent,
    LocalUpdate,
    require_summable,
    train_for_shared_noise,
    train_privately,
    train_without_privacy,
)
from privacy.flat_parameters import flat_parameters, load_flat_parameters
from privacy.mechanisms.clipping import clip_l2
from privacy.mechanisms.gaussian_noise import gaussian_noise
from privacy.mechanisms.rehearsal_noise import NoiseSampler
from privacy.model_validation import (
    require_private_layers,
    require_records_apart,
    require_travelling_state,
)
from privacy.noised_sum import noise_share, removable_noise_share
from privacy.plan import DpSgdPlan, NonPrivatePlan
from privacy.run_plan import (
    noise_in_the_sum,
    rotation_seed,
    run_plan,
    shared_record_noise,
    site_level_noise,
)
from privacy.shared_record_noise import SharedRecordNoisePlan, rounded_gradient
from privacy.surplus_noise import SECRET_BYTES


@dataclass(frozen=True)
class Workbench:
    """What a site works with in one run.

    Attributes:
        site: the site's name.
        agreement: of the run.
        task: model, loss and schema.
        data: the site's rows.
        entropy: of batches and noise; the operating system's in a deployment.
        arithmetic: of training.
        noise_factor: how many times the agreed noise the site adds to its own gradients; >= 1.
        trainer: trains in a round, where a simulation trains many sites at once.
        noise_of: the sampler of noise at the site; another one in rehearsals only.
    """

    site: str
    agreement: Agreement
    task: Task
    data: SiteData
    entropy: Entropy
    arithmetic: Arithmetic = ON_CPU
    noise_factor: float = 1.0
    trainer: "Trainer | None" = None
    noise_of: NoiseSampler = gaussian_noise

    @property
    def kinds(self) -> tuple[RoundKind, ...]:
        """The rounds that the agreement provides for."""
        return (RoundKind.TRAIN, RoundKind.EVALUATE)

    def spec(self) -> TallySpec:
        """What is counted."""
        return run_tally_spec(self.task.schema, self.agreement)

    def layout(self, kind: RoundKind) -> VectorLayout:
        """The layout of a round, from the agreement and the task alone."""
        return run_layout(self.spec(), self.agreement, self.parameters, kind)

    @cached_property
    def parameters(self) -> int:
        """How many the model has; every message of a round asks for it."""
        return parameter_count(self.task, self.agreement.seed)

    def shape(self, kind: RoundKind) -> BroadcastShape:
        """What travels to a site in a round."""
        return broadcast_shape(self.agreement, self.task, self.parameters, kind)

    def broadcast(self, kind: RoundKind) -> int:
        """How many numbers that are."""
        return self.shape(kind).length

    def fresh_model(self) -> nn.Module:
        """The model as every side initialises it, all of it trained that is trained here."""
        model = initial_model(self.task, self.agreement.seed)
        return thawed(model, self.agreement.training.local_layers)

    @cached_property
    def local(self) -> Mask:
        """Which of the parameters that are trained here stay here, shape (parameters + more,)."""
        return local_mask(self.fresh_model(), self.agreement.training.local_layers)

    @cached_property
    def first_state(self) -> SiteState:
        """What the site goes on from before any round of it counted."""
        control, initial = self.shape(RoundKind.TRAIN).control, flat_parameters(self.fresh_model())
        return SiteState(np.zeros(control), initial[self.local].astype(np.float64))

    def counted(self, numbers: Floats, kind: RoundKind) -> int:
        """The round of this site's last update that is in the model that travelled; 0 if none is.

        Args:
            numbers: as they travelled, shape (broadcast,).
            kind: of the round.
        """
        told = self.shape(kind).split(numbers).counted
        return int(told[self.agreement.sites.index(self.site)]) if len(told) else 0

    @cached_property
    def weight(self) -> float:
        """Of the site's update, by the rows declared in public; at most 1."""
        rows = self.agreement.public_rows
        return rows[self.site] / max(rows.values())

    def noise_in_the_sum(self) -> DistributedNoisePlan | SharedRecordNoisePlan | None:
        """Of one round."""
        return noise_in_the_sum(self.agreement)

    def is_charged(self, kind: RoundKind) -> bool:
        """Whether the ledger pays for a round: counts of held-out rows cost what they cost."""
        return kind is RoundKind.TRAIN

    def charge(self) -> Charge:
        """What one training round costs this site, in each unit of privacy."""
        shared = shared_record_noise(self.agreement)
        if shared is not None:
            return Charge(shared.event())
        whole = site_level_noise(self.agreement)
        return Charge(self.plan().event(), whole.event() if whole else None)

    def plan(self) -> DpSgdPlan | NonPrivatePlan:
        """The training plan of one round in which the site adds its noise itself."""
        return run_plan(self.agreement, self.site)


def require_same_spec(bench: Workbench) -> None:
    """Return if the coordinator means to count what this site's copy of the task says.

    Raises:
        ConfigError: it does not: names the digest that it should have.
    """
    own, agreed = bench.spec().digest(), bench.agreement.spec_digest
    if own != agreed:
        raise ConfigError(
            "spec_digest",
            agreed,
            f"{own}, of the groups, levels, ranges and bins that this site counts by",
            "all must hold the same version of the task",
        )


def require_trainable(bench: Workbench) -> None:
    """Return if the task's model can be trained as agreed; asked before anything is charged.

    Raises:
        PrivacyRefusal: record-level privacy was agreed and the model or the loss mixes records, or
            there are too many of them to bound how a sum of all is rounded.
        UsageError: the model has state that would not travel, or the task cannot be mitigated.
    """
    model, train = bench.fresh_model(), bench.data.train
    require_travelling_state(model)
    loss = at_its_strongest(bench.task).loss
    if bench.agreement.mitigation is not None:
        loss(model(train.inputs[:1]), train.targets[:1])  # its own errors, before anything is spent
    if bench.agreement.privacy is not None:
        require_private_layers(model)
        require_records_apart(model, loss, (train.inputs, train.targets))
    if shared_record_noise(bench.agreement) is not None:
        require_summable(len(train.targets))


@dataclass(frozen=True, slots=True)
class TrainingContribution:
    """One round's vector, in the layout's rings, not yet masked.

    Attributes:
        vector: update, weight and counts.
        state: what the site goes on from, once this vector is in the model.
        noise_secret: what its noise was drawn from, where the surplus may be removed; else empty.
    """

    vector: RingVector
    state: SiteState = field(repr=False)
    noise_secret: bytes = field(default=b"", repr=False)


def training_contribution(
    bench: Workbench,
    numbers: Floats,
    round_: int,
    charge: int = 1,
    before: SiteState | None = None,
) -> TrainingContribution:
    """One round's vector: the clipped, weighted update and, in one sum of all, the model's tallies.

    A function of its arguments: where the state is kept is the caller's business.

    Args:
        bench: of the site.
        numbers: the global model and what goes with it, shape (broadcast,).
        round_: number of the round.
        charge: which release of the round this is; batches and noise are drawn for it alone.
        before: what the site kept of the round that `bench.counted` names; None before any.

    Raises:
        DataError: training diverged, or the model's output is not a probability.
    """
    shape, form = bench.shape(RoundKind.TRAIN), TrainingForm.of(bench, round_)
    start = Start(shape.split(numbers), before or bench.first_state)
    counts: dict[str, Floats] = {}
    if bench.agreement.counts_in_training:
        model = given_model(bench, start)
        counts = _scoped(bench, outcome_tallies(bench.task, model, bench.data, bench.spec()))
    update = (bench.trainer or trained_alone)(bench, start, round_, charge)
    return contribution_of(bench, form, start, update, counts, charge)


@dataclass(frozen=True, slots=True)
class Start:
    """What a round of training starts from: what travelled, and what the site kept."""

    given: Broadcast
    state: SiteState


@dataclass(frozen=True, slots=True)
class TrainingForm:
    """What the vectors of a training round have in common, at all sites.

    Attributes:
        round: its number.
        layout: of the vector.
        plan: of the noise in the sum; None without any.
        rotation_seed: of the round.
        local: which parameters stay at the site, shape (parameters + those,).
    """

    round: int
    layout: VectorLayout
    plan: DistributedNoisePlan | SharedRecordNoisePlan | None
    rotation_seed: bytes
    local: Mask

    @classmethod
    def of(cls, bench: Workbench, round_: int) -> "TrainingForm":
        """As it was agreed; the same at any site."""
        seed = rotation_seed(bench.agreement, round_)
        layout = bench.layout(RoundKind.TRAIN)
        return cls(round_, layout, bench.noise_in_the_sum(), seed, bench.local)


def contribution_of(
    bench: Workbench,
    form: TrainingForm,
    start: Start,
    whole: LocalUpdate,
    counts: Mapping[str, Floats],
    charge: int = 1,
) -> TrainingContribution:
    """A round's vector out of what was trained and counted for it.

    Args:
        bench: of the site.
        form: of the round.
        start: what training started from.
        whole: what it changed, of layers that stay at the site, too.
        counts: the segments of the incoming model's tallies; empty where none are counted.
        charge: as for `training_contribution`.

    Raises:
        DataError: training diverged.
    """
    update, before = shared_update(form, whole), start.state
    local = before.local + whole.delta[form.local]
    entropy = rounding_entropy(bench, form.round, charge)
    layout, plan = form.layout, form.plan
    if plan is None:
        vector = layout.encode({**counts, **update_values(bench, update)}, entropy)
        control = _control_after(bench, start, layout, vector)
        return TrainingContribution(vector, SiteState(control, local))
    after = SiteState(before.control, local)
    rotated = _rotated_values(bench, plan, update, form.rotation_seed, entropy)
    vector = layout.encode({**counts, **rotated})
    noise = bench.entropy.child("noise in the sum", bench.site, form.round, charge)
    if plan.surplus is None:
        layout.add(vector, UPDATE, noise_share(plan, noise))
        return TrainingContribution(vector, after)
    secret = noise.bytes(SECRET_BYTES)
    layout.add(vector, UPDATE, removable_noise_share(plan, secret))
    return TrainingContribution(vector, after, secret)


def shared_update(form: TrainingForm, whole: LocalUpdate) -> LocalUpdate:
    """What a round changed of the parameters that are shared.

    Raises:
        DataError: training diverged.
    """
    if not np.all(np.isfinite(whole.delta)):
        raise DataError("training diverged: the update is not finite; lower the learning rate")
    return replace(whole, delta=shared_of(whole.delta, form.local))


def evaluation_contribution(
    bench: Workbench,
    numbers: Floats,
    state: SiteState | None = None,
    layout: VectorLayout | None = None,
) -> RingVector:
    """An evaluation round's vector: tallies of the model and of both windows, no update.

    Args:
        bench: of the site.
        numbers: the global model and what goes with it, shape (broadcast,).
        state: as `before` of `training_contribution`.
        layout: of the round, if the caller has it at hand.
    """
    layout = layout or bench.layout(RoundKind.EVALUATE)
    if not bench.agreement.counts_exactly:
        return layout.encode({PRESENT: np.ones(1)})
    given = bench.shape(RoundKind.EVALUATE).split(numbers)
    model = given_model(bench, Start(given, state or bench.first_state))
    spec = bench.spec()
    tallies = report_tallies(bench.task, model, bench.data, spec)
    return layout.encode(_scoped(bench, tallies | window_tallies(bench.data, spec)))


def own_layers(bench: Workbench, state: SiteState) -> dict[str, Tensor]:
    """The layers that stay at the site with its own values, by name."""
    patterns = bench.agreement.training.local_layers
    return local_tensors(_loaded(bench, np.zeros(bench.parameters), state), patterns)


def rounding_entropy(bench: Workbench, round_: int, charge: int = 1) -> Entropy:
    """Of the stochastic rounding of a round's vector."""
    return bench.entropy.child("rounding", bench.site, round_, charge)


def training_entropy(bench: Workbench, round_: int, charge: int) -> Entropy:
    """Of the batches and the noise of a round."""
    return bench.entropy.child("training", bench.site, round_, charge)


def given_model(bench: Workbench, start: Start) -> nn.Module:
    """The model as this site has it: shared parameters as they travelled, local ones its own.

    Frozen parts are as every side initialises them.
    """
    return _loaded(bench, start.given.parameters, start.state)


def _loaded(bench: Workbench, parameters: Floats, state: SiteState) -> nn.Module:
    model = bench.fresh_model()
    load_flat_parameters(model, joined(parameters, state.local, bench.local))
    return model


Trainer = Callable[[Workbench, Start, int, int], LocalUpdate]
"""Of a bench, what training starts from, the round and its charge."""


def trained_alone(bench: Workbench, start: Start, round_: int, charge: int) -> LocalUpdate:
    """What one round of training changes at a site, which trains by itself.

    Args:
        bench: of the site.
        start: what training starts from.
        round_: number of the round.
        charge: as for `training_contribution`.
    """
    model, rows = given_model(bench, start), (bench.data.train.inputs, bench.data.train.targets)
    loss, arithmetic = under(bench.task, start.given.multipliers).loss, bench.arithmetic
    descent = replace(descent_of(bench.agreement), correction=correction_of(bench, start))
    entropy, plan = training_entropy(bench, round_, charge), bench.plan()
    shared = shared_record_noise(bench.agreement)
    if shared is not None:
        return train_for_shared_noise(model, rows, loss, shared.step, entropy, arithmetic)
    if isinstance(plan, DpSgdPlan):
        # The ledger is charged by the plan that was agreed: more noise costs less, never more.
        plan = replace(plan, noise_multiplier=plan.noise_multiplier * bench.noise_factor)
        return train_privately(
            model, rows, loss, plan, descent, entropy, arithmetic, bench.noise_of
        )
    return train_without_privacy(model, rows, loss, plan, descent, entropy, arithmetic)


def descent_of(agreement: Agreement) -> Descent:
    """How a gradient becomes a step, as it was agreed; without a site's own correction."""
    training = agreement.training
    return Descent(training.learning_rate, training.momentum, training.proximal_mu)


def correction_of(bench: Workbench, start: Start) -> Floats | None:
    """SCAFFOLD's, of every step; layers that stay at the site drift from nobody's."""
    if not bench.agreement.training.is_scaffold:
        return None
    own = correction(start.given.control, start.state.control)
    return joined(own, np.zeros(len(start.state.local)), bench.local)


def _control_after(
    bench: Workbench, start: Start, layout: VectorLayout, vector: RingVector
) -> Floats:
    """The site's SCAFFOLD control after its update, as it was sent, is in the model."""
    training, before = bench.agreement.training, start.state.control
    if not training.is_scaffold:
        return before
    sent = layout.decode(vector)[UPDATE] / bench.weight
    return own_control(before, start.given.control, sent, training.travelled)


def update_values(bench: Workbench, update: LocalUpdate) -> dict[str, Floats]:
    """Per segment: the clipped, weighted update and what training counts of itself."""
    agreement = bench.agreement
    clipped, norm = clip_l2(update.delta, agreement.training.update_clip)
    values = {
        UPDATE: clipped * bench.weight,
        WEIGHT: np.array([float(agreement.public_rows[bench.site])]),
        UPDATE_NORM: np.array([min(norm, agreement.training.update_clip)]),
        CLIPPED_UPDATES: np.array([float(norm > agreement.training.update_clip)]),
    }
    if update.mean_loss is not None:
        values[TRAINING_LOSS] = np.array([min(update.mean_loss, LARGEST_TRAINING_LOSS)])
    return values


def _rotated_values(
    bench: Workbench,
    plan: DistributedNoisePlan | SharedRecordNoisePlan,
    update: LocalUpdate,
    seed: bytes,
    entropy: Entropy,
) -> dict[str, Floats]:
    """The update with the meter's empty coordinates, rotated and rounded; the public weight."""
    # The meter's coordinates are turned with the others: their noise is a mixture of all noise.
    signal = np.zeros(plan.dimension)
    own = signal[: len(update.delta)]
    if isinstance(plan, SharedRecordNoisePlan):
        own[:] = update.delta  # its divisor is the same at all sites, so it is weighted already
        units = rounded_gradient(plan, signal, seed)
    else:
        own[:] = clip_l2(update.delta, plan.clip)[0] * bench.weight
        units = rounded_update(plan, signal, seed, entropy)
    return {
        UPDATE: units * plan.granularity,
        WEIGHT: np.array([float(bench.agreement.public_rows[bench.site])]),
    }


def _scoped(bench: Workbench, tallies: Mapping[str, Floats]) -> dict[str, Floats]:
    mine = bench.agreement.scopes(bench.site)
    return {
        scoped(scope, name): value if scope in mine else np.zeros_like(value)
        for scope in bench.agreement.all_scopes
        for name, value in tallies.items()
    }
