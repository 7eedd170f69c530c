"""A site's node that does wrong in one phase: `scripted_node.py HOME PHASE DEED [ACCOMPLICE]`.

It speaks the product's protocol, and for every other phase is a node as any. DEED in that phase:
`half`: it sends the head of its reply and none of the parts.
`forged`: the node of ACCOMPLICE, another site's home, answers in this site's name, with this site's
    reply in which one bit of the body is another.
`other`: likewise, with a reply that ACCOMPLICE's agent signed.
`late`: it sends nothing.
`large`: it answers with a hundred megabytes in one part.
"""

import sys
import threading
from pathlib import Path

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_object import get_object_tree, no_object_id_recompute

from client.agent_socket import REFUSAL, AgentLine
from client.courier import RECORD, _record, _request
from client.fleet import Fleet, FleetError, Instruction, StillLeased, assume_run
from client.site_home import SiteHome
from client.site_processes import read_node_state
from federation.envelope import Received
from federation.site_connection import SiteConnection


def connected(home: SiteHome) -> Fleet:
    there = SiteConnection.read(home.connection)
    return Fleet.connect(there.superlink, home.authority, home.node_key)


def asked(home: SiteHome, bundle: str, request: bytes) -> bytes:
    with AgentLine(home.socket, bundle) as line:
        return line.answer(request)


def push_head(fleet: Fleet, message: Message) -> None:
    message.metadata.__dict__["_message_id"] = message.object_id
    with no_object_id_recompute():
        tree = get_object_tree(message)
        head = message_to_proto(remove_content_from_message(message))
        fleet._client.PushMessages(
            PushMessagesRequest(
                node=fleet._known(),
                messages_list=[head],
                message_object_trees=[tree],
                clientapp_runtime_list=[0.1],
            )
        )


def answered(instruction: Instruction, reply: bytes) -> Message:
    content = RecordDict({RECORD: _record(reply)})
    return Message(content, reply_to=instruction.message)


def do(deed: str, fleet: Fleet, home: SiteHome, bundle: str, it: Instruction, other: str) -> None:
    request = _request(it.message.content)
    if deed == "late":
        return
    if deed == "large":
        content = RecordDict({RECORD: ConfigRecord({"reply": bytes(100_000_000)})})
        fleet.reply(Message(content, reply_to=it.message), 0.1)
        return
    reply = asked(home, bundle, request)
    if deed == "half":
        push_head(fleet, answered(it, reply))
        return
    accomplice = SiteHome(Path(other))
    forged = bytearray(reply)
    forged[len(forged) // 2] ^= 1  # within the vector; the last bytes are a rider's
    if deed == "other":
        # What it says no to is not asked of its session, which goes on.
        with AgentLine(accomplice.socket, "0" * 64, REFUSAL) as line:
            forged = bytearray(line.answer(request))
    line = connected(accomplice)
    line._node = Node(node_id=int(str(read_node_state(accomplice)["node"])))
    line.reply(answered(it, bytes(forged)), 0.1)  # TaskIdentity is still this site's
    line.close()


def main(home: SiteHome, phase: str, deed: str, accomplice: str) -> None:
    fleet, ended = connected(home), threading.Event()
    while True:
        try:
            fleet.activate()
            break
        except StillLeased:  # by the node before, which was killed
            ended.wait(0.5)

    def beat() -> None:
        while not ended.wait(3.0):
            fleet.beat()

    threading.Thread(target=beat, daemon=True).start()
    print("online", flush=True)  # noqa: T201 - the test waits for it
    while True:
        instruction = fleet.pull()
        if instruction is None:
            ended.wait(0.2)
            continue
        assume_run(instruction.run)
        bundle = fleet.bundle_digest(instruction.run)
        request = _request(instruction.message.content)
        try:
            if str(Received.from_bytes(request).head.phase) == phase:
                do(deed, fleet, home, bundle, instruction, accomplice)
                print(f"did {deed}", flush=True)  # noqa: T201 - the test waits for it
            else:
                fleet.reply(answered(instruction, asked(home, bundle, request)), 0.1)
        except FleetError as error:
            print(f"{type(error).__name__}: {error}", flush=True)  # noqa: T201 - the test waits for it


if __name__ == "__main__":
    main(SiteHome(Path(sys.argv[1])), sys.argv[2], sys.argv[3], (*sys.argv[4:], "")[0])
