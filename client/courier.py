"""The Flower ClientApp: it carries a message to the site's agent and the answer back.

It imports flwr and the standard library only and understands nothing it carries. A malicious
bundle in its place can deny service; it cannot read a row, sign, spend or unmask, because all of
that is the agent's. How an agent is reached is the site's own installation: an entry point of the
group `hedgerow.agent_connector`, the one that the node's configuration names as `agent`, or
`simulation`.
"""

from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

RECORD = "hedgerow"
LARGEST_WHOLE = 1 << 20
"""Bytes that travel in one piece; Flower cuts the arrays that larger ones travel as into pieces."""
Answer = Callable[[bytes], bytes]
Connect = Callable[[Context], Answer]

QUERIES = ("enlist", "agree", "witness", "advertise", "share", "sign", "open", "close")


def client_app(connect: Connect) -> ClientApp:
    """A ClientApp whose every message goes to the agent that `connect` reaches."""
    app = ClientApp()

    def relay(message: Message, context: Context) -> Message:
        reply = connect(context)(_request(message.content))
        return Message(RecordDict({RECORD: _record(reply)}), reply_to=message)

    app.train()(relay)
    for phase in QUERIES:
        app.query(phase)(relay)
    return app


def _request(content: RecordDict) -> bytes:
    """What `server.transport` put into a message.

    Raises:
        TypeError: there is nothing of the kind.
    """
    record = content[RECORD]
    request = record["request"] if isinstance(record, ArrayRecord | ConfigRecord) else None
    if isinstance(request, Array):
        return request.data
    if not isinstance(request, bytes):
        raise TypeError("request: expected bytes")
    return request


def _record(reply: bytes) -> ArrayRecord | ConfigRecord:
    """A reply as `server.transport` reads it."""
    if len(reply) <= LARGEST_WHOLE:
        return ConfigRecord({"reply": reply})
    return ArrayRecord({"reply": Array("uint8", (len(reply),), "hedgerow.bytes", reply)})


@cache
def _installed_connector(name: str) -> Connect:
    """The connector of this name that this machine installed."""
    installed = entry_points(group="hedgerow.agent_connector")
    if name not in installed.names:
        raise RuntimeError(f"no agent connector {name!r} is installed; there is {installed.names}")
    connect: Connect = installed[name].load()
    return connect


def _connect(context: Context) -> Answer:
    return _installed_connector(str(context.node_config.get("agent", "simulation")))(context)


app = client_app(_connect)
