"""An agent on its way back is waited for with what the next one can answer, and no longer."""

import threading
import time
from contextlib import ExitStack, contextmanager

import pytest

from client.agent_service import AgentService
from client.agent_socket import REFUSAL, AgentLine, LineError
from client.returning_agent import ReturningAgent
from federation.envelope import Phase, Request

GOOD, BAD = "a" * 64, "b" * 64


def request(phase: Phase = Phase.AGREE, seconds: float = 60.0) -> bytes:
    return Request("run-1", 0, 0, phase, "0" * 32, time.time() + seconds).to_bytes()


@contextmanager
def served(path, answer=lambda data: data, refuse=None):
    service = AgentService(path, "a", answer, {GOOD}.__contains__, refuse=refuse)
    thread = threading.Thread(target=service.serve)
    thread.start()
    try:
        yield service
    finally:
        service.stopping.set()
        thread.join(10)


class Waits(threading.Event):
    """The event that ends a wait: `then` happens in the middle of the first one."""

    def __init__(self, then=lambda: None) -> None:
        super().__init__()
        self.count, self._then = 0, then

    def wait(self, timeout: float | None = None) -> bool:
        self.count += 1
        if self.count == 1:
            self._then()
        return super().wait(0)


def test_an_agent_that_comes_back_answers(tmp_path) -> None:
    asked = request()
    with ExitStack() as stack:
        waits = Waits(lambda: stack.enter_context(served(tmp_path / "s")))
        assert ReturningAgent(tmp_path / "s", waits).ask(GOOD, asked) == asked
    assert waits.count >= 1


def test_within_a_session_nobody_is_waited_for(tmp_path) -> None:
    waits = Waits()
    with pytest.raises(LineError, match="no agent answers"):
        ReturningAgent(tmp_path / "s", waits).ask(GOOD, request(Phase.TRAIN))
    assert waits.count == 0


@pytest.mark.parametrize("data", [b"", b"no request", request(seconds=-1.0)])
def test_what_is_no_request_or_has_expired_is_not_waited_with(tmp_path, data) -> None:
    waits = Waits()
    with pytest.raises(LineError):
        ReturningAgent(tmp_path / "s", waits).ask(GOOD, data)
    assert waits.count == 0


def test_one_that_was_waited_for_in_vain_is_not_waited_for_again_until_it_is_back(tmp_path) -> None:
    now = [1e9]

    class Ticks(Waits):
        def wait(self, timeout: float | None = None) -> bool:
            now[0] += timeout or 0
            return super().wait(timeout)

    waits, asked = Ticks(), Request("r", 0, 0, Phase.CLOSE, "0" * 32, 2e9).to_bytes()
    agent = ReturningAgent(tmp_path / "s", waits, patience=5.0, clock=lambda: now[0])
    with pytest.raises(LineError):
        agent.ask(GOOD, asked)
    assert now[0] == pytest.approx(1e9 + 5.0, abs=0.3)
    before = waits.count
    with pytest.raises(LineError):
        agent.ask(GOOD, asked)
    assert waits.count == before
    with served(tmp_path / "s"):
        assert agent.ask(GOOD, asked) == asked
    with pytest.raises(LineError):
        agent.ask(GOOD, asked)
    assert waits.count > before


def test_a_question_that_kills_agents_is_given_up_after_the_second(tmp_path) -> None:
    died = []

    def answer(data):
        died.append(data)
        raise SystemExit

    services = []

    def start() -> None:
        service = AgentService(tmp_path / "s", "a", answer, bool)
        services.append(service)
        threading.Thread(target=quietly, args=(service,), daemon=True).start()

    def quietly(service) -> None:
        try:
            service.serve()
        except SystemExit:
            start()

    start()
    agent = ReturningAgent(tmp_path / "s", threading.Event())
    with pytest.raises(LineError):
        agent.ask(GOOD, request())
    assert len(died) == 2
    for service in services:
        service.stopping.set()


def test_under_a_bundle_that_is_not_approved_the_signed_refusal_comes_back(tmp_path) -> None:
    told = []

    def refuse(data: bytes, code: str, reason: str) -> bytes:
        told.append((data, code, reason))
        return b"no"

    asked, answered = request(), []
    with served(tmp_path / "s", answered.append, refuse):
        agent = ReturningAgent(tmp_path / "s", threading.Event())
        assert agent.ask(BAD, asked) == b"no"
    assert answered == []
    reason = "this site has not approved the app bundle of this run"
    assert told == [(asked, "bundle_not_approved", reason)]


def test_a_refusal_is_not_to_be_had_under_an_approved_bundle(tmp_path) -> None:
    with (
        served(tmp_path / "s", refuse=lambda *_: b"no"),
        pytest.raises(LineError, match="nothing to refuse"),
    ):
        AgentLine(tmp_path / "s", GOOD, REFUSAL)
