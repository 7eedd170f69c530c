"""The text of a cell, the same wherever the cell was kept: in a CSV file, Parquet, or a database.

A task sees text or missing (NaN). What a CSV file holds is that text already; numbers, dates and
truth values of typed sources are written as follows, so that a level "1" is found again in a column
that a database calls REAL:

    whole numbers, of any type      1, -20, 0         never 1.0, 1e3, -0
    other numbers                   0.1, 1e-07, 1e+20 the shortest text that reads as the same
    truth values                    True, False
    dates and times                 2026-01-31, 2026-01-31 12:00:00, 2026-01-31 12:00:00+01:00
    null, NaN, and MISSING          missing
"""

import datetime as dt
import math
import uuid
from collections.abc import Callable, Sequence
from decimal import Decimal

import pandas as pd

from federation.errors import DataError

MISSING = frozenset({
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
    "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
})  # fmt: skip
"""Texts that stand for a missing value: those that pandas reads so from a CSV file."""

LARGEST_EXACT = 2.0**53
"""Up to it every whole number is a double."""


def number_text(value: float) -> str | None:
    """A number; None for NaN.

    >>> number_text(1.0), number_text(0.1), number_text(-0.0)
    ('1', '0.1', '0')
    """
    if math.isnan(value):
        return None
    if value.is_integer() and abs(value) <= LARGEST_EXACT:
        return str(int(value))
    return repr(float(value)).removesuffix(".0")


def decimal_text(value: Decimal) -> str | None:
    """An exact number, without zeros behind the point; None for NaN.

    >>> decimal_text(Decimal("1.50")), decimal_text(Decimal("1E+2"))
    ('1.5', '100')
    """
    if value.is_nan():
        return None
    if value.is_infinite():
        return "inf" if value > 0 else "-inf"
    if value == 0:
        return "0"
    plain = format(value, "f")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def plain_text(value: str) -> str | None:
    """A text without the spaces before it; None for those that mean missing."""
    text = value.lstrip(" ")
    return None if text in MISSING else text


def text_column(values: Sequence[object], column: str, source: str) -> pd.Series:
    """Cells of one column as text or missing, shape (N,).

    Args:
        values: as a database driver or a library gives them; None is missing.
        column: its name.
        source: what it was read from.

    Raises:
        DataError: cells of a kind that has no text, such as bytes or lists.
    """
    kinds = set(map(type, values)) - {type(None)}
    writers = {kind: _writer(kind, column, source) for kind in kinds}
    if kinds <= {str} or kinds <= {int} or kinds <= {float}:
        # Few values stand in many cells. Not so for moments: equal ones may have other texts.
        known: dict[object, str | None] = {None: None}
        known |= {value: writers[type(value)](value) for value in set(values) - {None}}
        texts = [known[value] for value in values]
    else:
        texts = [None if value is None else writers[type(value)](value) for value in values]
    return pd.Series(texts, dtype="str", name=column)


def _writer(kind: type, column: str, source: str) -> Callable[..., str | None]:
    for known, write in _WRITERS.items():
        if issubclass(kind, known):
            return write
    raise DataError(
        f"{source}, column {column}: its cells are {kind.__name__}, which no task can read; give "
        "texts, numbers, truth values, dates or times"
    )


def _moment_text(value: dt.datetime) -> str:
    return value.isoformat(" ")


# A truth value is an int and a moment is a date to Python: the narrower kinds come first.
_WRITERS: dict[type, Callable[..., str | None]] = {
    str: plain_text,
    bool: str,
    int: str,
    float: number_text,
    Decimal: decimal_text,
    dt.datetime: _moment_text,
    dt.date: dt.date.isoformat,
    dt.time: dt.time.isoformat,
    uuid.UUID: str,
}
