"""Memory does not grow with the text of a table: what is held beyond the rows is a few parts."""

import os
import re
import subprocess
import sys

import pytest

MOST_BEYOND = 200
"""MB, of interpreter, libraries' caches and two parts of 65,536 rows; 700 bytes of text a row
would be more than twice that."""


@pytest.mark.slow
def test_beyond_the_rows_themselves_little_is_held() -> None:
    command = [sys.executable, "benchmarks/data_connectors.py", "700000"]
    where = os.environ | {"PYTHONPATH": "."}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=where)
    beyond = {line.split()[0]: int(line.split()[-1]) for line in done.stdout.splitlines()[2:]}
    assert set(beyond) == {"built-in", "csv", "parquet", "sqlite"}, done.stdout
    assert re.match("700,000 rows", done.stdout)
    for kind in ("csv", "parquet", "sqlite"):
        assert beyond[kind] < MOST_BEYOND, done.stdout
