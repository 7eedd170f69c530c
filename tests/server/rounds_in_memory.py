"""Real rounds over real contributions, summed without masks: behaviour of training, quickly.

A site's state is kept in a dictionary here; that it survives crashes is for tests over agents.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from client.contribution import (
    Workbench,
    evaluation_contribution,
    own_layers,
    require_trainable,
    training_contribution,
)
from evaluation.run_layout import RunLayouts, run_tally_spec
from federation import config_file
from federation.entropy import SeededEntropy
from federation.initial_model import parameter_count
from federation.ring_vector import RingVector
from federation.round_layout import RoundKind
from federation.run_folder import RunFolder
from federation.schema import Numeric, TaskSchema
from federation.site_state import SiteState
from federation.task import Rows, SiteData, SiteRequest, Task
from federation.trained_task import as_trained
from server.checkpoint import Checkpoint
from server.proposal import propose
from server.rounds import Rounds
from server.run_record import RunRecord
from server.secure_round import SecureSum

Lost = Callable[[int, str], str]
"""Given round and site: "before" it trains, "after" it trained, or "" if it is in the sum."""

SCHEMA = TaskSchema((Numeric("x", -100.0, 100.0),), "y", ("no", "yes"), ())
PLAIN = {
    "privacy": {"mode": "off"},
    "evaluation": {"score_bins": 10, "feature_bins": 10},
}


def rows_of(inputs: Tensor, targets: Tensor) -> Rows:
    return Rows(inputs.float(), targets, {"x": inputs[:, 0].double().numpy()}, {})


@dataclass
class SitesTask:
    """Sites with rows of their own, and whatever model and loss."""

    rows: Mapping[str, Rows]
    model: Callable[[], nn.Module]
    losses: Callable[[Tensor, Tensor], Tensor]
    schema: TaskSchema = SCHEMA

    @property
    def sites(self) -> tuple[str, ...]:
        return tuple(self.rows)

    def build_model(self) -> nn.Module:
        return self.model()

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return self.losses(output, target)

    def probabilities(self, output: Tensor) -> Tensor:
        yes = torch.sigmoid(output[:, 0]) if output.shape[1] == 1 else None
        return torch.softmax(output, 1) if yes is None else torch.stack([1 - yes, yes], 1)

    def load(self, request: SiteRequest) -> SiteData:
        own = self.rows[request.site]
        return SiteData(own, own, own)


@dataclass
class UnmaskedSums:
    """Sums of real contributions, unmasked, with states in memory."""

    benches: Mapping[str, Workbench]
    lost: Lost
    states: dict[tuple[str, int], SiteState] = field(default_factory=dict)
    sent: list[bytes] = field(default_factory=list)
    updates: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)

    def attempt(self, number: int, kind: RoundKind, model: bytes) -> SecureSum:
        numbers = np.frombuffer(model, "<f4").astype(np.float64)
        self.sent.append(model)
        total, survivors = None, []
        for site, bench in self.benches.items():
            lost = self.lost(number, site)
            if lost == "before":
                continue
            vector = self._vector(bench, numbers, kind, number)
            if not lost:
                total = RingVector.zeros(vector.stretches) if total is None else total
                total.add(vector)
                survivors.append(site)
        return SecureSum(total, tuple(survivors), {}, 3, None, {})

    def _vector(self, bench: Workbench, numbers, kind: RoundKind, number: int) -> RingVector:
        before = self.before(bench, numbers, kind)
        if kind is RoundKind.EVALUATE:
            return evaluation_contribution(bench, numbers, before)
        made = training_contribution(bench, numbers, number, before=before)
        self.states[bench.site, number] = made.state
        sent = bench.layout(kind).decode(made.vector)["update"]
        self.updates[bench.site, number] = sent / bench.weight
        return made.vector

    def before(self, bench: Workbench, numbers, kind: RoundKind) -> SiteState | None:
        since = bench.counted(numbers, kind)
        return self.states[bench.site, since] if since else None

    def close(self, *, completed: bool) -> dict:
        raise NotImplementedError


@dataclass
class Played:
    """What came of a run."""

    rounds: Rounds
    sums: UnmaskedSums
    checkpoints: list[Checkpoint]

    @property
    def models(self) -> np.ndarray:
        return np.array([one.parameters for one in self.checkpoints])

    @property
    def utility(self):
        """Of the last model, at every site with the site's own layers."""
        last = []
        begun = self.checkpoints[-1]
        assert self.rounds.evaluate(begun, 0, lambda progress: last.append(progress.record)) is None
        return last[0].utility.overall

    def layers(self, site: str) -> dict[str, Tensor]:
        bench = self.sums.benches[site]
        numbers = np.frombuffer(self.sums.sent[-1], "<f4").astype(np.float64)
        return own_layers(bench, self.sums.before(bench, numbers, RoundKind.EVALUATE))


def prepared(
    folder: Path, task: Task, table: Mapping, lost: Lost = lambda _number, _site: ""
) -> Rounds:
    """Rounds over real contributions of all sites of a task."""
    whole = PLAIN | {"federation": {"sites": list(task.sites)}} | dict(table)
    config = config_file.parse(whole)
    data = {site: task.load(SiteRequest(site, 0)) for site in task.sites}
    public = {site: len(each.train) for site, each in data.items()}
    trained = as_trained(task, config.training, None)
    parameters = parameter_count(trained, config.run.seed)
    agreement = propose(config, "r", public, "0" * 64, parameters)
    entropy = SeededEntropy(config.run.seed)
    benches = {s: Workbench(s, agreement, trained, data[s], entropy) for s in task.sites}
    for bench in benches.values():
        require_trainable(bench)
    layouts = RunLayouts(run_tally_spec(task.schema, agreement), agreement, parameters)
    run = RunFolder.create(folder, "test", datetime.now(UTC))
    return Rounds(UnmaskedSums(benches, lost), run, config, trained, agreement, layouts)


def play(
    folder: Path, task: Task, table: Mapping, lost: Lost = lambda _number, _site: ""
) -> Played:
    """All training rounds."""
    rounds = prepared(folder, task, table, lost)
    checkpoints = [rounds.starting_point(RunRecord("", 1, (), {}, {}, {}))]
    for number in range(1, rounds.agreement.rounds + 1):
        after, stop = rounds.train(number, checkpoints[-1], 0, lambda _: None)
        assert stop is None, stop
        checkpoints.append(after)
    return Played(rounds, rounds.sums, checkpoints)
