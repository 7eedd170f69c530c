"""Tables kept in the repository, read only if they are byte for byte the ones checked."""

import gzip
import hashlib
import io
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import pandas as pd

from federation.errors import DataError

FOLDER = Path(__file__).parent / "data"


def read_shipped(name: str, sha256: str) -> pd.DataFrame:
    """A table of `data/`, every cell as text.

    Raises:
        DataError: it is missing, or not the table that was checked.
    """
    packed = read_checked(name, sha256)
    return _parsed(packed, packed_with_gzip=name.endswith(".gz")).copy()


def read_checked(name: str, sha256: str) -> bytes:
    """A file of `data/`.

    Raises:
        DataError: it is missing, or not the one that was checked.
    """
    path = FOLDER / name
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; reinstall hedgerow") from error
    actual = hashlib.sha256(data).hexdigest()
    if actual != sha256:
        raise DataError(
            f"{path} has SHA-256 {actual[:16]}..., expected {sha256[:16]}...: it is not the table "
            "that was checked; restore it, or rewrite it as data/README.md says"
        )
    return data


# One process plays many sites, each of which reads the table.
@lru_cache(maxsize=2)
def _parsed(data: bytes, *, packed_with_gzip: bool) -> pd.DataFrame:
    table = gzip.decompress(data) if packed_with_gzip else data
    return pd.read_csv(io.BytesIO(table), dtype=str)


def require_facts(
    table: pd.DataFrame, by: str, label: tuple[str, str], facts: Mapping[str, tuple[int, int]]
) -> None:
    """Return if rows and positives per site (or year) are the published ones.

    Args:
        table: all cells as text.
        by: the column that `facts` is keyed by.
        label: the label's column and its positive value.
        facts: per value of `by`, rows and positives.

    Raises:
        DataError: names the first that differs, with both counts.
    """
    column, positive = label
    for value, (rows, positives) in facts.items():
        part = table[table[by] == value]
        found = (len(part), int((part[column] == positive).sum()))
        if found != (rows, positives):
            raise DataError(
                f"{by} {value}: {found[0]} rows with {found[1]} positive, published are {rows} "
                f"with {positives}"
            )
