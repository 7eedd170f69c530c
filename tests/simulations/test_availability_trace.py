"""Availability traces: both forms of a table, what is wrong in one, and that a run keeps it."""

from pathlib import Path

import pandas as pd
import pytest

from federation import config_file
from federation.errors import ConfigError, DataError, IntegrityError, UsageError
from simulations.availability_trace import FILE, kept_trace, read_trace
from simulations.sites import prepare

SITES = ("a", "b", "c")


def written(folder: Path, text: str) -> Path:
    path = folder / "online.csv"
    path.write_text(text)
    return path


def test_rounds_and_intervals_say_the_same(tmp_path: Path) -> None:
    rounds = read_trace(written(tmp_path, "site,round\na,3\na,1\nb,7\na,2\n"), SITES)
    intervals = read_trace(
        written(tmp_path, "site, from_round, to_round\nb, 7, 7\na, 1, 2\na, 3, 3\n"), SITES
    )
    assert rounds.online == intervals.online == {"a": ((1, 3),), "b": ((7, 7),)}
    assert rounds.source_sha256 != intervals.source_sha256


def test_overlapping_intervals_are_one(tmp_path: Path) -> None:
    path = written(tmp_path, "site,from_round,to_round\na,5,9\na,1,6\na,20,30\n")
    assert read_trace(path, SITES).online == {"a": ((1, 9), (20, 30))}


def test_parquet_is_read_as_csv_is(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    table = pd.DataFrame({"site": ["a", "b"], "from_round": [1, 2], "to_round": [4, 2]})
    table.to_parquet(tmp_path / "online.parquet")
    found = read_trace(tmp_path / "online.parquet", SITES)
    assert found.online == {"a": ((1, 4),), "b": ((2, 2),)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("site,when\na,1\n", "columns site, when; expected site, round, or site, from_round"),
        ("site,round\na,1\nz,2\n", "line 3: site 'z' is none of a, b, c"),
        ("site,round\na,0\n", "line 2: round = 0; expected a whole number from 1 on"),
        ("site,round\na,1.5\n", "line 2: round = 1.5"),
        ("site,round\na,1\na,soon\n", "line 3: round = soon"),
        ("site,round\na,\n", "line 2: round = nan"),
        ("site,from_round,to_round\na,4,3\n", "line 2: from_round 4 > to_round 3"),
        ("", "is no CSV or Parquet file"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(DataError) as caught:
        read_trace(written(tmp_path, text), SITES)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.csv"):
        read_trace(tmp_path / "none.csv", SITES)


def test_a_run_keeps_its_trace_and_notices_another(tmp_path: Path) -> None:
    path = written(tmp_path, "site,from_round,to_round\ncleveland,1,9\nhungary,2,3\n")
    choice = {"kind": "trace", "file": str(path)}
    table = {"simulation": {"availability": choice}, "privacy": {"mode": "off"}}
    folder = prepare(config_file.parse(table), tmp_path / "runs")
    path.unlink()
    assert kept_trace(folder).online == {"cleveland": ((1, 9),), "hungary": ((2, 3),)}
    kept = folder.path / FILE
    kept.write_bytes(kept.read_bytes().replace(b"[1,9]", b"[1,8]"))
    with pytest.raises(IntegrityError, match="not what was written"):
        kept_trace(folder)


@pytest.mark.parametrize("choice", [{"kind": "trace"}, {"kind": "rate", "file": "x.csv"}])
def test_a_file_belongs_to_a_trace_and_to_nothing_else(choice: dict) -> None:
    with pytest.raises(ConfigError, match=r"^simulation\.availability\.file ="):
        config_file.parse({"simulation": {"availability": choice}})
