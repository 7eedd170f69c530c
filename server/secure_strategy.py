"""A Flower strategy that sees one reply a round: the secure sum's weighted mean.

    strategy = SecureSumStrategy(FedAvg(), SecureSumSettings(...))

The wrapped strategy samples nodes and writes messages as ever. Keys and shares are exchanged in
`configure_train`, the app's messages go out with the envelopes, and `aggregate_train` adds up the
masked replies, has the sum opened, and hands the wrapped strategy one reply with the weighted mean
of the arrays and metrics and the summed weight. `Strategy.start` is Flower's own, unchanged. So
whatever works on the weighted mean works (FedAvg, FedAvgM, FedProx, FedAdam, FedAdagrad, FedYogi);
a strategy that compares replies cannot, and is refused.

A round with too few sites gives nothing: it is logged as an error, kept in `failures`, and the
model stays as it was, as Flower's own strategies do with a round without replies.

In a deployment, each of the exchanges beside the app's own takes one poll of Flower's Grid, three
seconds on a SuperLink, and the start of a ClientApp process at each node.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import (
    Bulyan,
    DifferentialPrivacyClientSideAdaptiveClipping,
    DifferentialPrivacyClientSideFixedClipping,
    DifferentialPrivacyServerSideAdaptiveClipping,
    DifferentialPrivacyServerSideFixedClipping,
    FedMedian,
    FedTrimmedAvg,
    FedXgbBagging,
    FedXgbCyclic,
    Krum,
    MultiKrum,
    QFedAvg,
    Strategy,
)

from federation.errors import ConfigError, RoundFailed
from privacy.secure_sum.weighted_mean import Mean, WeightedMeanPlan
from server.secure_session import Rules, SecureSession, Session

COMPARES_REPLIES = (
    Bulyan,
    FedMedian,
    FedTrimmedAvg,
    FedXgbBagging,
    FedXgbCyclic,
    Krum,
    MultiKrum,
    QFedAvg,
    # Their noise and clipping count on single replies.
    DifferentialPrivacyClientSideAdaptiveClipping,
    DifferentialPrivacyClientSideFixedClipping,
    DifferentialPrivacyServerSideAdaptiveClipping,
    DifferentialPrivacyServerSideFixedClipping,
)
WEIGHT = "num-examples"

_log = logging.getLogger("flwr")


@dataclass(frozen=True, slots=True)
class SecureSumSettings:
    """What the coordinator proposes; every site holds it against its own floors and refuses.

    Attributes:
        federation: its name, which the sites know.
        roster: per site, its public key.
        quorum: fewest survivors whose sum is opened: more than half of a round's sites, from 3.
        threshold: fewest sites that together reconstruct a secret, from 2 to the quorum.
        clip: largest L2 norm of a site's update; a longer one is scaled down to it. The
            fixed-point step follows from it: not larger than needed.
        largest_weight: of a site: the largest `num-examples`.
        train_metrics: per metric that the app's train function returns, its largest absolute value.
        evaluate_metrics: likewise for its evaluate function.
        ring_bits: per coordinate on the wire, 16, 20, 24 or 32; more give a finer step.
        timeout: seconds that an exchange without training may take.

    Raises:
        ConfigError: a value out of range.
    """

    federation: str
    roster: Mapping[str, Ed25519PublicKey] = field(repr=False)
    quorum: int
    threshold: int
    clip: float
    largest_weight: int
    train_metrics: Mapping[str, float] = field(default_factory=dict)
    evaluate_metrics: Mapping[str, float] = field(default_factory=dict)
    ring_bits: int = 32
    timeout: float = 120.0

    def __post_init__(self) -> None:
        # Refused here rather than in the first round, when sites already wait.
        for metrics in (self.train_metrics, self.evaluate_metrics):
            self.plan(WEIGHT, {}, metrics, len(self.roster))
        if not self.timeout > 0:
            raise ConfigError("timeout", self.timeout, "seconds, > 0")

    @property
    def rules(self) -> Rules:
        """What does not change from round to round."""
        return Rules(self.federation, self.roster, self.quorum, self.threshold, self.timeout)

    def plan(
        self,
        weight_key: str,
        arrays: Mapping[str, tuple[int, ...]],
        metrics: Mapping[str, float],
        sites: int,
    ) -> WeightedMeanPlan:
        """The plan of one sum."""
        return WeightedMeanPlan(
            weight_key, self.largest_weight, self.clip, arrays, metrics, sites, self.ring_bits
        )


@dataclass(slots=True)
class _Round:
    """An open session and one of its messages, which the one reply will be a reply to."""

    session: Session
    message: Message
    asked: list[Message]


class SecureSumStrategy(Strategy):
    """`strategy`, fed with secure sums only.

    Args:
        strategy: any of Flower's that works on the weighted mean of the replies.
        settings: what the sites are asked to agree to.

    Raises:
        ConfigError: the strategy needs to see single replies, or has a `start` of its own.
    """

    def __init__(self, strategy: Strategy, settings: SecureSumSettings) -> None:
        name = type(strategy).__name__
        if isinstance(strategy, COMPARES_REPLIES):
            raise ConfigError("strategy", name, "one that needs no single site's reply")
        if type(strategy).start is not Strategy.start:
            raise ConfigError("strategy", name, "one that runs Flower's own Strategy.start")
        self._strategy, self._settings = strategy, settings
        self._weight_key = str(getattr(strategy, "weighted_by_key", WEIGHT))
        self._sum: SecureSession | None = None
        self._grid: Grid | None = None
        self._train: _Round | None = None
        self._evaluate: _Round | None = None
        self._arrays: ArrayRecord = ArrayRecord()
        self.failures: list[str] = []
        """Per sum that could not be taken, category, round and reason."""
        self.survivors: dict[str, tuple[str, ...]] = {}
        """Of each category's latest sum, the sites that are in it."""

    def summary(self) -> None:
        """Log what is summed under which rules, then what the wrapped strategy logs."""
        settings = self._settings
        _log.info(
            "\t├──> Secure sum: %d sites, quorum %d, threshold %d, clip %g, largest weight %d",
            len(settings.roster), settings.quorum, settings.threshold,
            settings.clip, settings.largest_weight,
        )  # fmt: skip
        self._strategy.summary()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The wrapped strategy's messages, each with the envelopes of its site."""
        self._arrays = arrays
        shapes = _shapes(arrays)
        messages = list(self._strategy.configure_train(server_round, arrays, config, grid))
        self._train = self._begin(
            "train", server_round, messages, shapes, self._settings.train_metrics, grid
        )
        return [] if self._train is None else self._train.asked

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """What the wrapped strategy makes of the weighted mean."""
        mean = self._finish(self._train, replies)
        round_, self._train = self._train, None
        given = [] if mean is None or round_ is None else [self._reply(round_, mean, self._arrays)]
        return self._strategy.aggregate_train(server_round, given)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """As `configure_train`; the replies hold metrics only."""
        messages = list(self._strategy.configure_evaluate(server_round, arrays, config, grid))
        self._evaluate = self._begin(
            "evaluate", server_round, messages, {}, self._settings.evaluate_metrics, grid
        )
        return [] if self._evaluate is None else self._evaluate.asked

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """What the wrapped strategy makes of the weighted mean of the metrics."""
        mean = self._finish(self._evaluate, replies)
        round_, self._evaluate = self._evaluate, None
        given = [] if mean is None or round_ is None else [self._reply(round_, mean, None)]
        return self._strategy.aggregate_evaluate(server_round, given)

    def _begin(
        self,
        category: str,
        server_round: int,
        messages: list[Message],
        shapes: Mapping[str, tuple[int, ...]],
        metrics: Mapping[str, float],
        grid: Grid,
    ) -> _Round | None:
        """Open a session among the nodes of these messages; none if there are none."""
        self.survivors.pop(category, None)
        if not messages:
            return None
        if self._sum is None or self._grid is not grid:
            self._sum, self._grid = SecureSession(self._settings.rules, grid), grid
        plan = self._settings.plan(self._weight_key, shapes, metrics, len(messages))
        try:
            session, asked = self._sum.begin(category, server_round, messages, plan)
        except RoundFailed as error:
            self._fail(category, server_round, error)
            return None
        return _Round(session, messages[0], asked)

    def _finish(self, round_: _Round | None, replies: Iterable[Message]) -> Mean | None:
        if round_ is None or self._sum is None:
            return None
        session = round_.session
        try:
            mean, survivors = self._sum.finish(session, replies)
        except RoundFailed as error:
            self._fail(session.category, session.round, error)
            return None
        self.survivors[session.category] = survivors
        _log.info(
            "secure sum: %s round %d: %d of %d sites, %s in all: %d",
            session.category, session.round, len(survivors), len(session.nodes),
            self._weight_key, mean.weight,
        )  # fmt: skip
        return mean

    def _reply(self, round_: _Round, mean: Mean, base: ArrayRecord | None) -> Message:
        """One reply that stands for all survivors: their mean under their summed weight."""
        metrics = MetricRecord({**mean.metrics, self._weight_key: mean.weight})
        content = RecordDict({"metrics": metrics})
        if base is not None:
            content["arrays"] = ArrayRecord({
                name: Array((array.numpy() + mean.update[name]).astype(array.dtype))
                for name, array in base.items()
            })  # fmt: skip
        return Message(content, reply_to=round_.message)

    def _fail(self, category: str, server_round: int, error: RoundFailed) -> None:
        self.failures.append(f"{category} round {server_round}: {error}")
        _log.error("secure sum: %s", self.failures[-1])


def _shapes(arrays: ArrayRecord) -> dict[str, tuple[int, ...]]:
    """Per array its shape.

    Raises:
        ConfigError: an array is not of floating point: a mean of counters is no counter.
    """
    for name, array in arrays.items():
        if not np.issubdtype(np.dtype(array.dtype), np.floating):
            raise ConfigError(
                f"initial_arrays.{name}", array.dtype, "an array of floating point",
                "leave counters such as num_batches_tracked out of the record",
            )  # fmt: skip
    return {name: tuple(array.shape) for name, array in arrays.items()}
