"""A full disk under the audit log: the coordinator goes on, and what it did is recorded later."""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
from sample_federation_home import sample_home

from federation.audit_log import AuditLog
from server.coordinator_service import Coordinator

if TYPE_CHECKING:
    from server.flower_control import FlowerControl


@contextmanager
def full_disk(bytes_: int) -> Iterator[None]:
    """Files of this process grow no further than that."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def service(tmp_path: Path, told: list[str]) -> Iterator[Coordinator]:
    home = sample_home(tmp_path / "fed")
    unused = cast("FlowerControl", None)
    made = Coordinator(home, home.config(), unused, lambda _: None, told.append)
    yield made
    made.log.close()


def test_what_the_disk_refused_is_added_in_order_and_marked_as_late(service, told) -> None:
    service.record("coordinator_up", pid=1)
    with full_disk(service.home.audit.stat().st_size):
        service.note("edge", "ended", {"reason": "killed", "status": 137, "pid": None})
        service.note("superlink", "ended", {"reason": "killed", "status": 137, "pid": None})
    assert [line for line in told if "the audit log waits" in line] == [
        f"the audit log waits: cannot write {service.home.audit}: File too large"
    ]
    service.record("coordinator_down", pid=1)
    log = AuditLog(service.home.audit)
    log.verify()
    entries = [one for one in log.entries() if one.event != "federation_created"]
    shown = [(one.event, one.details.get("process"), one.details.get("late")) for one in entries]
    assert shown[-4:] == [
        ("coordinator_up", None, None),
        ("process_ended", "edge", True),
        ("process_ended", "superlink", True),
        ("coordinator_down", None, None),
    ]
