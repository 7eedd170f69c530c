"""An option that a task does not take is one clear error, whatever the task."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypedDict, Unpack

import pytest

from federation.errors import ConfigError
from federation.task_options import require_options


class Mine:
    def __init__(
        self,
        size: int = 1,
        share: float = 0.5,
        kind: Literal["a", "b"] = "a",
        widths: Sequence[int] | None = None,
        table: Path | None = None,
        anything: "Unknown" = None,  # noqa: F821 - what cannot be resolved is not held against it
        *,
        plain=3,
    ) -> None: ...


class Typed:
    def __init__(
        self,
        size: int = 1,
        share: float = 0.5,
        kind: Literal["apple", "pear"] = "apple",
        widths: Sequence[int] | None = None,
        pair: tuple[int, ...] = (),
        table: Path | None = None,
        loss: type | None = None,
        *,
        plain=3,
    ) -> None: ...


def needs(rows: int) -> None: ...


def any_of(**options: int) -> None: ...


class Growth(TypedDict, total=False):
    depth: int
    share: float


def spells_out(size: int = 1, **growth: Unpack[Growth]) -> None: ...


def none() -> None: ...


@pytest.mark.parametrize(
    ("factory", "options", "text"),
    [
        (Typed, {"sise": 1}, "task.options.sise = 1: expected no such option; mine takes size=1, "
                             ".*did you mean size"),
        (Typed, {"zzz": 1}, r"plain=3$"),
        (none, {"zzz": 1}, "mine takes no options"),
        (spells_out, {"dept": 2}, "task.options.dept = 2: expected no such option; mine takes "
                                  "size=1, depth, share .did you mean depth"),
        (spells_out, {"depth": 2.5}, "task.options.depth = 2.5: expected a whole number"),
        (spells_out, {"growth": 1}, "task.options.growth = 1: expected no such option"),
        (needs, {}, "task.options.rows = None: expected it to be set: mine needs it"),
        (Typed, {"size": "8"}, "task.options.size = '8': expected a whole number"),
        (Typed, {"size": True}, "task.options.size = True: expected a whole number"),
        (Typed, {"size": 1.5}, "expected a whole number"),
        (Typed, {"share": "x"}, "task.options.share = 'x': expected a number"),
        (Typed, {"kind": "aple"}, "'apple' or 'pear'; did you mean 'apple'"),
        (Typed, {"widths": 3}, "task.options.widths = 3: expected a list"),
        (Typed, {"widths": [3, "a"]}, "task.options.widths.1 = 'a': expected a whole number"),
        (Typed, {"table": 3}, "task.options.table = 3"),
        (any_of, {"x": 1, "of": 2}, None),
        (needs, {"rows": 3}, None),
        (spells_out, {"size": 2, "depth": 3, "share": 0.5}, None),
        (Typed, {"size": 2, "share": 1, "widths": [1], "pair": [1, 2], "table": "a.csv"}, None),
        (Typed, {"plain": "anything"}, None),
        (Mine, {"size": "not checked: one annotation of this class cannot be resolved"}, None),
        (Typed, {"pair": (1, 2), "size": 3}, None),
        (dict, {"x": 1}, None),
    ],
)  # fmt: skip
def test_options_are_held_to_the_signature(factory, options, text) -> None:
    if text is None:
        require_options("mine", factory, options)
        return
    with pytest.raises(ConfigError, match=text):
        require_options("mine", factory, options)
