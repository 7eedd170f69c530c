"""Many comparisons at a time: the chance that any is wrong stays below one level.

Holm 1979, "A simple sequentially rejective multiple test procedure": valid however the comparisons
depend on each other, and never weaker than Bonferroni's.
"""

from typing import NamedTuple

import numpy as np

from evaluation.group_metrics import Floats


class HolmTest(NamedTuple):
    """Per comparison: the adjusted p-value, and the level its own p-value is held against.

    `p <= level` and `adjusted <= chance` say the same. Both have the shape of the p-values.
    """

    adjusted: Floats
    level: Floats


def holm(p_values: Floats, chance: float) -> HolmTest:
    """Holm's step-down procedure.

    Args:
        p_values: shape (comparisons,), in [0, 1].
        chance: that any comparison without a change is called one; in (0, 1).

    >>> import numpy as np
    >>> holm(np.array([0.01, 0.04, 0.03]), 0.05).adjusted.round(4).tolist()
    [0.03, 0.06, 0.06]
    """
    count = len(p_values)
    order = np.argsort(p_values, kind="stable")
    steps = count - np.arange(count)
    stepwise = np.maximum.accumulate(np.minimum(p_values[order] * steps, 1.0))
    passed = int(np.argmax(stepwise > chance)) if np.any(stepwise > chance) else count
    adjusted, level = np.empty(count), np.empty(count)
    adjusted[order] = stepwise
    # After the first that does not pass, none does: they are all held against its level.
    level[order] = chance / np.maximum(steps, count - passed)
    return HolmTest(adjusted, level)
