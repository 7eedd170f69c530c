"""Judging a trained model outside its run: freeze a reference window, then count window by window.

Each stage is one agreement and one secure sum in a folder of its own; whatever is interrupted is
asked again under the same name, and costs no site anything more.
"""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from evaluation.audit.confident_learning import confidence_thresholds
from evaluation.measurement import (
    FEATURE,
    SITES,
    agreed_measurement,
    feature_grids,
    grid_terms,
)
from evaluation.monitoring.cohort_discovery import MEMBERS
from evaluation.monitoring.edge_search import frozen_grid, refinement
from evaluation.monitoring.feature_grid import FeatureGrid, survey_grid
from evaluation.run_layout import evaluation_spec
from evaluation.tally_spec import OVERALL, TallySpec
from evaluation.window_sums import sums_by_scope
from federation.agreement import Agreement
from federation.config import FederationConfig
from federation.consortium_files import ConsortiumFiles
from federation.errors import IntegrityError, PrivacyRefusal, UsageError
from federation.evaluation_agreement import (
    JUDGING,
    SCORES,
    EvaluationAgreement,
    ModelTerms,
    ReferenceTerms,
    Stage,
)
from federation.evaluation_record import EvaluationFolder, FrozenReference, StageRecord
from federation.layout import VectorLayout
from federation.roster import Roster
from federation.round_layout import RoundKind
from federation.round_messages import Enlistment
from federation.run_folder import RunFolder
from federation.task import Codes, Floats, Task
from federation.timestamp import utc_now
from privacy.count_noise import CountNoisePlan
from privacy.evaluation_noise import agreed_noise, solve_noise, with_noise
from server.checkpoint import read_checkpoint
from server.run_record import read_record
from server.single_sum import SingleSum, Terms, finish_again, sum_once
from server.transport import Transport


