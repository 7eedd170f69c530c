"""The line to an agent that may be on its way back: `site up` starts one that died again.

A question that needs no open session can be answered by the agent that comes next as well as by
the one that died, so it waits a while for it. One within a session cannot: its secrets died with
the process, so that loss is told at once and holds up nobody.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from client.agent_socket import REFUSAL, AgentLine, LineError
from federation.envelope import Phase, Received
from federation.errors import ProtocolViolation

PATIENCE_SECONDS = 30.0
"""An agent is back within ten seconds, most of which torch takes to load."""
LOOK_SECONDS = 0.2
MOST_HANG_UPS = 2
"""Agents that died of one question; a third is not tried with it."""
NEEDS_NO_SESSION = frozenset({
    Phase.ENLIST, Phase.AGREE, Phase.WITNESS, Phase.ADVERTISE, Phase.CLOSE,
})  # fmt: skip


class ReturningAgent:
    """Asks a site's agent, and waits for one that is being started again."""

    def __init__(
        self,
        path: Path,
        stopping: threading.Event,
        patience: float = PATIENCE_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Nothing is asked yet.

        Args:
            path: of the agent's socket.
            stopping: ends a wait.
            patience: seconds to wait for an agent, at most; once in vain, and no more until it is
                back, so that a site without an agent does not hold up every exchange.
            clock: seconds since the epoch, by which requests expire.
        """
        self._path, self._stopping = path, stopping
        self._patience, self._clock = patience, clock
        self._given_up = False

    def ask(self, bundle: str, request: bytes) -> bytes:
        """The agent's reply to a request that came under the bundle of a SHA-256.

        Raises:
            LineError: there is no agent, or it does not listen.
        """
        end = self._clock() + (0.0 if self._given_up else _seconds_left(request, self._clock()))
        end = min(end, self._clock() + self._patience)
        hang_ups = 0
        while True:
            try:
                line = self._opened(bundle)
            except LineError as error:
                if error.code != "unreachable" or self._clock() >= end or self._stopping.is_set():
                    self._given_up |= error.code == "unreachable"
                    raise
            else:
                self._given_up = False
                try:
                    with line:
                        return line.answer(request)
                except LineError as error:
                    hang_ups += 1
                    is_over = self._clock() >= end or hang_ups >= MOST_HANG_UPS
                    if error.code != "unreachable" or is_over or self._stopping.is_set():
                        raise
            self._stopping.wait(LOOK_SECONDS)

    def _opened(self, bundle: str) -> AgentLine:
        """A line; where the bundle is not approved, one that gives the agent's signed refusal."""
        try:
            return AgentLine(self._path, bundle)
        except LineError as error:
            if error.code != "bundle_not_approved":
                raise
            return AgentLine(self._path, bundle, REFUSAL)


def _seconds_left(request: bytes, now: float) -> float:
    """How long an agent that is not there may be waited for with this request."""
    try:
        head = Received.from_bytes(request).head
    except ProtocolViolation:
        return 0.0
    return max(0.0, head.expires - now) if head.phase in NEEDS_NO_SESSION else 0.0
