"""Held-out rows and a model in, integer tallies out: all that evaluation ever sees of a site."""

import numpy as np
import torch
from torch import nn

from evaluation.score_tallies import count_scores
from evaluation.site_disparities import count_site_gaps
from evaluation.tallies import count_features, count_outcomes
from evaluation.tally_spec import TallySpec
from federation.task import Codes, Floats, Rows, SiteData, Task

Judged = tuple[Floats, Codes, dict[str, Codes]]
"""Of rows: class probabilities, targets, and per sensitive attribute the group."""

LARGEST_BATCH = 4096
"""Rows per forward pass; bounds memory, changes no result."""


def outcome_tallies(
    task: Task, model: nn.Module, data: SiteData, spec: TallySpec
) -> dict[str, Floats]:
    """Tallies of the model's outcomes on both held-out windows together.

    Returns:
        per segment name of `spec.segments`, shape (segment.length,).

    Raises:
        DataError: the model's probabilities are not probabilities.
    """
    return count_outcomes(spec, *judged_rows(task, model, data))


def report_tallies(
    task: Task, model: nn.Module, data: SiteData, spec: TallySpec
) -> dict[str, Floats]:
    """As `outcome_tallies`, and what an evaluation round adds for curves and site gaps.

    Returns:
        per segment name of `spec.segments` and `spec.report_segments`.
    """
    judged = judged_rows(task, model, data)
    outcomes = count_outcomes(spec, *judged)
    return outcomes | count_scores(spec, *judged) | count_site_gaps(spec, outcomes)


def window_tallies(data: SiteData, spec: TallySpec) -> dict[str, Floats]:
    """Feature histograms of the reference and of the current window."""
    reference = count_features(spec, data.reference.features, "reference")
    return reference | count_features(spec, data.current.features, "current")


def probabilities(task: Task, model: nn.Module, rows: Rows) -> Floats:
    """Class probabilities of all rows, shape (N, classes), float64."""
    if not len(rows):
        return np.zeros((0, len(task.schema.classes)))
    model.eval()
    with torch.no_grad():
        batches = [
            task.probabilities(model(part)) for part in torch.split(rows.inputs, LARGEST_BATCH)
        ]
    result: Floats = torch.cat(batches).double().numpy()
    return result


def judged_rows(task: Task, model: nn.Module, data: SiteData) -> Judged:
    """Probabilities, targets and groups of the rows of both windows."""
    windows = (data.reference, data.current)
    return (
        np.concatenate([probabilities(task, model, rows) for rows in windows]),
        np.concatenate([rows.targets.numpy() for rows in windows]),
        {
            attribute.name: np.concatenate([rows.groups[attribute.name] for rows in windows])
            for attribute in task.schema.attributes
        },
    )
