"""The results of a sweep as one table, a row for each run, as CSV and as Parquet."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from federation.durable_file import write_atomically
from simulations.sweep.folder import SweepFolder
from simulations.sweep.outcome import Outcome
from simulations.sweep.results import SweepResults

Row = dict[str, object]

COLUMNS = (
    "status", "epsilon", "site_level_epsilon", "delta", "noise_multiplier", "accuracy",
    "balanced_accuracy", "auc", "worst_group_gap", "gap_attribute", "gap_metric",
    "gap_by_chance", "gap_significant", "features_drifted", "sites", "rounds", "seconds",
    "model_sha256", "run_folder", "reason",
)  # fmt: skip
"""Of the table of runs, after `trial`, `seed` and the varied keys. Only `seconds` differs from one
sweep to the same one again."""


def rows(results: SweepResults) -> list[Row]:
    """The table, one row for each run that has ended."""
    settings = {trial.number: dict(trial.settings) for trial in results.trials}
    return [_row(results, one, settings[one.trial]) for one in results.outcomes]


def _row(results: SweepResults, one: Outcome, own: Mapping[str, object]) -> Row:
    gap = one.worst_gap
    measured = (
        one.status, one.epsilon, one.site_level_epsilon, one.delta, one.noise_multiplier,
        one.accuracy, one.balanced_accuracy, one.auc, one.measured("worst_group_gap"),
        gap.attribute if gap else None, gap.metric if gap else None,
        gap.by_chance if gap else None, gap.significant if gap else None,
        one.drifted, one.sites, one.rounds, one.seconds, one.model_sha256 or None,
        f"runs/{one.run}", one.reason or None,
    )  # fmt: skip
    varied = {key: _cell(own.get(key)) for key in results.keys}
    return (
        {"trial": one.trial, "seed": one.seed} | varied | dict(zip(COLUMNS, measured, strict=True))
    )


def _cell(value: object) -> object:
    return json.dumps(value) if isinstance(value, list | tuple) else value


def write(folder: SweepFolder, found: SweepResults) -> tuple[Path, ...]:
    """Write the document, the tables and the page; returns what was written.

    The table as Parquet needs pyarrow, the extra `parquet`; without it there is the CSV.
    """
    from simulations.sweep.page import render  # noqa: PLC0415 - jinja2 only when a page is made

    table = rows(found)
    contents = {
        "results.json": found.model_dump_json(indent=1).encode() + b"\n",
        "results.csv": _as_csv(found, table),
        "sweep.html": render(found).encode(),
    }
    if find_spec("pyarrow") is not None:
        contents["results.parquet"] = _as_parquet(found, table)
    for name, data in contents.items():
        write_atomically(folder.path / name, data)
    return tuple(folder.path / name for name in contents)


def _header(found: SweepResults) -> list[str]:
    return ["trial", "seed", *found.keys, *COLUMNS]


def _as_csv(found: SweepResults, table: Sequence[Row]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, _header(found), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue().encode()


def _as_parquet(found: SweepResults, table: Sequence[Row]) -> bytes:
    import pyarrow as pa  # noqa: PLC0415 - an extra
    import pyarrow.parquet as pq  # noqa: PLC0415 - an extra

    kinds = {"whole": pa.int64(), "number": pa.float64(), "word": pa.string(), "flag": pa.bool_()}
    columns = {name: [row[name] for row in table] for name in _header(found)}
    arrays = {}
    for name, values in columns.items():
        kind = _KINDS.get(name, "number") if name not in found.keys else _kind_of(values)
        texts = name in found.keys and kind == "word"
        told = [None if v is None or not texts else str(v) for v in values] if texts else values
        arrays[name] = pa.array(told, kinds[kind])
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(arrays), sink)  # type: ignore[no-untyped-call] # pyarrow has no types
    data: bytes = sink.getvalue().to_pybytes()
    return data


_KINDS = {
    **dict.fromkeys(("trial", "seed", "features_drifted", "sites", "rounds"), "whole"),
    **dict.fromkeys(("status", "gap_attribute", "gap_metric"), "word"),
    **dict.fromkeys(("model_sha256", "run_folder", "reason"), "word"),
    "gap_significant": "flag",
}
"""Of the columns that are no numbers with a fraction."""


def _kind_of(values: Sequence[object]) -> str:
    """What a varied key's values have in common; they are words if nothing else."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return "flag"
    if kinds and kinds <= {int, float}:
        return "whole" if kinds == {int} else "number"
    return "word"
