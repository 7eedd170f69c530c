"""Real processes: started, restarted, ended; none outlives whom it belongs to."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from federation.child_processes import Backoff, Child, Phase, Supervisor, log_tail

QUICK = Backoff(first=0.01, longest=0.05)
SLEEPS = "import time; time.sleep(600)"
PATIENCE = 30.0

# A child that leaves behind a grandchild in a session of its own, and says who it is.
FATHER = """
import subprocess, sys, time
from pathlib import Path
sleeps = [sys.executable, "-c", "import time; time.sleep(600)"]
child = subprocess.Popen(sleeps, start_new_session=True)
Path(sys.argv[1]).write_text(str(child.pid))
time.sleep(600)
"""

SUPERVISING = """
import sys
from pathlib import Path
from federation.child_processes import Child, Supervisor
home = Path(sys.argv[1])
child = Child("father", (sys.executable, "-c", sys.argv[2], str(home / "grandchild")), home / "log")
with Supervisor([child]) as supervisor:
    supervisor.wait_until_ready(30)
    (home / "child.part").write_text(str(supervisor.states()["father"].pid))
    (home / "child.part").rename(home / "child")
    supervisor.run(lambda: False)
"""


def python(code: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code, *arguments)


def eventually(claim: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not claim():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def number_in(path: Path) -> int:
    assert eventually(lambda: path.exists() and path.read_text().isdigit())
    return int(path.read_text())


def test_output_goes_to_a_log_that_only_the_owner_reads(tmp_path: Path) -> None:
    log = tmp_path / "deep" / "log"
    with Supervisor([Child("one", python("print('hello')"), log)], backoff=QUICK) as supervisor:
        supervisor.poll()
        assert eventually(lambda: "hello" in log_tail(log))
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_log_does_not_grow_without_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("federation.child_processes.LOG_LIMIT", 100_000)
    flood = python(
        "import sys\nfor _ in range(2000): print('x' * 999)\nsys.stdout.flush()\n" + SLEEPS
    )
    log = tmp_path / "log"
    with Supervisor([Child("flood", flood, log)]) as supervisor:
        supervisor.poll()
        assert eventually((tmp_path / "log.1").exists)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 400_000


def test_a_child_that_ends_is_started_again_with_its_status_told(tmp_path: Path) -> None:
    told: list[tuple[str, object]] = []
    child = Child("brief", python("raise SystemExit(7)"), tmp_path / "log")
    with Supervisor(
        [child], lambda _, event, details: told.append((event, details.get("status"))), QUICK
    ) as supervisor:

        def has_come_back_twice() -> bool:
            supervisor.poll()
            return supervisor.states()["brief"].restarts >= 2

        assert eventually(has_come_back_twice)
        assert supervisor.states()["brief"].last_exit == 7
    assert told.count(("ended", 7)) >= 2


def test_a_killed_child_is_reported_by_its_signal_and_replaced(tmp_path: Path) -> None:
    with Supervisor([Child("one", python(SLEEPS), tmp_path / "log")], backoff=QUICK) as supervisor:
        assert supervisor.wait_until_ready(PATIENCE)
        first = supervisor.states()["one"].pid
        assert first is not None
        os.kill(first, signal.SIGKILL)

        def is_replaced() -> bool:
            supervisor.poll()
            return supervisor.states()["one"].pid not in (None, first)

        assert eventually(is_replaced)
        assert supervisor.states()["one"].last_exit == 128 + signal.SIGKILL


def test_the_wait_before_a_restart_doubles_up_to_its_bound() -> None:
    backoff = Backoff(first=1, longest=5)
    assert [backoff.seconds(n) for n in range(6)] == [0, 1, 2, 4, 5, 5]


def test_a_child_waits_until_those_it_needs_are_ready(tmp_path: Path) -> None:
    is_open = False
    first = Child("first", python(SLEEPS), tmp_path / "a", is_ready=lambda: is_open)
    second = Child("second", python(SLEEPS), tmp_path / "b", after=("first",))
    with Supervisor([first, second]) as supervisor:
        for _ in range(3):
            supervisor.poll()
        assert supervisor.states()["first"].phase is Phase.STARTING
        assert supervisor.states()["second"].phase is Phase.WAITING
        is_open = True
        assert supervisor.wait_until_ready(PATIENCE)


def test_a_child_that_does_not_get_ready_in_time_is_restarted(tmp_path: Path) -> None:
    never = Child(
        "never", python(SLEEPS), tmp_path / "log", is_ready=lambda: False, ready_within=0.05
    )
    with Supervisor([never], backoff=QUICK) as supervisor:

        def was_given_up() -> bool:
            supervisor.poll()
            return "not ready within" in supervisor.states()["never"].reason

        assert eventually(was_given_up)


def test_a_child_without_signs_of_health_is_restarted(tmp_path: Path) -> None:
    reasons: list[object] = []
    zombie = Child(
        "zombie",
        python(SLEEPS),
        tmp_path / "log",
        is_healthy=lambda: False,
        health_every=0.0,
        patience=3,
    )
    with Supervisor(
        [zombie], lambda _, event, details: reasons.append(details.get("reason")), QUICK
    ) as supervisor:

        def was_restarted() -> bool:
            supervisor.poll()
            return supervisor.states()["zombie"].restarts > 0

        assert eventually(was_restarted)
    assert "no sign of health 3 times in a row" in reasons


def test_a_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with Supervisor([Child("none", ("/no/such/program",), tmp_path / "log")]) as supervisor:
        supervisor.poll()
        assert "cannot start /no/such/program" in supervisor.states()["none"].reason


def test_stopping_ends_grandchildren_that_made_a_session_of_their_own(tmp_path: Path) -> None:
    note = tmp_path / "grandchild"
    with Supervisor([Child("f", python(FATHER, str(note)), tmp_path / "log")]) as supervisor:
        supervisor.poll()
        grandchild = number_in(note)
        assert is_running(grandchild)
    assert not is_running(grandchild)


def test_a_child_deaf_to_the_request_to_end_is_killed(tmp_path: Path) -> None:
    deaf = python(
        "import signal; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True)\n" + SLEEPS
    )
    child = Child("deaf", deaf, tmp_path / "log", grace=0.1)
    with Supervisor([child]) as supervisor:
        supervisor.poll()
        pid = supervisor.states()["deaf"].pid
        assert pid is not None
        assert eventually(lambda: "deaf" in log_tail(child.log_path))
    assert not is_running(pid)


def test_grandchildren_of_a_killed_child_are_gone_before_it_is_replaced(tmp_path: Path) -> None:
    note = tmp_path / "grandchild"
    with Supervisor([Child("f", python(FATHER, str(note)), tmp_path / "log")]) as supervisor:
        supervisor.poll()
        grandchild = number_in(note)
        pid = supervisor.states()["f"].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

        def is_noticed() -> bool:
            supervisor.poll()
            return supervisor.states()["f"].last_exit is not None

        assert eventually(is_noticed)
        assert not is_running(grandchild)


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_nothing_outlives_a_killed_supervisor(tmp_path: Path, name: str) -> None:
    supervisor = subprocess.Popen(python(SUPERVISING, str(tmp_path), FATHER), cwd=Path.cwd())
    try:
        child, grandchild = number_in(tmp_path / "child"), number_in(tmp_path / "grandchild")
        assert is_running(child)
        supervisor.send_signal(signal.Signals[name])
        supervisor.wait(PATIENCE)
        assert eventually(lambda: not is_running(child) and not is_running(grandchild))
    finally:
        supervisor.kill()
        supervisor.wait()


def test_a_killed_keeper_takes_its_child_along(tmp_path: Path) -> None:
    with Supervisor([Child("one", python(SLEEPS), tmp_path / "log")], backoff=QUICK) as supervisor:
        supervisor.poll()
        pid = supervisor.states()["one"].pid
        assert pid is not None
        keeper = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
        os.kill(keeper, signal.SIGKILL)
        assert eventually(lambda: not is_running(pid))

        def is_replaced() -> bool:
            supervisor.poll()
            return supervisor.states()["one"].pid not in (None, pid)

        assert eventually(is_replaced)
