"""What a guarantee hides: one record or up to k of a person, added, removed or replaced."""

from dataclasses import dataclass
from typing import Literal

from federation.errors import ConfigError

Relation = Literal["add-or-remove-one", "replace-one"]
"""How neighbouring tables differ: one unit of privacy more or less, or another in its place."""

ADD_OR_REMOVE_ONE: Relation = "add-or-remove-one"
REPLACE_ONE: Relation = "replace-one"
RELATIONS: tuple[Relation, ...] = (ADD_OR_REMOVE_ONE, REPLACE_ONE)


def relation_named(name: str) -> Relation:
    """The relation of this name.

    Raises:
        ConfigError: there is none.
    """
    for relation in RELATIONS:
        if relation == name:
            return relation
    raise ConfigError("relation", name, f"one of {', '.join(RELATIONS)}")


MOST_RECORDS_PER_PERSON = 64
"""Far above where an epsilon still says anything."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Which tables an adversary should be unable to tell apart.

    Attributes:
        relation: what happens to the unit of privacy.
        records: how many records a unit has at most; 1 where it is a record, up to 64.

    Raises:
        ConfigError: no such relation, or records out of range.
    """

    relation: Relation = ADD_OR_REMOVE_ONE
    records: int = 1

    def __post_init__(self) -> None:
        if self.relation not in RELATIONS:
            raise ConfigError("relation", self.relation, f"one of {', '.join(RELATIONS)}")
        if not 1 <= self.records <= MOST_RECORDS_PER_PERSON:
            raise ConfigError(
                "records_per_person",
                self.records,
                f"a whole number from 1 to {MOST_RECORDS_PER_PERSON}",
                "cap the records of a person where rows are loaded",
            )

    @property
    def stretch(self) -> int:
        """How many sensitivities apart the sums over all rows of neighbouring tables are."""
        return self.records if self.relation == ADD_OR_REMOVE_ONE else 2 * self.records


RECORD = Neighbours()
"""One record, added or removed: what ledgers and budgets are about."""
