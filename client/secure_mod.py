"""A Flower mod that lets a ClientApp's answers leave only inside a secure sum.

    app = ClientApp(mods=[secure_sum_mod(this_site)])

The app's own train and evaluate functions stay as they are. What they return (arrays, metrics,
`num-examples`) is encoded, masked and sent to a `server.secure_strategy.SecureSumStrategy`; the
clear reply goes nowhere. A message outside a session is refused, whatever its type: else the
coordinator would simply ask again without the secure sum. What the app's function raises is logged
at the site, and the coordinator is told only that it did: an exception's text may quote data.

Sharp edges. The mod stands first in the list, so that other mods see the clear reply and it has the
last word. It guards the replies of an honest app, not a site against its app: Flower runs whatever
app the coordinator ships, and an app without this mod needs no secure sum to send what it reads.
Where the app is not trusted, take the full product: there the agent, installed by the site, holds
data, keys and budget, and the app is only a courier. Nor is there differential privacy here: the
sum is exact, and a sum over few sites says something of each.

Flower 1.41 ends a ClientApp's process after every message on a SuperNode, in both isolation modes
(`flwr.supernode.runtime.run_clientapp`), and Ray gives a message to any free actor. So all that a
site keeps between messages is in its journal; give it a `FolderJournal` there.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Error, Message, RecordDict
from flwr.clientapp.typing import ClientAppCallable, Mod

from client.journaled_site import JournaledSession, SecureSumSite
from federation.errors import HedgerowError, ProtocolViolation
from federation.layout import Floats
from privacy.secure_sum import keys
from privacy.secure_sum.stages import NONCE_BYTES, RECORD, Stage
from privacy.secure_sum.transcript import Label
from privacy.secure_sum.weighted_mean import Unsuitable, WeightedMeanPlan, model_digest

MOD_FAILED_PRECONDITION = 6
"""Flower's error code for a mod that does not let a message through."""
CATEGORIES = ("train", "evaluate")

_log = logging.getLogger("flwr")


def secure_sum_mod(this_site: Callable[[Context], SecureSumSite]) -> Mod:
    """The mod of the site that `this_site` returns.

    Args:
        this_site: given the node's Context, who the node is and what it demands. A simulation's
            process plays many nodes, so it depends on the Context; a deployed site's does not.
    """

    def mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        try:
            answer = _answer(this_site(context), message, context, call_next)
        except (HedgerowError, Unsuitable) as error:
            _log.warning("secure sum: refused: %s", error)
            return Message(Error(MOD_FAILED_PRECONDITION, f"secure sum: {error}"), reply_to=message)
        except Exception:  # noqa: BLE001 - no exception of any kind may be told
            # Flower would send the exception's text, which may quote data.
            _log.exception("secure sum: the site failed")
            reason = "secure sum: the site failed; its log says how"
            return Message(Error(MOD_FAILED_PRECONDITION, reason), reply_to=message)
        # A new reply: nothing of the app's own one can ride along.
        return Message(RecordDict({RECORD: ConfigRecord({"answer": answer})}), reply_to=message)

    return mod


@dataclass(frozen=True, slots=True)
class _Request:
    """One exchange of a session, as the coordinator asks for it."""

    stage: Stage
    round: int
    body: bytes
    plan: bytes


def _answer(
    owner: SecureSumSite, message: Message, context: Context, call_next: ClientAppCallable
) -> bytes:
    request = _parse(message)
    if request.stage is Stage.ENLIST:
        return _enlisted(owner, context, request.body)
    run = f"{context.run_id}/{message.metadata.message_type}"
    session = JournaledSession(owner, run, request.round)
    if request.stage is Stage.ADVERTISE:
        return session.advertise(request.body, request.plan)
    try:
        match request.stage:
            case Stage.SHARE:
                return session.share(request.body)
            case Stage.MASK:
                return _masked(session, request.body, message, context, call_next)
            case Stage.SIGN:
                return session.sign(request.body)
            case _:
                return session.open_shares(request.body)
    except BaseException:
        # Whatever it was: a session that failed once gives no further answer.
        session.end()
        raise


