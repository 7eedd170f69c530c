"""When which simulated site is online, from a file of real or made-up traces."""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from federation import canonical
from federation.bounded_file import read_bounded
from federation.durable_file import write_atomically
from federation.errors import DataError, IntegrityError, UsageError
from federation.run_folder import RunFolder

LARGEST_BYTES = 2**28
FILE = "availability.json"
ROUNDS, INTERVALS = ("site", "round"), ("site", "from_round", "to_round")
LAST_ROUND = 10**9


class AvailabilityTrace(BaseModel):
    """Online intervals; a site without any is never online.

    Attributes:
        source_sha256: of the file that they were read from.
        online: per site, first and last round of each interval, sorted, none overlapping.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source_sha256: str
    online: dict[str, tuple[tuple[int, int], ...]]


def read_trace(path: Path, sites: Sequence[str]) -> AvailabilityTrace:
    """The trace in a CSV or Parquet file.

    Args:
        path: a file with columns `site, round`, or `site, from_round, to_round`; both ends count.
        sites: that may stand in it.

    Raises:
        UsageError: it cannot be read.
        DataError: a column, a site or a round is wrong; names the first line that is.
    """
    data = read_bounded(path, LARGEST_BYTES, "the availability trace")
    table = _table(path, data)
    _require_known_sites(path, table, sites)
    first = _rounds(path, table, "round" if "round" in table else "from_round")
    last = first if "round" in table else _rounds(path, table, "to_round")
    backwards = [at for at, (low, high) in enumerate(zip(first, last, strict=True)) if low > high]
    if backwards:
        at = backwards[0]
        raise DataError(f"{path}, line {at + 2}: from_round {first[at]} > to_round {last[at]}")
    found: dict[str, list[tuple[int, int]]] = {}
    for site, low, high in zip(table["site"].astype(str), first, last, strict=True):
        found.setdefault(site, []).append((low, high))
    online = {site: _merged(intervals) for site, intervals in sorted(found.items())}
    return AvailabilityTrace(source_sha256=hashlib.sha256(data).hexdigest(), online=online)


def keep_trace(folder: RunFolder, trace: AvailabilityTrace) -> None:
    """Write the trace into the run's folder: a resumed run needs no other file."""
    write_atomically(folder.path / FILE, canonical.encode(trace.model_dump(mode="json")) + b"\n")


def kept_trace(folder: RunFolder) -> AvailabilityTrace:
    """The trace that a run was prepared with.

    Raises:
        IntegrityError: it is not what was written.
    """
    path = folder.path / FILE
    try:
        trace = AvailabilityTrace.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise IntegrityError(f"{path} is not what was written") from error
    if trace_digest(trace) != folder.read_environment().availability_digest:
        raise IntegrityError(f"{path} is not what was written; start a new run")
    return trace


def trace_digest(trace: AvailabilityTrace) -> str:
    """SHA-256 of what the trace says, and of the file that it was read from."""
    return canonical.digest(trace.model_dump(mode="json"))


def _table(path: Path, data: bytes) -> pd.DataFrame:
    try:
        table = (
            pd.read_parquet(io.BytesIO(data))
            if path.suffix == ".parquet"
            else pd.read_csv(io.BytesIO(data), skipinitialspace=True)
        )
    except ImportError as error:
        raise UsageError(f"{path}: reading Parquet takes pip install '.[parquet]'") from error
    except (ValueError, OSError) as error:
        raise DataError(f"{path} is no CSV or Parquet file: {error}") from error
    if set(table.columns) not in (set(ROUNDS), set(INTERVALS)):
        raise DataError(
            f"{path}: columns {', '.join(map(str, table.columns))}; expected {', '.join(ROUNDS)}, "
            f"or {', '.join(INTERVALS)}"
        )
    return table


def _require_known_sites(path: Path, table: pd.DataFrame, sites: Sequence[str]) -> None:
    unknown = ~table["site"].astype(str).isin(sites)
    if unknown.any():
        at = int(unknown.to_numpy().argmax())
        some = ", ".join(sites[:8]) + (", ..." if len(sites) > 8 else "")
        raise DataError(
            f"{path}, line {at + 2}: site {str(table['site'].iloc[at])!r} is none of {some}"
        )


def _rounds(path: Path, table: pd.DataFrame, column: str) -> list[int]:
    """The column as whole numbers from 1."""
    numbers = pd.to_numeric(table[column], errors="coerce")
    wrong = ~((numbers >= 1) & (numbers <= LAST_ROUND) & (numbers % 1 == 0))
    if wrong.any():
        at = int(wrong.to_numpy().argmax())
        raise DataError(
            f"{path}, line {at + 2}: {column} = {table[column].iloc[at]!s}; expected a whole "
            "number from 1 on"
        )
    return [int(number) for number in numbers]


def _merged(intervals: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Sorted, with what touches or overlaps made one."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(intervals):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(merged[-1][1], high)
        else:
            merged.append((low, high))
    return tuple(merged)
