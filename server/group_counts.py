"""Weights of reweighing from one secure sum of the sites' training rows, by group and label."""

from evaluation.measurement import TRAINED
from evaluation.mitigation.reweighing import reweighing_weights
from federation.config import FederationConfig, Mitigation
from federation.errors import PrivacyRefusal
from federation.evaluation_agreement import Stage
from federation.multipliers import mitigated_attribute
from federation.run_folder import RunFolder
from federation.schema import TaskSchema
from federation.task import Task
from server.evaluation_run import Evaluator
from server.proposal import Weights
from server.transport import Transport

WINDOW = "training rows"


def counts_are_needed(mitigation: Mitigation) -> bool:
    """Whether a run has to count before its sites can agree on weights."""
    return mitigation.method == "reweighing" and not mitigation.weights


def unit_weights(mitigation: Mitigation, schema: TaskSchema) -> Weights:
    """Stand for weights that are not known yet; none where no run counts for them."""
    if not counts_are_needed(mitigation):
        return ()
    return ((1.0, 1.0),) * len(mitigated_attribute(mitigation, schema).levels)


def counted_weights(
    transport: Transport, folder: RunFolder, config: FederationConfig, task: Task
) -> Weights:
    """The weights, from counts that carry noise wherever training does.

    The count is an evaluation of its own: each site agrees to it, and is charged for it, before it
    is asked to agree to the run. An interrupted run finds the counts that it had.

    Args:
        transport: to the sites.
        folder: of the run.
        config: with the sites named.
        task: whose rows they are.

    Raises:
        PrivacyRefusal: a site does not agree, or its budget does not cover it.
        RoundFailed: too few sites were left.
    """
    mitigation = config.mitigation
    rules = config.evaluation.model_copy(
        update={"epsilon": mitigation.counts_epsilon, "releases": 1}
    )
    asking = config.model_copy(update={"evaluation": rules, "cohorts": {}})
    attribute = mitigated_attribute(mitigation, task.schema)
    counter = Evaluator(transport, folder, asking, task)
    record = counter.sum(Stage.TRAINING_ROWS, WINDOW, attribute=attribute.name)
    least = rules.minimum_contributors
    if len(record.survivors) < least:
        raise PrivacyRefusal(f"{len(record.survivors)} sites were counted, expected {least}")
    # The last row is that of unknown groups, which have weight 1.
    counts = record.in_scope("overall")[TRAINED].reshape(-1, 2)[: len(attribute.levels)]
    return tuple((float(a), float(b)) for a, b in reweighing_weights(counts))
