"""Which group stands out from the rest of its attribute, as a sign that needs no colour."""

from dataclasses import dataclass
from typing import Literal

from federation.summary import Fairness, GroupComparison

Strength = Literal["slight", "near", "far"]


@dataclass(frozen=True, slots=True)
class GroupMark:
    """How a group's rate stands to that of all other groups of its attribute together.

    Attributes:
        is_higher: than theirs.
        strength: `near` from the agreed mark to watch on, `far` from the one to act on.
        is_beyond_chance: after Holm's adjustment for all comparisons of the scope.
        comparison: that it rests on.
    """

    is_higher: bool
    strength: Strength
    is_beyond_chance: bool
    comparison: GroupComparison

    @property
    def sign(self) -> str:
        """Filled beyond chance, hollow where chance may do it; doubled from the mark to act on."""
        one = {(True, True): "▲", (False, True): "▼", (True, False): "△", (False, False): "▽"}[
            self.is_higher, self.is_beyond_chance
        ]
        return one * (2 if self.strength == "far" else 1)

    @property
    def shade(self) -> str:
        """Class of the style sheet."""
        if not self.is_beyond_chance:
            return "unsure"
        return f"{'up' if self.is_higher else 'down'} {self.strength}"


Marks = dict[tuple[str, str, str], GroupMark]
"""By attribute, group and rate."""


def group_marks(fairness: Fairness, watch: float, act: float) -> Marks:
    """Every rate that differs beyond chance, or by the mark to watch at least.

    Of two groups one comparison is made, and it says of the other one the reverse.

    Args:
        fairness: of one scope.
        watch: difference from which on it matters.
        act: difference from which on it matters much.
    """
    groups: dict[str, list[str]] = {}
    for group in fairness.groups:
        groups.setdefault(group.attribute, []).append(group.group)
    compared = {(one.attribute, one.metric, one.group) for one in fairness.comparisons}
    found: Marks = {}
    for one in fairness.comparisons:
        mark = _mark(one, watch, act, is_higher=one.difference > 0)
        if mark is None:
            continue
        found[one.attribute, one.group, one.metric] = mark
        others = [
            name
            for name in groups[one.attribute]
            if name != one.group and _has_rate(fairness, one, name)
        ]
        if len(others) == 1 and (one.attribute, one.metric, others[0]) not in compared:
            found[one.attribute, others[0], one.metric] = GroupMark(
                not mark.is_higher, mark.strength, mark.is_beyond_chance, one
            )
    return found


def _mark(one: GroupComparison, watch: float, act: float, *, is_higher: bool) -> GroupMark | None:
    size = abs(one.difference)
    if not one.significant and size < watch:
        return None
    strength: Strength = "far" if size >= act else "near" if size >= watch else "slight"
    return GroupMark(is_higher, strength, one.significant, one)


def _has_rate(fairness: Fairness, one: GroupComparison, name: str) -> bool:
    for group in fairness.groups:
        if (group.attribute, group.group) == (one.attribute, name) and not group.suppressed:
            rate = getattr(group, one.metric, None)
            return rate is not None and rate.value is not None
    return False
