"""The multipliers of constrained training: which there are, and how they travel with the model.

One per group of the attribute and per rate that the criterion names. They stand behind the model's
parameters in the broadcast, as little-endian float32, so that the digest that binds a round to one
model binds it to its multipliers too.
"""

from typing import NamedTuple

import numpy as np

from federation.config import Mitigation
from federation.errors import ConfigError
from federation.schema import SensitiveAttribute, TaskSchema
from federation.task import Floats

CONSTRAINED_RATES = {
    "demographic_parity": ("selection_rate",),
    "equal_opportunity": ("true_positive_rate",),
    "equalized_odds": ("true_positive_rate", "false_positive_rate"),
}
"""Per criterion, the rates that shall be the same in every group; fairlearn's names."""


class Multiplier(NamedTuple):
    """What a multiplier is of: it weighs the scores of a group among the rows of a rate."""

    rate: str
    group: str

    @property
    def label(self) -> str:
        """As records show it, for instance `true_positive_rate/Female`."""
        return f"{self.rate}/{self.group}"


def multipliers(mitigation: Mitigation | None, schema: TaskSchema) -> tuple[Multiplier, ...]:
    """The multipliers of a run, in the order in which they travel; none unless constrained."""
    if mitigation is None or mitigation.method != "constrained":
        return ()
    assert mitigation.criterion is not None
    levels = mitigated_attribute(mitigation, schema).levels
    return tuple(
        Multiplier(rate, level)
        for rate in CONSTRAINED_RATES[mitigation.criterion]
        for level in levels
    )


def mitigated_attribute(mitigation: Mitigation, schema: TaskSchema) -> SensitiveAttribute:
    """The attribute whose groups shall fare alike.

    Raises:
        ConfigError: the task has more than two classes, no such attribute, or only one group of it.
    """
    if not schema.is_binary:
        raise ConfigError(
            "mitigation.method",
            mitigation.method,
            f"'none' with {len(schema.classes)} classes",
            "selection rates and odds are of a positive class: it takes a task with two classes",
        )
    for attribute in schema.attributes:
        if attribute.name == mitigation.attribute:
            if len(attribute.levels) < 2:
                raise ConfigError(
                    "mitigation.attribute", attribute.name, "an attribute of two levels or more"
                )
            return attribute
    known = ", ".join(attribute.name for attribute in schema.attributes)
    raise ConfigError(
        "mitigation.attribute",
        mitigation.attribute,
        "a sensitive attribute of the task",
        f"it has: {known or 'none'}",
    )


def are_within(values: Floats, largest: float) -> bool:
    """Whether multipliers keep to a bound, as they travel: in float32."""
    return bool(np.all(np.abs(values) <= np.float64(np.float32(largest))))
