"""What `--vary KEY=VALUES` means: a list of values, or a range that values are drawn from."""

import json
import math
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from federation.errors import ConfigError

Value = bool | int | float | str | tuple[str | int | float, ...]
Setting = tuple[str, Value]
"""A key and its value in one trial."""

MOST_POINTS = 1000
"""Of a range in a grid."""

SIGNIFICANT = 4
"""Digits of a number that is drawn from a range: a person can write it down."""

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(:log|:linear)?(?::(\d+))?")


@dataclass(frozen=True, slots=True)
class Values:
    """A key that takes one of several values, all different."""

    key: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """A key that takes any number from `low` to `high`, by the law uniform or log-uniform.

    Attributes:
        whole: whether only whole numbers are meant, as where both ends were written as such.
    """

    key: str
    low: float
    high: float
    logarithmic: bool
    whole: bool

    def draw(self, random: np.random.Generator) -> Value:
        """One number, to `SIGNIFICANT` digits and within the range; of whole ones exactly."""
        if self.whole and not self.logarithmic:
            return int(random.integers(int(self.low), int(self.high), endpoint=True))
        return self._number(float(random.random()))

    def points(self, count: int) -> tuple[Value, ...]:
        """So many, evenly from end to end; fewer where whole numbers coincide."""
        shares = [place / (count - 1) for place in range(count)] if count > 1 else [0.0]
        return tuple(dict.fromkeys(self._number(share) for share in shares))

    def _number(self, share: float) -> Value:
        low, high = (math.log(e) if self.logarithmic else e for e in (self.low, self.high))
        at = low + share * (high - low)
        exact = math.exp(at) if self.logarithmic else at
        number = round(exact) if self.whole else float(f"{exact:.{SIGNIFICANT}g}")
        return type(number)(min(max(number, self.low), self.high))


Variation = Values | Range


def parse(text: str) -> Variation:
    """A variation as it was typed: `KEY=V1,V2,...` or `KEY=LOW..HIGH[:log|:linear][:POINTS]`.

    Raises:
        ConfigError: it is neither, a value is given twice, or a range is empty.
    """
    key, equals, given = (part.strip() for part in text.partition("="))
    if not equals or not given or not all(key.split(".")) or "." not in key:
        raise ConfigError(
            "--vary", text, "section.key=V1,V2,... or section.key=LOW..HIGH:log:POINTS",
            "for instance privacy.epsilon=0.5,1,2,4",
        )  # fmt: skip
    if key in {"run.seed", "run.name"}:
        raise ConfigError("--vary", text, "another key", "--seeds says which seeds are run")
    found = _RANGE.fullmatch(given)
    if found:
        return _range(key, text, found)
    values = tuple(map(_value, _listed(given)))
    _require_plain(key, text, values)
    return Values(key, values)


def written(value: Value) -> str:
    """A value as TOML has it, and as `--set` takes it."""
    return json.dumps(value)


def shown(value: Value) -> str:
    """A value for people.

    >>> shown(0.5), shown("fedadam"), shown(("a", "b"))
    ('0.5', 'fedadam', 'a, b')
    """
    if isinstance(value, tuple):
        return ", ".join(map(shown, value))
    return value if isinstance(value, str) else json.dumps(value)


def _range(key: str, text: str, found: re.Match[str]) -> Variation:
    low_text, high_text, law, points = found.groups()
    low, high, logarithmic = float(low_text), float(high_text), law == ":log"
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ConfigError("--vary", text, "LOW..HIGH with LOW < HIGH")
    if logarithmic and low <= 0:
        raise ConfigError("--vary", text, "LOW > 0 in a range that is logarithmic")
    whole = all(re.fullmatch(r"[-+]?\d+", end) for end in (low_text, high_text))
    span = Range(key, low, high, logarithmic, whole)
    if points is None:
        return span
    if not 2 <= int(points) <= MOST_POINTS:
        raise ConfigError("--vary", text, f"from 2 to {MOST_POINTS} points")
    return Values(key, span.points(int(points)))


def _listed(given: str) -> Sequence[object]:
    """The values between the commas; what is no TOML is a bare word, as with `--set`."""
    try:
        listed: list[object] = tomllib.loads(f"values = [{given}]")["values"]
    except tomllib.TOMLDecodeError:
        return [_toml_or_word(part.strip()) for part in given.split(",")]
    return listed


def _toml_or_word(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _value(found: object) -> Value:
    return tuple(found) if isinstance(found, list) else found  # type: ignore[return-value] # checked by _require_plain


def _require_plain(key: str, text: str, values: tuple[Value, ...]) -> None:
    for value in values:
        parts = value if isinstance(value, tuple) else (value,)
        if value == "" or not all(isinstance(part, bool | int | float | str) for part in parts):
            raise ConfigError("--vary", text, "true, false, numbers, texts or lists of them")
        if any(isinstance(part, float) and not math.isfinite(part) for part in parts):
            raise ConfigError("--vary", text, "finite numbers")
    twice = [value for value in values if sum(_same(value, other) for other in values) > 1]
    if twice:
        raise ConfigError("--vary", text, f"each value of {key} once, not {shown(twice[0])} twice")


def _same(one: Value, other: Value) -> bool:
    """1 and 1.0 are the same setting; 1 and true are not."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)