@dataclass(frozen=True)
class Evaluator:
    """Asks the sites of a run about the model that it ended with.

    Attributes:
        transport: to the sites.
        run: whose model is judged.
        config: of the run; its `[evaluation]` says what is counted.
        task: of the run.
    """

    transport: Transport
    run: RunFolder
    config: FederationConfig
    task: Task

    @cached_property
    def folder(self) -> EvaluationFolder:
        """Where its evaluations are kept."""
        return EvaluationFolder.of(self.run)

    @cached_property
    def spec(self) -> TallySpec:
        """Groups, levels, ranges and score bins."""
        return evaluation_spec(self.task.schema, self.config.evaluation)

    @cached_property
    def model(self) -> bytes:
        """The final model's parameters as they travelled, with any multipliers.

        Raises:
            UsageError: nothing was trained, or part of what was stayed at the sites.
            IntegrityError: the last checkpoint is not what was written.
        """
        last = read_record(self.run).last_training
        if last is None:
            raise UsageError(f"{self.run.path}: no round of it was completed; nothing to evaluate")
        training = self.config.training
        if training.local_layers:
            raise UsageError(
                f"{self.run.path}: its layers {', '.join(training.local_layers)} stayed at the "
                "sites, and an evaluation after the run judges one model for all; the run's own "
                "report judges each site's rows with the site's own layers"
            )
        checkpoint = read_checkpoint(self.run, last.round.round, last.checkpoint_sha256)
        return checkpoint.to_be_judged(training).model_bytes()

    @cached_property
    def trained(self) -> Agreement:
        """What the run was agreed on.

        Raises:
            UsageError: it was not even agreed on.
            IntegrityError: the file is not what was written.
        """
        if not self.run.agreement.is_file():
            raise UsageError(f"{self.run.path} holds no agreement: nothing was trained in it")
        try:
            return Agreement.from_bytes(self.run.agreement.read_bytes())
        except UsageError as error:
            raise IntegrityError(f"{self.run.agreement} is not what was written") from error

    def freeze(self, window: str) -> FrozenReference:
        """Find every feature's bins by sums alone, count the window on them, and keep both.

        Raises:
            HedgerowError: as `server.single_sum.sum_once`.
        """
        survey = self.sum(Stage.SURVEY, window)
        grids = {f.name: survey_grid(f) for f in self.task.schema.features}
        counts = self._features(survey, grids)
        finer = {
            name: found
            for name, grid in grids.items()
            if (found := refinement(grid.feature, counts[name])) is not None
        }
        stages, refined = [survey], {}
        if finer:
            second = self.sum(Stage.REFINE, window, grids=grid_terms(tuple(finer.values())))
            stages.append(second)
            told = self._features(second, finer)
            refined = {name: (finer[name], told[name]) for name in finer}
        frozen = grid_terms(
            tuple(
                frozen_grid(grid.feature, counts[name], refined.get(name), self.spec.feature_bins)
                for name, grid in grids.items()
            )
        )
        record = self.sum(Stage.REFERENCE, window, grids=frozen)
        reference = FrozenReference(grids=frozen, stages=tuple(stages), record=record)
        self.folder.write_reference(reference)
        return reference

    def window(self, reference: FrozenReference, window: str) -> StageRecord:
        """Count a window on the reference's bins, and keep the sum.

        Raises:
            HedgerowError: as `server.single_sum.sum_once`.
        """
        terms = self._terms(reference)
        record = self.sum(Stage.WINDOW, window, grids=reference.grids, reference=terms)
        if not record.noise_variance:
            labels = self.labels(record)
            record = record.model_copy(update={"sums": {**record.sums, **labels.sums}})
        self.folder.write_window(record)
        return record

    def labels(self, record: StageRecord) -> StageRecord:
        """Count labels against predictions, by the mean confidence that a window's sum gave.

        Raises:
            HedgerowError: as `server.single_sum.sum_once`.
        """
        thresholds = confidence_thresholds(record.in_scope(OVERALL))
        return self.sum(Stage.LABELS, record.window, thresholds=tuple(thresholds.tolist()))

    def sum(
        self, stage: Stage, window: str, *, under: str | None = None, **asked: Any
    ) -> StageRecord:
        """One stage's secure sum.

        Args:
            stage: what is counted.
            window: on which rows.
            under: name of a discovery's step; the run's if left out.
            asked: further fields of the agreement.

        Raises:
            HedgerowError: as `server.single_sum.sum_once`.
        """
        folder = self.folder.stage(under or self.run.id, stage, window)
        kept = self.folder.read_stage(folder)
        if kept is not None:
            self._let_go(folder)
            return kept
        asked |= {
            "run": folder.id,
            "stage": stage,
            "window": window,
            "model": self._model_terms() if stage in JUDGING else None,
        }
        terms = Terms(
            rules=asked.get("federation", self.config.federation),
            kind=RoundKind.MEASURE,
            propose=partial(self._proposed, asked),
            read=EvaluationAgreement.from_bytes,
            layout=self._layout,
            model=self.model if stage in JUDGING else b"",
        )
        done = sum_once(self.transport, folder, self._roster(), terms)
        record = _recorded(done, self._noise(done.agreement))
        self._require_contributors(record)
        self._require_members(record)
        self.folder.write_stage(folder, record)
        done.finish(folder)
        self.folder.note_closed(folder)
        return record

    def _let_go(self, stage: RunFolder) -> None:
        """Where a crash came between a sum and its end: let sites forget what they would resend."""
        if self.folder.is_closed(stage):
            return
        agreement = EvaluationAgreement.from_bytes(stage.agreement.read_bytes())
        if finish_again(self.transport, stage, self._roster(), agreement):
            self.folder.note_closed(stage)

    def _roster(self) -> Roster:
        latest = self.folder.given
        given = latest if latest.roster.exists() else ConsortiumFiles(self.run.path)
        return given.read_roster(int(time.time()))

    def _require_contributors(self, record: StageRecord) -> None:
        """Return if enough sites have rows in the window: else the sum is of too few, or of one.

        Raises:
            PrivacyRefusal: they have not; nothing of the sum is kept.
        """
        if record.noise_variance or record.stage is Stage.TRAINING_ROWS:
            return
        sites, least = record.in_scope(OVERALL)[SITES][0], self.config.evaluation
        if sites < least.minimum_contributors:
            raise PrivacyRefusal(
                f"window {record.window}: {sites:.0f} sites have rows in it, expected at least "
                f"evaluation.minimum_contributors = {least.minimum_contributors}; nothing is kept"
            )

    def _require_members(self, record: StageRecord) -> None:
        """Return if no cluster is of fewer members than the minimum: no site claims otherwise.

        Raises:
            PrivacyRefusal: one is; nothing of the sum is kept.
        """
        members = record.in_scope(OVERALL).get(MEMBERS, np.zeros(0))
        least = self.config.evaluation.minimum_contributors
        if np.any((members > 0) & (members < least)):
            raise PrivacyRefusal(
                f"window {record.window}: a cluster has fewer than {least} members, which no "
                "admitted moves lead to; nothing is kept"
            )

    def _proposed(
        self, asked: Mapping[str, Any], enlisted: Mapping[str, Enlistment], rules_digest: str
    ) -> EvaluationAgreement:
        rules = self.config.evaluation
        facts = {
            "federation": self.config.federation,
            **asked,
            "rules_digest": rules_digest,
            "task": self.config.task,
            "cohorts": {name: tuple(sorted(s)) for name, s in self.config.cohorts.items()},
            "public_rows": {site: one.public_rows for site, one in enlisted.items()},
            "evaluation": rules,
            "named": tuple(sorted(site for site, one in enlisted.items() if one.names_itself)),
            "spec_digest": self.spec.digest(),
        }
        # How much is counted decides how much noise it takes: so it is derived first.
        draft = EvaluationAgreement.model_construct(**facts)
        measurement = agreed_measurement(self.task.schema, draft)
        cells = measurement.layout(draft).length
        delta = min(one.delta for one in enlisted.values())
        noise = solve_noise(rules, self.config.federation, delta, measurement.tables, cells)
        return EvaluationAgreement(**facts, noise=noise)

    def _layout(self, agreement: EvaluationAgreement) -> VectorLayout:
        return with_noise(*self._counted(agreement))

    def _noise(self, agreement: EvaluationAgreement) -> CountNoisePlan | None:
        return self._counted(agreement)[1]

    def _counted(
        self, agreement: EvaluationAgreement
    ) -> tuple[VectorLayout, CountNoisePlan | None]:
        """The layout of exact counts, and their noise."""
        measurement = agreed_measurement(self.task.schema, agreement)
        exact = measurement.layout(agreement)
        return exact, agreed_noise(agreement, measurement.tables, exact.length)

    def _model_terms(self) -> ModelTerms:
        return ModelTerms(
            run=self.run.id,
            seed=self.trained.seed,
            mitigation=self.trained.mitigation,
            parameters=len(self.model) // 4,
            sha256=hashlib.sha256(self.model).hexdigest(),
        )

    def _terms(self, reference: FrozenReference) -> ReferenceTerms:
        """What sites are shown of it, to test their own windows against: nothing if they do not.

        They flag in tasks of two classes, where counts are exact.
        """
        rules = self.config.evaluation
        flagged = rules.site_flags and rules.epsilon is None and self.task.schema.is_binary
        histograms: dict[str, Floats] = {}
        outcomes = np.zeros(4)
        if flagged:
            sums = sums_by_scope(self.spec, reference.record, self.trained.cohorts)[OVERALL].sums
            grids = feature_grids(self.task.schema, reference.grids)
            names = [grid.feature.name for grid in grids]
            histograms = {name: sums[f"{FEATURE}/{name}"] for name in names}
            histograms[SCORES] = sums[f"scores/{OVERALL}"]
            outcomes = sums[f"confusion/{OVERALL}"]
        return ReferenceTerms(
            sha256=reference.sha256(),
            window=reference.record.window,
            sites=len(reference.record.survivors),
            histograms={name: _whole(values) for name, values in histograms.items()},
            outcomes=_four(outcomes),
        )

    def _features(self, record: StageRecord, grids: Mapping[str, FeatureGrid]) -> dict[str, Codes]:
        sums = sums_by_scope(self.spec, record, self.trained.cohorts)[OVERALL].sums
        return {name: np.rint(sums[f"{FEATURE}/{name}"]).astype(np.int64) for name in grids}


def _recorded(done: SingleSum[EvaluationAgreement], noise: CountNoisePlan | None) -> StageRecord:
    agreement = done.agreement
    return StageRecord(
        stage=agreement.stage,
        window=agreement.window,
        run=agreement.run,
        at=utc_now(),
        agreement_sha256=agreement.digest().hex(),
        spec_sha256=agreement.spec_digest,
        model_sha256=agreement.model.sha256 if agreement.model else "",
        survivors=done.survivors,
        dropped=dict(done.dropped),
        sums={name: tuple(values.tolist()) for name, values in done.sums.items()},
        noise_variance=noise.variance(len(done.survivors)) if noise else 0.0,
        noise_family=(
            "discrete_laplace" if noise and noise.mechanism == "discrete_laplace" else "gaussian"
        ),
        epsilon=noise.epsilon / noise.release.releases if noise else None,
    )


def _whole(values: Floats) -> tuple[int, ...]:
    return tuple(int(value) for value in np.rint(np.maximum(values, 0)))


def _four(values: Floats) -> tuple[int, int, int, int]:
    tn, fp, fn, tp = _whole(values)
    return tn, fp, fn, tp
