"""A simulated site that falls silent, or whose process dies, where the fault plan says so."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from federation.durable_file import write_atomically
from federation.envelope import Phase, Received, Request
from simulations.backends.ray import is_ray_worker
from simulations.fault_plan import PHASES, FaultPlan, Loss

Answer = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class FaultyAgent:
    """The answers of a site, where it gives any.

    Attributes:
        answer: of the agent that is well.
        site: its name.
        plan: what goes wrong.
        marks: an existing folder of the site's; a crash leaves a mark there, so as to happen once.
    """

    answer: Answer
    site: str
    plan: FaultPlan
    marks: Path

    def __call__(self, data: bytes) -> bytes:
        """The reply.

        Raises:
            ConnectionError: the site is silent.
        """
        received = Received.from_bytes(data)
        loss, rider = self._loss(received.head), received.rider
        if loss is not None:
            raise ConnectionError(loss.reason)
        if rider is not None and self._loss(rider.head) is not None:
            data, rider = replace(Request.from_bytes(data), rider=None).to_bytes(), None
        reply = self.answer(data)
        self._die_if_planned(received.head, rider.head if rider else None)
        return reply

    def _loss(self, request: Request) -> Loss | None:
        """Why the site is silent to this request; a crash is no silence: it comes after work."""
        if request.phase not in PHASES:
            return None
        loss = self.plan.lost_in(self.site, request.round, request.attempt)
        if loss is None or loss.cause == "crash":
            return None
        return loss if PHASES.index(request.phase) >= PHASES.index(loss.phase) else None

    def _die_if_planned(self, *answered: Request | None) -> None:
        """Kill this process if a crash is planned after one of these answers.

        Raises:
            ConnectionError: it is planned, and this process plays more than the sites.
        """
        for asked in answered:
            if asked is None or not self._crashes_after(asked):
                continue
            mark = self.marks / f"crashed-{asked.round}-{asked.phase}"
            if mark.exists():
                continue
            # Before the death, and durably: who comes after must not die of the same again.
            write_atomically(mark, b"as simulation.crashes says\n")
            if multiprocessing.parent_process() is not None or is_ray_worker():
                os.kill(os.getpid(), signal.SIGKILL)
            raise ConnectionError("its process died, as simulation.crashes says")

    def _crashes_after(self, asked: Request) -> bool:
        return any(
            (crash.site, crash.round, Phase(crash.phase)) == (self.site, asked.round, asked.phase)
            for crash in self.plan.simulation.crashes
        )
