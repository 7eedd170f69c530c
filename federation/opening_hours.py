"""When a site begins work for others, by the clock on its wall: `mon-fri 20:00-06:00`."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTES_OF_DAY = 24 * 60
_FORM = re.compile(
    r"(?P<first>[a-z]{3})(?:-(?P<last>[a-z]{3}))? "
    r"(?P<h1>[0-9]{2}):(?P<m1>[0-9]{2})-(?P<h2>[0-9]{2}):(?P<m2>[0-9]{2})"
)


@dataclass(frozen=True, slots=True)
class OpeningHours:
    """One span of each of some days.

    Attributes:
        days: on which it begins, 0 is Monday.
        begin: minutes after midnight, in [0, 1440).
        end: minutes after midnight, in [0, 1440]; not after `begin`: on the day after.
    """

    days: frozenset[int]
    begin: int
    end: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """The span that a text says.

        Raises:
            ValueError: it says none; the text tells the form.

        >>> sorted(OpeningHours.parse("fri-sun 20:00-06:00").days)
        [4, 5, 6]
        """
        found = _FORM.fullmatch(text)
        if found is None or not {found["first"], found["last"] or "mon"} <= set(DAYS):
            raise ValueError("days and hours, such as mon-fri 20:00-06:00 or sat 00:00-24:00")
        begin, end = (_minutes(found[f"h{n}"], found[f"m{n}"]) for n in (1, 2))
        if begin >= MINUTES_OF_DAY or begin == end:
            raise ValueError("two different times from 00:00 to 24:00, such as 20:00-06:00")
        first, last = DAYS.index(found["first"]), DAYS.index(found["last"] or found["first"])
        return cls(frozenset((first + n) % 7 for n in range((last - first) % 7 + 1)), begin, end)

    def holds(self, moment: datetime) -> bool:
        """Whether a moment, by the clock on the wall, is within the span; its end is not."""
        minute = moment.hour * 60 + moment.minute
        today, before = moment.weekday(), (moment - timedelta(days=1)).weekday()
        if self.begin < self.end:
            return today in self.days and self.begin <= minute < self.end
        return (today in self.days and minute >= self.begin) or (
            before in self.days and minute < self.end
        )


def _minutes(hours: str, minutes: str) -> int:
    """After midnight; 24:00 is the end of the day.

    Raises:
        ValueError: there is no such time.
    """
    total = int(hours) * 60 + int(minutes)
    if int(minutes) > 59 or total > MINUTES_OF_DAY:
        raise ValueError(f"{hours}:{minutes} is no time from 00:00 to 24:00")
    return total
