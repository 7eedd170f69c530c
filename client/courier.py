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

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

RECORD = "hedgerow"
Answer = Callable[[bytes], bytes]
Connect = Callable[[Context], Answer]

QUERIES = ("enlist", "agree", "witness", "advertise", "share", "sign", "open", "close")


def client_app(connect: Connect) -> ClientApp:
    """A ClientApp whose every message goes to the agent that `connect` reaches."""
    app = ClientApp()

    def relay(message: Message, context: Context) -> Message:
        request = message.content[RECORD]["request"]
        if not isinstance(request, bytes):
            raise TypeError("request: expected bytes")
        answer = ConfigRecord({"reply": connect(context)(request)})
        return Message(RecordDict({RECORD: answer}), reply_to=message)

    app.train()(relay)
    for phase in QUERIES:
        app.query(phase)(relay)
    return app


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
