"""What many sites count of one model, added up: their rows are judged apart and counted at once."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import nn

from client.observation import judged_rows
from evaluation.tallies import count_outcomes, exact_sums, row_losses
from evaluation.tally_spec import TallySpec
from federation.errors import DataError
from federation.task import Codes, Floats, SiteData, Task

MOST_ROWS = 1 << 31


def chunk_tallies(
    task: Task, model: nn.Module, sites: Sequence[SiteData], spec: TallySpec
) -> dict[str, Floats]:
    """`client.observation.outcome_tallies` of many sites, as `VectorLayout.encoded_sum` adds them.

    Each site's rows go through the model by themselves: in a larger batch the last bits of a
    probability could be others, and so its bin. Counting is exact however rows are spread, but for
    the sums of losses: their two words are split and rounded site by site.

    Args:
        task: model and schema.
        model: the incoming one.
        sites: whose held-out rows are counted, at least one.
        spec: what is counted.

    Returns:
        per segment name: the sum over the sites, shape (segment.length,); or of losses, what each
        site has, shape (sites, segment.length).

    Raises:
        DataError: as `outcome_tallies`.
    """
    judged = [judged_rows(task, model, data) for data in sites]
    for _, targets, _ in judged:
        if len(targets) > spec.schema.maximum_rows:
            raise DataError(
                f"{len(targets)} rows: expected at most schema.maximum_rows = "
                f"{spec.schema.maximum_rows}; raise it in the task's schema"
            )
    probabilities = np.concatenate([one for one, _, _ in judged])
    targets = np.concatenate([one for _, one, _ in judged])
    groups = {
        attribute.name: np.concatenate([one[attribute.name] for _, _, one in judged])
        for attribute in task.schema.attributes
    }
    wide = replace(spec, schema=replace(spec.schema, maximum_rows=MOST_ROWS))
    tallies = count_outcomes(wide, probabilities, targets, groups)
    ends = np.cumsum([len(one) for _, one, _ in judged])
    for name, codes in zip(
        ("log_loss", "brier"), row_losses(spec, probabilities, targets), strict=True
    ):
        parts = exact_sums(name, _sums_by_site(codes, ends))
        tallies |= {part: words[:, np.newaxis] for part, words in parts.items()}
    return tallies


def _sums_by_site(codes: Codes, ends: Codes) -> Codes:
    """Sums of consecutive stretches that end before `ends`, shape (sites,); one may be empty."""
    running = np.concatenate([[0], np.cumsum(codes)])
    return np.diff(running[ends], prepend=0)
