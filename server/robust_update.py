"""The update of a round in groups: each group's mean by public rows, then one robust to a few."""

from collections.abc import Sequence

import numpy as np

from federation.agreement import Agreement
from federation.layout import VectorLayout
from federation.round_layout import UPDATE
from federation.task import Floats
from server.grouped_round import GroupSum
from server.robust_mean import coordinate_median, trimmed_mean


def robust_update(agreement: Agreement, layout: VectorLayout, groups: Sequence[GroupSum]) -> Floats:
    """What the model moves by, shape (d,).

    A group's weight comes from the agreement's public rows, not from the sum of what its sites
    said: that one malicious site could make zero. As many groups are trimmed as were agreed even if
    some have no sum: any of them may have been an honest one.

    Args:
        agreement: of the run.
        layout: of a training round.
        groups: that were opened, at least `robustness.fewest_groups`.
    """
    rows, rule = agreement.public_rows, agreement.robustness
    most = max(rows.values())
    means = np.stack(
        [
            layout.decode(group.total)[UPDATE] * most / sum(rows[site] for site in group.survivors)
            for group in groups
        ]
    )
    if rule.aggregate == "median":
        return coordinate_median(means)
    return trimmed_mean(means, rule.trimmed)
