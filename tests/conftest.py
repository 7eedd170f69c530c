"""Settings of the whole suite: no test asserts a time, and CI draws the same examples each run."""

import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")

# A core has a worker of its own; threads would fight over it, and sums would depend on how many.
os.environ.setdefault("OMP_NUM_THREADS", "1")

MEMORY = Path("/dev/shm")
ENOUGH = 4 << 30
"""Bytes: several times what the folders of all tests hold."""


def takes_temporary_folders(memory: Path) -> bool:
    """Whether there is room, and scripts may be run from it."""
    if not os.access(memory, os.W_OK | os.X_OK):
        return False
    about = os.statvfs(memory)
    return about.f_bavail * about.f_frsize >= ENOUGH and not about.f_flag & os.ST_NOEXEC


# Ledgers and journals wait for the disk at each commit, which is most of the time of a round of
# small models. Processes are killed in tests and machines are not, so memory keeps it as well.
if takes_temporary_folders(MEMORY):
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


@pytest.fixture(scope="session", autouse=True)
def _memory_is_given_back(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Where something failed, the folders are left to be looked at, as they are on a disk."""
    yield
    base = tmp_path_factory.getbasetemp()
    if base.is_relative_to(MEMORY) and request.session.testsfailed == 0:
        for one in base.iterdir():
            shutil.rmtree(one, ignore_errors=True)


def pytest_collection_finish() -> None:
    """What was imported stays: no collection of garbage need look at it again."""
    gc.collect()
    gc.freeze()


HERE = Path(__file__).parent
LONG = ("e2e", "simulations", "deploy")
"""Folders of whole runs. They come first, so that no core is alone with one of them at the end."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long ones first, in whatever order they had; make test keeps to it."""
    items.sort(key=lambda item: item.path.relative_to(HERE).parts[0] not in LONG)
