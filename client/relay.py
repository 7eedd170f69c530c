"""From a Flower message to the agent and back, by the courier that is installed.

Whoever stands between Flower and the agent carries messages with this: the node of ours, or the
guard behind Flower's SuperNode.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from flwr.app import Context, Error, Message, RecordDict

from client.agent_socket import LineError
from client.courier import client_app

NODE_EXCEPTION = 2
"""Flower's error code for a ClientApp that raised."""

Told = Callable[[str, Mapping[str, str | int | float]], None]
Ask = Callable[[str, bytes], bytes]
"""The agent's reply to a request that came under the bundle of a SHA-256; raises `LineError`."""


@dataclass(frozen=True, slots=True)
class Relay:
    """Asks the agent what a message asks.

    Attributes:
        ask: reaches the agent.
        tell: given what went wrong, for the site's log.
    """

    ask: Ask
    tell: Told

    def reply_to(self, message: Message, bundle: str) -> Message:
        """The reply, or the error that says why there is none.

        Args:
            message: of a run.
            bundle: SHA-256 of the run's app bundle, which decides whether the agent listens.
        """
        courier = client_app(lambda _: lambda request: self.ask(bundle, request))
        context = Context(message.metadata.run_id, 0, {}, RecordDict(), {})
        try:
            return courier(message, context)
        except LineError as error:
            return self.refuse(message, error.code, str(error), _outward(error))
        except Exception as error:  # noqa: BLE001 - a message that is not hedgerow's can be anything
            kind = type(error).__name__
            return self.refuse(message, "not_ours", kind, "the message is not one of hedgerow's")

    def refuse(self, message: Message, code: str, reason: str, outward: str) -> Message:
        """The error reply; `outward` is all that the coordinator reads of the reason."""
        self.tell("not_answered", {**about(message), "code": code, "reason": reason})
        return Message(Error(code=NODE_EXCEPTION, reason=f"{code}: {outward}"), reply_to=message)


def about(message: Message) -> dict[str, str | int | float]:
    """What a log may hold of a message."""
    return {"run": str(message.metadata.run_id), "kind": message.metadata.message_type}


def _outward(error: LineError) -> str:
    """What the coordinator may read: how to mend it at the site is for the site alone."""
    texts = {
        "unreachable": "the site's agent does not run",
        "bundle_not_approved": str(error),
        "protocol": "the site's agent and node do not understand each other",
        "request": "the site's agent does not understand the coordinator: other versions of "
        "hedgerow, or not a message of its",
    }
    return texts.get(error.code, "the site's agent gave no answer")
