"""Many simulated sites in one process, played without agents: what their vectors add up to.

A site's vector is made by the functions that its agent would call, with the same streams of the
run's seed: batches, noise, rounding, counts. What is left out is what cancels in the sum or only
guards it: keys, masks, signatures, journal and ledger.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from torch import nn

from client.contribution import (
    TrainingForm,
    Workbench,
    contribution_of,
    descent_of,
    evaluation_contribution,
    given_model,
    rounding_entropy,
    trained_alone,
    training_entropy,
    update_values,
)
from evaluation.run_layout import RunLayouts, run_tally_spec
from evaluation.tally_spec import OVERALL
from federation.agreement import Agreement
from federation.config import FederationConfig
from federation.entropy import SeededEntropy
from federation.initial_model import initial_model, parameter_count
from federation.layout import VectorLayout
from federation.mitigated_task import mitigated, under
from federation.ring_vector import RingVector
from federation.round_layout import RoundKind, scoped
from federation.run_folder import RunFolder
from federation.task import Floats, SiteData, SiteRequest, Task
from privacy.batched_training import ClientWork, train_together
from privacy.dp_sgd import LocalUpdate
from privacy.mechanisms.gaussian_noise import gaussian_noise
from privacy.mechanisms.rehearsal_noise import rehearsal_noise
from simulations.attackers import attacked_task, attacked_vector
from simulations.chunk_tallies import chunk_tallies
from simulations.simulated_task import simulated_task
from simulations.site_chunks import TrainingEngine, site_chunks, training_engine


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
        self._config, self._agreement = config, agreement
        self._task = mitigated(simulated_task(folder, config), agreement.mitigation)
        self._benches: dict[str, Workbench] = {}
        self._attacks = {one.site: one for one in config.simulation.attackers}
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
        data = self.bench(self._agreement.sites[0]).data
        return training_engine(self._config, self._agreement, self._task, data)

    def chunks(self, sites: Sequence[str]) -> list[tuple[str, ...]]:
        """Sites that sum together, as they are trained."""
        return site_chunks(self._agreement, self.engine, self._model, sites)

    @cached_property
    def _model(self) -> nn.Module:
        return initial_model(self._task, self._agreement.seed)

    def play(self, work: ChunkWork, parameters: Floats) -> ChunkSum:
        """The sum of a chunk's vectors.

        Args:
            work: which sites, and what they are asked.
            parameters: as they travel, shape (broadcast,), float64.

        Raises:
            DataError: the model's output is not a probability, or an evaluation failed at a site.
        """
        alive = [self.bench(site) for site in work.sites if site not in work.lost]
        layout = self.layouts.of(work.kind)
        if not alive:
            return ChunkSum(RingVector.zeros(layout.stretches), (), {}, {})
        if work.kind is RoundKind.EVALUATE:
            total = RingVector.zeros(layout.stretches)
            for bench in alive:
                total.add(evaluation_contribution(bench, parameters))
            return ChunkSum(total, tuple(bench.site for bench in alive), {}, {})
        return self._training_sum(work, layout, alive, parameters)

    def updates(
        self, sites: Sequence[str], parameters: Floats, round_: int
    ) -> dict[str, LocalUpdate]:
        """What a round of training changes at each site."""
        benches = [self.bench(site) for site in sites]
        if not self.engine.is_batched:
            return {one.site: trained_alone(one, parameters, round_, 1) for one in benches}
        model = given_model(benches[0], parameters)
        loss = under(self._task, parameters[self.layouts.parameters :]).loss
        clients = [
            ClientWork(
                (one.data.train.inputs, one.data.train.targets),
                one.plan(),
                training_entropy(one, round_, 1),
            )
            for one in benches
        ]
        trained = train_together(
            model, clients, loss, descent_of(self._agreement), noise_of=self._noise_of
        )
        return {one.site: update for one, update in zip(benches, trained, strict=True)}

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
        attack = self._attacks.get(site)
        return self._task if attack is None else attacked_task(self._task, attack)

    def _training_sum(
        self,
        work: ChunkWork,
        layout: VectorLayout,
        alive: Sequence[Workbench],
        parameters: Floats,
    ) -> ChunkSum:
        updates = self.updates(work.sites, parameters, work.round)
        failed = {
            bench.site: "train: failed: training diverged: the update is not finite"
            for bench in alive
            if not np.all(np.isfinite(updates[bench.site].delta))
        }
        summed = [bench for bench in alive if bench.site not in failed]
        if not summed:
            return ChunkSum(RingVector.zeros(layout.stretches), (), failed, {})
        form = TrainingForm.of(self._agreement, layout, work.round)
        counts = self._counts(summed, parameters)
        # Whose vector is changed by more than rounding is encoded by itself.
        apart = {bench.site for bench in summed if form.plan or bench.site in self._attacks}
        total = layout.encoded_sum(
            (
                (update_values(bench, updates[bench.site]), rounding_entropy(bench, work.round))
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
            update = updates[bench.site]
            made = contribution_of(bench, form, update, counted_above, work.round)
            total.add(attacked_vector(self._attacks.get(bench.site), layout, made.vector))
            secrets[bench.site] = made.noise_secret
        return ChunkSum(total, tuple(bench.site for bench in summed), failed, secrets)

    def _counts(self, benches: Sequence[Workbench], parameters: Floats) -> dict[str, Floats]:
        """Per scope, the tallies of the incoming model over these sites; empty if none are."""
        if not self._agreement.counts_in_training:
            return {}
        model, spec = given_model(benches[0], parameters), self.layouts.spec
        by_scope: dict[str, list[SiteData]] = {scope: [] for scope in self._agreement.all_scopes}
        for bench in benches:
            for scope in self._agreement.scopes(bench.site)[1:] or ("",):
                by_scope.setdefault(scope, []).append(bench.data)
        tallies = {
            scope: chunk_tallies(self._task, model, data, spec)
            for scope, data in by_scope.items()
            if data
        }
        overall = _added(list(tallies.values()))
        none = {name: np.zeros(value.shape[-1]) for name, value in overall.items()}
        by_name = {**dict.fromkeys(self._agreement.all_scopes, none), **tallies}
        by_name[OVERALL] = overall
        return {
            scoped(scope, name): value
            for scope in self._agreement.all_scopes
            for name, value in by_name[scope].items()
        }


def _added(tallies: Sequence[Mapping[str, Floats]]) -> dict[str, Floats]:
    return {name: _joined([one[name] for one in tallies]) for name in tallies[0]}


def _joined(counts: Sequence[Floats]) -> Floats:
    """The sum of counts; of what sites have one by one, all of it."""
    return np.concatenate(counts) if counts[0].ndim == 2 else np.sum(counts, axis=0)