def _parse(message: Message) -> _Request:
    kind = message.metadata.message_type
    if kind not in CATEGORIES or RECORD not in message.content.config_records:
        raise ProtocolViolation(f"this site answers only inside a secure sum, not a plain {kind}")
    record = message.content.config_records[RECORD]
    stage, round_, body = record.get("stage"), record.get("round"), record.get("body")
    plan = record.get("plan", b"")
    if not isinstance(stage, str) or stage not in set(Stage):
        raise ProtocolViolation("request: expected a stage of the secure sum")
    if type(round_) is not int or not (isinstance(body, bytes) and isinstance(plan, bytes)):
        raise ProtocolViolation("request: expected a round, a body and a plan")
    return _Request(Stage(stage), round_, body, plan)


def _enlisted(owner: SecureSumSite, context: Context, nonce: bytes) -> bytes:
    """This node's name and its proof: the coordinator need not guess which node is which site."""
    if len(nonce) != NONCE_BYTES:
        raise ProtocolViolation(f"enlist: expected a nonce of {NONCE_BYTES} bytes")
    name = owner.name.encode()
    place = f"{context.run_id}/{context.node_id}".encode()
    return keys.sign(
        owner.identity, Label.ENLIST, owner.federation.encode(), place, nonce, name
    ) + name  # fmt: skip


def _masked(
    session: JournaledSession,
    envelopes: bytes,
    message: Message,
    context: Context,
    call_next: ClientAppCallable,
) -> bytes:
    """Run the app's function on what the message holds besides, and mask what it returns."""
    plan, content = session.plan, message.content
    model = model_digest(_described(content))
    before = _arrays(content) if plan.arrays else {}
    del content[RECORD]
    session.accept_envelopes(envelopes, model)
    try:
        reply = call_next(message, context)
    except Exception as error:
        _log.exception("secure sum: the app's function raised")
        raise Unsuitable("the app's function raised; the site's log says what") from error
    if reply.has_error():
        _log.warning("secure sum: the app's function answered an error: %s", reply.error.reason)
        raise Unsuitable("the app's function answered an error; the site's log says which")
    update = _update(plan, before, reply.content)
    metrics = _metrics(reply.content)
    if plan.weight_key not in metrics:
        raise Unsuitable(f"reply: expected the metric {plan.weight_key}, the weight")
    weight = metrics.pop(plan.weight_key)
    return session.mask(plan.encode(update, metrics, weight))


def _update(
    plan: WeightedMeanPlan, before: Mapping[str, Floats], reply: RecordDict
) -> dict[str, Floats]:
    if reply.config_records:
        raise Unsuitable("reply: it holds a ConfigRecord, which cannot be summed")
    if not plan.arrays:
        if reply.array_records:
            raise Unsuitable("reply: it holds arrays, which this session does not sum")
        return {}
    after = _arrays(reply)
    if set(after) != set(before) or any(after[k].shape != before[k].shape for k in before):
        raise Unsuitable("reply: its arrays are not those of the message, of the same shapes")
    return {name: after[name] - before[name] for name in before}


def _arrays(content: RecordDict) -> dict[str, Floats]:
    """The one ArrayRecord, as float64."""
    if len(content.array_records) != 1:
        raise Unsuitable("arrays: expected exactly one ArrayRecord")
    record: ArrayRecord = next(iter(content.array_records.values()))
    return {name: array.numpy().astype(np.float64) for name, array in record.items()}


def _metrics(content: RecordDict) -> dict[str, float]:
    """The one MetricRecord; every metric a single number."""
    if len(content.metric_records) != 1:
        raise Unsuitable("reply: expected exactly one MetricRecord")
    metrics: dict[str, float] = {}
    for name, value in next(iter(content.metric_records.values())).items():
        if isinstance(value, list):
            raise Unsuitable(f"metric {name}: expected a single number, not a list")
        metrics[name] = value
    return metrics


def _described(content: RecordDict) -> Iterator[tuple[str, str, tuple[int, ...], bytes]]:
    for key, record in content.array_records.items():
        for name, array in record.items():
            yield f"{key}/{name}", array.dtype, tuple(array.shape), array.data
