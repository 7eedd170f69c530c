"""Many simulated sites in one process, played without agents: what their vectors add up to.

A site's vector is made by the functions that its agent would call, with the same streams of the
run's seed: batches, noise, rounding, counts. What is left out is what cancels in the sum or only
guards it: keys, masks, signatures, journal and ledger.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from torch import Tensor

from client.contribution import (
    Start,
    TrainingForm,
    Workbench,
    contribution_of,
    correction_of,
    descent_of,
    evaluation_contribution,
    given_model,
    own_layers,
    rounding_entropy,
    shared_update,
    trained_alone,
    training_entropy,
    update_values,
)
from client.observation import Judged, judged_rows
from evaluation.run_layout import RunLayouts, run_tally_spec
from federation.agreement import Agreement
from federation.broadcast import Broadcast
from federation.config import FederationConfig
from federation.entropy import SeededEntropy
from federation.errors import IntegrityError
from federation.initial_model import parameter_count
from federation.layout import VectorLayout
from federation.local_layers import joined
from federation.mitigated_task import under
from federation.ring_vector import RingVector
from federation.round_layout import RoundKind
from federation.run_folder import RunFolder
from federation.site_state import SiteState
from federation.task import Floats, SiteData, SiteRequest, Task
from federation.trained_task import as_trained
from privacy.batched_training import ClientWork, train_together
from privacy.dp_sgd import LocalUpdate
from privacy.mechanisms.gaussian_noise import gaussian_noise
from privacy.mechanisms.rehearsal_noise import rehearsal_noise
from privacy.run_plan import rotation_seed
from simulations.attackers import attack_draws, attacked_vector, attackers_of
from simulations.chunk_tallies import chunk_report, chunk_tallies, counts_by_scope
from simulations.kept_states import KeptStates
from simulations.poisoned_rows import poisoned_rows
from simulations.simulated_task import simulated_task
from simulations.site_chunks import (
    TrainingEngine,
    expected_batches,
    site_chunks,
    training_engine,
)

STATES = "site-states.bin"
"""In the run folder: what sites without homes keep."""


@dataclass(frozen=True, slots=True)
class ChunkWork:
    """What is asked of a chunk of sites in a round.

    Attributes:
        kind: of the round.
        round: its number.
        sites: the chunk; all of them train, so that who is lost does not change the others' bits.
        lost: those of them whose vectors do not reach the sum.
    """

    kind: RoundKind
    round: int
    sites: tuple[str, ...]
    lost: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ChunkSum:
    """What the vectors of a chunk add up to.

    Attributes:
        total: in the layout's rings; zero where no vector is in it.
        survivors: whose vectors are in it.
        failed: per site whose training failed, why.
        secrets: per site, what its noise was drawn from, where the surplus may be removed.
    """

    total: RingVector
    survivors: tuple[str, ...]
    failed: Mapping[str, str]
    secrets: Mapping[str, bytes] = field(repr=False)


class ChunkPlayer:
    """The sites of one run; rows are loaded when a site is first needed."""

    def __init__(self, folder: RunFolder, config: FederationConfig, agreement: Agreement) -> None:
        self._folder, self._config, self._agreement = folder, config, agreement
        self._honest = simulated_task(folder, config)
        self._task = as_trained(self._honest, agreement.training, agreement.mitigation)
        self._places = {site: place for place, site in enumerate(agreement.sites)}
        self._benches: dict[str, Workbench] = {}
        self._attacks = {one.site: one for one in attackers_of(config)}
        self._entropy = SeededEntropy(config.run.seed)
        rehearses = config.simulation.noise == "rehearsal"
        self._noise_of = rehearsal_noise if rehearses else gaussian_noise

    @cached_property
    def layouts(self) -> RunLayouts:
        """Of the rounds' vectors."""
        spec = run_tally_spec(self._task.schema, self._agreement)
        return RunLayouts(spec, self._agreement, parameter_count(self._task, self._agreement.seed))

    @cached_property
    def engine(self) -> TrainingEngine:
        """How sites are trained."""
        return training_engine(self._config, self._task, self._first.data)

    def chunks(self, sites: Sequence[str]) -> list[tuple[str, ...]]:
        """Sites that sum together, as they are trained."""
        return site_chunks(self.engine, self._batches, sites)

    def play(self, work: ChunkWork, numbers: Floats) -> ChunkSum:
        """The sum of a chunk's vectors.

        Args:
            work: which sites, and what they are asked.
            numbers: the global model and what goes with it, shape (broadcast,), float64.

        Raises:
            DataError: the model's output is not a probability, or an evaluation failed at a site.
        """
        alive = [self.bench(site) for site in work.sites if site not in work.lost]
        if work.kind is RoundKind.TRAIN:
            return self._training_sum(work, alive, numbers)
        return self._evaluation_sum(work, alive, numbers)

    def updates(self, sites: Sequence[str], numbers: Floats, round_: int) -> dict[str, LocalUpdate]:
        """What a round of training changes at each site."""
        given = self._given(numbers, RoundKind.TRAIN)
        return self._trained([(b, self._start(b, given)) for b in map(self.bench, sites)], round_)

    def own_layers(self, site: str) -> dict[str, Tensor]:
        """The layers that stay at a site, as they were after its last training; else none."""
        if self._kept is None:
            return {}
        state = self._kept.latest(self._places[site])
        return {} if state is None else own_layers(self.bench(site), state)

    def bench(self, site: str) -> Workbench:
        """What a site works with."""
        if site not in self._benches:
            task = self._task_of(site)
            data = task.load(SiteRequest(site, self._config.run.seed))
            self._benches[site] = Workbench(
                site, self._agreement, task, data, self._entropy, noise_of=self._noise_of
            )
        return self._benches[site]

    def _task_of(self, site: str) -> Task:
        """The task as a site trains it: an attacker's rows are poisoned before all else."""
        attack, agreed = self._attacks.get(site), self._agreement
        if attack is None:
            return self._task
        poisoned = poisoned_rows(self._honest, attack, self._config.run.seed)
        return as_trained(poisoned, agreed.training, agreed.mitigation)

    @cached_property
    def _first(self) -> Workbench:
        """A site's bench: what it says of the agreement holds for all."""
        return self.bench(self._agreement.sites[0])

    @cached_property
    def _batches(self) -> dict[str, float]:
        return expected_batches(self._agreement)

    @cached_property
    def _kept(self) -> KeptStates | None:
        """What sites keep from round to round; None if they keep nothing."""
        if not self._agreement.training.keeps_state:
            return None
        none, path = self._first.first_state, self._folder.path / STATES
        return KeptStates(path, len(self._places), len(none.control), len(none.local))

    def _given(self, numbers: Floats, kind: RoundKind) -> Broadcast:
        return self._first.shape(kind).split(numbers)

    def _state(self, bench: Workbench, given: Broadcast) -> SiteState:
        """What a site goes on from.

        Raises:
            IntegrityError: what it kept is gone.
        """
        counted = self._counted(bench, given)
        if self._kept is None or not counted:
            return self._first.first_state
        kept = self._kept.state(self._places[bench.site], counted)
        if kept is None:
            raise IntegrityError(
                f"{self._folder.path / STATES} holds nothing of {bench.site} and round {counted}: "
                "it was changed since; start a new run"
            )
        return kept

    def _counted(self, bench: Workbench, given: Broadcast) -> int:
        """The round of a site's last update in the model; 0 if there is none, or it keeps none."""
        return int(given.counted[self._places[bench.site]]) if len(given.counted) else 0

    def _start(self, bench: Workbench, given: Broadcast) -> Start:
        return Start(given, self._state(bench, given))

    def _trained(
        self, starts: Sequence[tuple[Workbench, Start]], round_: int
    ) -> dict[str, LocalUpdate]:
        if not self.engine.is_batched:
            return {b.site: trained_alone(b, start, round_, 1) for b, start in starts}
        common = starts[0][1]
        model = given_model(self._first, Start(common.given, self._first.first_state))
        loss = under(self._task, common.given.multipliers).loss
        descent, clients = descent_of(self._agreement), []
        for bench, start in starts:
            own = None
            if len(start.state.local):
                own = joined(start.given.parameters, start.state.local, self._first.local)
            rows = (bench.data.train.inputs, bench.data.train.targets)
            entropy, correction = training_entropy(bench, round_, 1), correction_of(bench, start)
            clients.append(ClientWork(rows, bench.plan(), entropy, own, correction))
        arithmetic = self.engine.device.arithmetic
        trained = train_together(model, clients, loss, descent, arithmetic, self._noise_of)
        return {b.site: update for (b, _), update in zip(starts, trained, strict=True)}

    def _training_sum(
        self, work: ChunkWork, alive: Sequence[Workbench], numbers: Floats
    ) -> ChunkSum:
        layout, given = self.layouts.of(RoundKind.TRAIN), self._given(numbers, RoundKind.TRAIN)
        total = RingVector.zeros(layout.stretches)
        if not alive:
            return ChunkSum(total, (), {}, {})
        # Of a batch whoever is lost is trained, too: the others' bits must not depend on it.
        trained = work.sites if self.engine.is_batched else [bench.site for bench in alive]
        starts = {site: self._start(self.bench(site), given) for site in trained}
        updates = self._trained([(self.bench(s), one) for s, one in starts.items()], work.round)
        seed = rotation_seed(self._agreement, work.round)
        form = replace(self._form, round=work.round, layout=layout, rotation_seed=seed)
        diverged = [b.site for b in alive if not np.all(np.isfinite(updates[b.site].delta))]
        failed = dict.fromkeys(diverged, "train: failed: training diverged")
        summed = [bench for bench in alive if bench.site not in failed]
        if not summed:
            return ChunkSum(total, (), failed, {})
        counts = self._counts(summed, starts, RoundKind.TRAIN)
        # Whose vector is changed by more than rounding, or who keeps it, is encoded by itself.
        all_apart = form.plan is not None or self._kept is not None
        apart = {b.site for b in summed if all_apart or b.site in self._attacks}
        total = layout.encoded_sum(
            (
                (
                    update_values(bench, shared_update(form, updates[bench.site])),
                    rounding_entropy(bench, work.round),
                )
                for bench in summed
                if bench.site not in apart
            ),
            counts,
        )
        secrets = {}
        counted_above = {name: np.zeros(sums.shape[-1]) for name, sums in counts.items()}
        for bench in summed:
            if bench.site not in apart:
                continue
            start = starts[bench.site]
            made = contribution_of(bench, form, start, updates[bench.site], counted_above)
            if self._kept is not None:
                place, needed = self._places[bench.site], self._counted(bench, given)
                self._kept.keep(place, work.round, made.state, needed)
            total.add(self._as_sent(bench.site, work.round, layout, made.vector))
            secrets[bench.site] = made.noise_secret
        return ChunkSum(total, tuple(bench.site for bench in summed), failed, secrets)

    def _evaluation_sum(
        self, work: ChunkWork, alive: Sequence[Workbench], numbers: Floats
    ) -> ChunkSum:
        layout = self.layouts.of(work.kind)
        total = RingVector.zeros(layout.stretches)
        if self._agreement.counts_exactly and alive:
            given = self._given(numbers, work.kind)
            starts = {bench.site: self._start(bench, given) for bench in alive}
            total = layout.encoded_sum((), self._counts(alive, starts, work.kind))
        else:
            for bench in alive:
                total.add(evaluation_contribution(bench, numbers, layout=layout))
        return ChunkSum(total, tuple(bench.site for bench in alive), {}, {})

    def _as_sent(
        self, site: str, round_: int, layout: VectorLayout, honest: RingVector
    ) -> RingVector:
        """A training vector, changed by an attacker where the site is one."""
        attack = self._attacks.get(site)
        if attack is None:
            return honest
        clip = self._agreement.training.update_clip
        draws = attack_draws(self._config.run.seed, attack, round_)
        return attacked_vector(attack, layout, honest, clip, draws)

    @cached_property
    def _form(self) -> TrainingForm:
        return TrainingForm.of(self._first, 1)

    def _counts(
        self, benches: Sequence[Workbench], starts: Mapping[str, Start], kind: RoundKind
    ) -> dict[str, Floats]:
        """Per scope, what a round counts of the incoming model over these sites; or nothing."""
        if kind is RoundKind.TRAIN and not self._agreement.counts_in_training:
            return {}
        one_for_all = given_model(self._first, starts[benches[0].site])
        by_scope: dict[str, list[tuple[Judged, SiteData]]] = {}
        for bench in benches:
            own = bool(len(starts[bench.site].state.local))
            model = given_model(bench, starts[bench.site]) if own else one_for_all
            judged = judged_rows(self._task, model, bench.data)
            scope = self._agreement.scopes(bench.site)[-1]
            by_scope.setdefault(scope, []).append((judged, bench.data))
        count = chunk_tallies if kind is RoundKind.TRAIN else chunk_report
        tallies = {scope: count(self.layouts.spec, sites) for scope, sites in by_scope.items()}
        return counts_by_scope(self._agreement.all_scopes, tallies)
