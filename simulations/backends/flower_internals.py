"""The few things of Flower that a Grid of one's own needs and that are not public API.

`Message` refuses to be built before the process has a task identity; a message's id has no public
setter; a message that came over a pipe is rebuilt from its metadata, and its records are filled
without a check of each value, which a record held before; a Grid must say which `Run` it serves. A
test holds them against the installed Flower, so that a release that moves them is noticed before a
user does.
"""

from collections.abc import Mapping
from typing import TypeVar

from flwr.app import ArrayRecord, ConfigRecord, Error, Message, Metadata, MetricRecord, RecordDict
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

AnyRecord = TypeVar("AnyRecord", ArrayRecord, MetricRecord, ConfigRecord, RecordDict)

SERVER_NODE = 1
MetadataFields = tuple[int, str, int, int, str, str, float, float, str, int | None, int | None]
"""Of a message, in the order in which `Metadata` takes them."""


def assume_identity(run_id: int, node_id: int) -> None:
    """Let this process create messages as `node_id` of `run_id`."""
    TaskIdentity.run_id = run_id
    TaskIdentity.node_id = node_id
    TaskIdentity.task_id = node_id


def set_message_id(message: Message, message_id: str) -> None:
    """Give a message the id that a SuperLink would give it."""
    message.metadata.__dict__["_message_id"] = message_id


def received_message(content: RecordDict | Error, metadata: Metadata) -> Message:
    """The message that was sent with these parts."""
    # The signature that Flower marks as for internal use.
    return Message(content, metadata=metadata)  # type: ignore[call-overload,no-any-return]


def filled(record: AnyRecord, values: Mapping[str, object]) -> AnyRecord:
    """The record, which is empty, with values that another of its kind held."""
    record.__dict__["_data"].update(values)
    return record


def metadata_fields(metadata: Metadata) -> MetadataFields:
    """All that a message's metadata hold, as plain values."""
    return (
        metadata.run_id,
        metadata.message_id,
        metadata.src_node_id,
        metadata.dst_node_id,
        metadata.reply_to_message_id,
        metadata.group_id,
        metadata.created_at,
        metadata.ttl,
        metadata.message_type,
        metadata.src_task_id,
        metadata.dst_task_id,
    )


def empty_run(run_id: int) -> Run:
    """A run that no SuperLink knows."""
    return Run.create_empty(run_id)
