"""Yardsticks beside a federated result, possible only where one machine plays every site.

Each is the same model, trained with the same plan for as many steps as the federation took, and
judged by the same tallies; so whatever differs is what federation bought or privacy cost.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor, nn

from client.observation import outcome_tallies
from evaluation import findings
from evaluation.run_layout import run_tally_spec
from evaluation.tally_spec import TallySpec
from federation.agreement import Agreement
from federation.boosted_trees import boosted_trees_of
from federation.entropy import Entropy, SeededEntropy
from federation.initial_model import initial_model
from federation.summary import Baseline, Utility
from federation.task import Floats, SiteData, SiteRequest, Task
from privacy.dp_sgd import Descent, train_privately, train_without_privacy
from privacy.flat_parameters import flat_parameters, load_flat_parameters
from privacy.plan import DpSgdPlan, NonPrivatePlan
from privacy.run_plan import plan_for_rows
from privacy.tree_growing import grow

OwnLayers = Mapping[str, Mapping[str, Tensor]]
"""Per site, its own values of the layers that stay at the sites, by parameter."""


MOST_SITES_ALONE = 50
"""With more sites, none is trained alone: that would take as long as many runs."""


def baselines(
    task: Task,
    agreement: Agreement,
    federated: nn.Module,
    rounds: int,
    own_layers: OwnLayers = MappingProxyType({}),
) -> tuple[Baseline, ...]:
    """Each site alone, if there are not too many, and all rows in one place, with privacy or not.

    They are trained without mitigation, also where the run is: so they show what it changed.

    Args:
        task: of the run, as it is without mitigation.
        agreement: of the run.
        federated: the run's final model, to be judged on each site's own rows.
        rounds: how many training rounds that model is of.
        own_layers: of the sites, where some layers stay there; a site that has none is not judged
            with the federated model.
    """
    sites = {site: task.load(SiteRequest(site, agreement.seed)) for site in agreement.sites}
    bench = _Yardstick(task, agreement, run_tally_spec(task.schema, agreement), rounds)
    has_own = bool(agreement.training.local_layers)
    alone = tuple(
        _alone(bench, site, sites, _own(federated, own_layers.get(site, {}), has_own=has_own))
        for site in agreement.sites
        if len(sites) <= MOST_SITES_ALONE
    )
    return (*alone, *_centralized(bench, tuple(sites.values())))


def _own(federated: nn.Module, layers: Mapping[str, Tensor], *, has_own: bool) -> nn.Module | None:
    """The federated model as one site has it; None if the site's own layers are not there."""
    if not has_own:
        return federated
    if not layers:
        return None
    model = copy.deepcopy(federated)
    model.load_state_dict(dict(layers), strict=False)
    return model


@dataclass(frozen=True)
class _Yardstick:
    """What every yardstick shares."""

    task: Task
    agreement: Agreement
    spec: TallySpec
    rounds: int

    @property
    def without(self) -> str:
        """What the yardsticks lack that the run had, in words."""
        return "" if self.agreement.mitigation is None else "; without mitigation"

    def train(self, data: Sequence[SiteData], rows: int, name: str, *, private: bool) -> nn.Module:
        """A model trained on the train rows of `data`, with `rows` of them declared in public."""
        model = initial_model(self.task, self.agreement.seed)
        pooled = (
            torch.cat([part.train.inputs for part in data]),
            torch.cat([part.train.targets for part in data]),
        )
        entropy = SeededEntropy(self.agreement.seed).child("baseline", name)
        trees = boosted_trees_of(model)
        if trees is None:
            plan = self._plan(rows, self.rounds, private=private)
            change = self._change(model, pooled, plan, entropy)
            load_flat_parameters(model, flat_parameters(model) + change)
            return model
        plan = self._plan(rows, 1, private=private)

        def update(number: int) -> Floats:
            return self._change(model, pooled, plan, entropy.child("round", number))

        batch, rate = plan.expected_batch_size, self.agreement.training.learning_rate
        grow(model, trees, update, self.rounds, batch, rate)
        return model

    def _plan(self, rows: int, rounds: int, *, private: bool) -> DpSgdPlan | NonPrivatePlan:
        plan = plan_for_rows(self.agreement, rows, rounds)
        if isinstance(plan, DpSgdPlan) and not private:
            return NonPrivatePlan(plan.sampling_rate, plan.steps, plan.expected_batch_size)
        return plan

    def _change(
        self,
        model: nn.Module,
        rows: tuple[Tensor, Tensor],
        plan: DpSgdPlan | NonPrivatePlan,
        entropy: Entropy,
    ) -> Floats:
        """What the steps of a plan change of the parameters, shape (d,)."""
        training = self.agreement.training
        descent = Descent(training.learning_rate, training.momentum)
        if isinstance(plan, DpSgdPlan):
            return train_privately(model, rows, self.task.loss, plan, descent, entropy).delta
        return train_without_privacy(model, rows, self.task.loss, plan, descent, entropy).delta

    def judge(self, model: nn.Module, data: Sequence[SiteData]) -> Utility:
        """Utility on the held-out rows of `data` together."""
        counted = [outcome_tallies(self.task, model, part, self.spec) for part in data]
        sums = {name: np.sum([part[name] for part in counted], axis=0) for name in counted[0]}
        return findings.utility(self.spec, sums)


def _alone(
    bench: _Yardstick, site: str, sites: dict[str, SiteData], federated: nn.Module | None
) -> Baseline:
    rows = bench.agreement.public_rows[site]
    model = bench.train([sites[site]], rows, f"alone/{site}", private=True)
    return Baseline(
        name=f"alone: {site}",
        description=f"trained on the {rows} rows of {site} only, with the same steps and privacy"
        + bench.without,
        simulation_only=True,
        utility=bench.judge(model, list(sites.values())),
        on_own_rows=bench.judge(model, [sites[site]]),
        federated_on_own_rows=(
            None if federated is None else bench.judge(federated, [sites[site]])
        ),
    )


def _centralized(bench: _Yardstick, sites: tuple[SiteData, ...]) -> tuple[Baseline, ...]:
    rows = sum(bench.agreement.public_rows.values())
    without = Baseline(
        name="centralized",
        description="all rows in one place, without privacy: what pooling would have given"
        + bench.without,
        simulation_only=True,
        utility=bench.judge(bench.train(sites, rows, "centralized", private=False), sites),
    )
    if bench.agreement.privacy is None:
        return (without,)
    private = bench.train(sites, rows, "centralized/private", private=True)
    return (
        without,
        Baseline(
            name="centralized with the same DP",
            description="all rows in one place, with the same noise multiplier, clip and steps"
            + bench.without,
            simulation_only=True,
            utility=bench.judge(private, sites),
        ),
    )
