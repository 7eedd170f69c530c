"""Reading a site's columns by the schema alone: nothing is fitted, nothing is dropped in silence.

A value outside its range or a level nobody declared is kept apart and counted; text where a number
belongs, a missing label and a missing column are errors that name file and column, never a value.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from federation.errors import DataError
from federation.schema import Categorical, Feature, Numeric, SensitiveAttribute
from federation.task import Codes, Floats

Flags = npt.NDArray[np.bool_]


def read_csv(path: Path) -> pd.DataFrame:
    """The table in a CSV file, every cell as text or missing.

    Raises:
        DataError: the file cannot be read, is empty, or repeats a column.
    """
    try:
        header = pd.read_csv(path, header=None, nrows=1, dtype=str)
        table = pd.read_csv(path, dtype=str, skipinitialspace=True)
    except OSError as error:
        raise DataError(f"cannot read the data file {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text; save it as UTF-8") from error
    except (pd.errors.EmptyDataError, pd.errors.ParserError) as error:
        raise DataError(f"{path} is no CSV table: {error}") from error
    names = [str(name).strip() for name in header.iloc[0]]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(f"{path}: the column {repeated[0]} stands there twice")
    if table.empty:
        raise DataError(f"{path} holds a header and no rows")
    return table.rename(columns=str.strip)


def require_columns(table: pd.DataFrame, columns: Sequence[str], source: str) -> None:
    """Return if all columns are there.

    Raises:
        DataError: names the missing ones and those that are there.
    """
    missing = [column for column in columns if column not in table.columns]
    if missing:
        there = ", ".join(map(str, table.columns))
        hint = "; separate columns by commas" if len(table.columns) == 1 else ""
        raise DataError(f"{source}: no column {', '.join(missing)}; it has {there}{hint}")


def feature_values(table: pd.DataFrame, feature: Feature, source: str) -> Floats:
    """One feature as `Rows.features` wants it, shape (N,), float64.

    Raises:
        DataError: a numeric column holds text.
    """
    if isinstance(feature, Numeric):
        values, wrong = numeric_values(table[feature.name])
        if wrong.any():
            raise no_number(source, feature.name, wrong_cells(wrong, table[feature.name]))
        return values
    codes = level_codes(table[feature.name], feature.levels).astype(np.float64)
    codes[_is_missing(table[feature.name])] = np.nan
    return codes


def numeric_values(column: pd.Series) -> tuple[Floats, Flags]:
    """The numbers, NaN where there is none, and where something stands that is no number: (N,)."""
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    wrong = np.isinf(numbers) | (np.isnan(numbers) & ~_is_missing(column))
    # There is one zero: some databases keep no sign of it.
    values: Floats = numbers + 0.0
    return values, wrong


def level_codes(column: pd.Series, levels: Sequence[str]) -> Codes:
    """Index of each value's level, `len(levels)` for any other or none, shape (N,), int64."""
    index = {level: code for code, level in enumerate(levels)}
    # Far fewer values than rows: each is looked up once.
    codes, values = pd.factorize(column)
    known = [index.get(str(value).strip(), len(levels)) for value in values]
    return np.array([*known, len(levels)], dtype=np.int64)[codes]


def class_codes(column: pd.Series, classes: Sequence[str], source: str) -> Codes:
    """Index of each row's class, shape (N,), int64.

    Raises:
        DataError: a label is missing or none of the classes; tells how many.
    """
    codes = level_codes(column, classes)
    wrong = codes == len(classes)
    if wrong.any():
        raise no_label(source, str(column.name), classes, wrong_cells(wrong, column))
    return codes


@dataclass(frozen=True, slots=True)
class WrongCells:
    """How many cells of a column are wrong, of how many, and the number of the first row, from 1.

    What they hold is told to nobody.
    """

    wrong: int
    rows: int
    first: int

    def __add__(self, later: "WrongCells") -> "WrongCells":
        first = self.first if self.wrong else later.first
        return WrongCells(self.wrong + later.wrong, self.rows + later.rows, first)

    def __str__(self) -> str:
        return f"{self.wrong} of {self.rows} rows (first: data row {self.first})"


def wrong_cells(wrong: Flags, column: pd.Series) -> WrongCells:
    """Of the cells that are marked, whose rows the index numbers from 0."""
    first = column.index[int(np.argmax(wrong))] + 1 if wrong.any() else 0
    return WrongCells(int(wrong.sum()), len(column), int(first))


def no_number(source: str, column: str, cells: WrongCells) -> DataError:
    """That a numeric column holds text."""
    return DataError(
        f"{source}, column {column}: {cells} hold no number; correct them or leave the cell empty"
    )


def no_label(source: str, column: str, classes: Sequence[str], cells: WrongCells) -> DataError:
    """That a label is missing or none of the classes."""
    return DataError(
        f"{source}, column {column}: {cells} hold no label out of {', '.join(classes)}; remove or "
        "label them"
    )


def group_codes(column: pd.Series, attribute: SensitiveAttribute) -> Codes:
    """Index into `attribute.groups`; missing and undeclared values are `unknown`."""
    return level_codes(column, attribute.levels)


def encode_inputs(values: Mapping[str, Floats], features: Sequence[Feature]) -> Floats:
    """The model's input, shape (N, width), from the schema's ranges and levels alone.

    Numeric: scaled by the public range to [-1, 1], values outside it at its ends, missing as 0
    with an indicator beside it. Categorical: one column per level, one for other, one for missing.
    """
    return np.concatenate([_encode(values[f.name], f) for f in features], axis=1)


def input_width(features: Sequence[Feature]) -> int:
    """Number of columns of `encode_inputs`."""
    return sum(2 if isinstance(f, Numeric) else len(f.levels) + 2 for f in features)


def split_generator(site: str, split_seed: int) -> np.random.Generator:
    """The generator of one site's split; no other site's rows can move it."""
    digest = hashlib.sha256(f"split/{split_seed}/{site}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))


def _encode(values: Floats, feature: Feature) -> Floats:
    missing = np.isnan(values)
    if isinstance(feature, Categorical):
        codes = np.where(missing, len(feature.levels) + 1, values).astype(np.int64)
        return np.eye(len(feature.levels) + 2)[codes]
    middle, half = (feature.high + feature.low) / 2, (feature.high - feature.low) / 2
    scaled = np.clip((values - middle) / half, -1, 1)
    return np.stack([np.where(missing, 0.0, scaled), missing.astype(np.float64)], axis=1)


def _is_missing(column: pd.Series) -> np.ndarray:
    missing: np.ndarray = column.isna().to_numpy()
    return missing
