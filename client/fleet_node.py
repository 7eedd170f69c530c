"""A site's node: carries messages between a SuperLink and the site's agent.

It stands where Flower's SuperNode and ClientApp processes would, and speaks their protocol to the
SuperLink. What a run's app bundle holds is never executed here: the node asks the agent under the
bundle's SHA-256, which the site approved or did not, and hands over messages with the courier that
is installed. So nothing starts per message, nothing is cached that could be tampered with, and no
port is opened. Whatever goes wrong on the way, it goes on trying until it is stopped.
"""

import random
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Self, TypeVar

from flwr.app import Message

from client.fleet import (
    HEARTBEAT_SECONDS,
    Bundle,
    Fleet,
    FleetError,
    Incompatible,
    Instruction,
    NotKnown,
    NotTrusted,
    RunEnded,
    StillLeased,
    TooLarge,
    Unreachable,
    assume_run,
)
from client.relay import Ask, Relay, Told, about
from federation.errors import IntegrityError

QUICK_SECONDS, WARM_SECONDS, IDLE_SECONDS = 0.1, 0.4, 2.0
"""Between two looks for messages: right after one, in a run, and when nothing has come for long.
Every look costs the SuperLink about ten milliseconds of its one thread."""
GROWTH = 1.3
"""Of the time between looks, from one to the next, within a run."""
STAYS_WARM_SECONDS = 120.0
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 20.0
"""Seconds between tries, when the coordinator cannot be reached."""
PAUSES: Mapping[type[FleetError], float] = {
    NotKnown: 15.0,
    NotTrusted: 15.0,
    StillLeased: 3.0,
    Incompatible: 60.0,
}
"""Seconds to wait where a person has to do something first, or a lease has to end."""
BUNDLES_REMEMBERED = 64

ADVICE: Mapping[type[FleetError], str] = {
    NotKnown: "the coordinator does not know this node's key, or the clocks differ by more than "
    "seconds: check the time, and ask the coordinator whether the site is enrolled",
    NotTrusted: "the coordinator's certificate is not what this site trusts: do not go on before "
    "the coordinator has explained it; hedgerow site check says what is wrong",
    StillLeased: "a node with this key is unknown or counted as online still; after a crash that "
    "ends within half a minute, else another machine uses the key, or the site is not enrolled "
    "any more: ask the coordinator",
    Incompatible: "install the version that the coordinator has",
    TooLarge: "a proxy on the way takes no body so large: have it let five megabytes through",
    Unreachable: "the coordinator is not reached; trying again",
}

R = TypeVar("R")


@dataclass(frozen=True)
class NodeParts:
    """What a node is made of.

    Attributes:
        fleet: opens a connection to the SuperLink.
        ask: reaches the agent.
        keep_bundle: keeps a bundle that was not seen before, for the site's people to look at.
        tell: given what happens, for the site's log.
        stopping: set to end the node.
        clock: seconds, monotonic.
    """

    fleet: Callable[[], Fleet]
    ask: Ask
    keep_bundle: Callable[[Bundle], None]
    tell: Told
    stopping: threading.Event = field(default_factory=threading.Event)
    clock: Callable[[], float] = time.monotonic


class FleetNode:
    """The node's course: come online, carry messages, come back after anything."""

    def __init__(self, parts: NodeParts) -> None:
        """A node that is not online yet."""
        self._parts, self._relay = parts, Relay(parts.ask, parts.tell)
        self._bundles: dict[int, str] = {}
        self._answered_last = ""
        self._last_message = -float("inf")
        self._pause = QUICK_SECONDS

    def run(self) -> None:
        """Go on until `stopping` is set."""
        while not self._parts.stopping.is_set():
            fleet = self._parts.fleet()
            try:
                node = self._insist(fleet.activate, even_unknown=True)
                if node is None:
                    return
                self._parts.tell("online", {"node": str(node)})
                with _Heartbeat(fleet):
                    while self._insist(partial(self._look, fleet)) is not None:
                        pass
                with suppress(FleetError):  # the lease ends by itself
                    fleet.leave()
            except NotKnown as error:
                # Unregistered meanwhile, or the SuperLink lost its memory: come online anew.
                self._trouble(error)
                self._parts.stopping.wait(PAUSES[NotKnown])
            finally:
                fleet.close()

    def _insist(self, call: Callable[[], R], *, even_unknown: bool = False) -> R | None:
        """What `call` returns, tried until it succeeds; None if the node is to stop.

        Raises:
            NotKnown: the SuperLink does not know the node, and not `even_unknown`.
        """
        pause, told = FIRST_PAUSE, ""
        while not self._parts.stopping.is_set():
            try:
                done = call()
            except FleetError as error:
                if isinstance(error, NotKnown) and not even_unknown:
                    raise
                if told != str(error):
                    told = str(error)
                    self._trouble(error)
                fixed = PAUSES.get(type(error))
                self._parts.stopping.wait(fixed or pause * random.uniform(0.8, 1.2))  # noqa: S311 - spreads sites, hides nothing
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                if told:
                    self._parts.tell("reached", {})
                return done
        return None

    def _trouble(self, error: FleetError) -> None:
        advice = ADVICE.get(type(error), ADVICE[Unreachable])
        reason = f"{type(error).__name__}: {error}"
        self._parts.tell("offline", {"reason": reason, "remedy": advice})

    def _look(self, fleet: Fleet) -> bool:
        """Carry the next message, if there is one; whether there was.

        Raises:
            FleetError: the SuperLink cannot be reached.
        """
        instruction = fleet.pull()
        if instruction is None:
            self._parts.stopping.wait(self._until_next_look())
            return False
        self._last_message = self._parts.clock()
        self._carry_one(fleet, instruction)
        self._pause = QUICK_SECONDS
        return True

    def _carry_one(self, fleet: Fleet, instruction: Instruction) -> None:
        began = self._parts.clock()
        told, question = about(instruction.message), _question(instruction)
        if question and question == self._answered_last:
            # The coordinator asks again where nothing came for a while; the answer is there.
            self._parts.tell("asked_again", told)
            return
        assume_run(instruction.run)
        try:
            reply = self._answered(fleet, instruction)
            seconds = self._parts.clock() - began
            surely = fleet.reply(reply, seconds)
        except TooLarge as error:
            # The SuperLink keeps one reply to a message, and has the head of this one; to the
            # question put again, the reply would be as large.
            self._answered_last = question
            no = {"code": "too_large", "reason": str(error), "remedy": ADVICE[TooLarge]}
            self._parts.tell("not_answered", told | no)
            return
        except RunEnded:
            self._parts.tell("nobody_waits", told)
            return
        if not reply.has_error():
            self._answered_last = question if surely else ""
            self._parts.tell("carried", told | {"seconds": round(seconds, 3)})

    def _answered(self, fleet: Fleet, instruction: Instruction) -> Message:
        message = instruction.message
        try:
            bundle = self._bundle_of(fleet, instruction.run)
        except IntegrityError as error:
            outward = "what was sent is not the bundle of the run"
            return self._relay.refuse(message, "bundle", str(error), outward)
        return self._relay.reply_to(message, bundle)

    def _bundle_of(self, fleet: Fleet, run: int) -> str:
        """The SHA-256 of a run's bundle; one not seen yet is kept for people to look at."""
        known = self._bundles.get(run)
        if known is not None:
            return known
        digest = fleet.bundle_digest(run)
        self._parts.keep_bundle(fleet.bundle(run, digest))
        self._bundles[run] = digest
        while len(self._bundles) > BUNDLES_REMEMBERED:
            self._bundles.pop(next(iter(self._bundles)))
        return digest

    def _until_next_look(self) -> float:
        silent = self._parts.clock() - self._last_message
        if silent > STAYS_WARM_SECONDS:
            return IDLE_SECONDS
        pause, self._pause = self._pause, min(GROWTH * self._pause, WARM_SECONDS)
        return pause


def _question(instruction: Instruction) -> str:
    """What a message asks, in short: the same for two that ask the same."""
    message = instruction.message
    return f"{instruction.run} {message.content.object_id}" if message.has_content() else ""


class _Heartbeat:
    """Says in a thread of its own that the node is alive, also while the agent trains."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet, self._ended = fleet, threading.Event()
        self._thread = threading.Thread(target=self._run, name="node-heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        # Whatever fails here fails for the next look for messages, too, and is told there.
        while not self._ended.wait(0.4 * HEARTBEAT_SECONDS):
            with suppress(FleetError):
                self._fleet.beat()
