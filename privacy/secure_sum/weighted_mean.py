"""A weighted mean of arrays and metrics as one secure sum: what a round of FedAvg needs, no more.

McMahan et al. 2017 (arXiv:1602.05629), Algorithm 1: sites with weights n_k and updates u_k give
sum n_k u_k / sum n_k. Each site contributes u_k n_k / N and n_k, where N is the declared largest
weight, so that every coordinate stays within its bound; the quotient of the two sums is the mean.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from federation import canonical
from federation.errors import ConfigError, ProtocolViolation, RoundFailed
from federation.layout import Floats, VectorLayout, count_segment, finest_segment
from federation.ring_vector import LONGEST, RING_BITS, RingVector
from privacy.mechanisms.clipping import clip_l2
from privacy.secure_sum.transcript import Label, digest

LARGEST_PLAN_BYTES = 1 << 22
LARGEST_WEIGHT = 10**9
_LONGEST_NAME = 500


class Unsuitable(ValueError):
    """A contribution does not fit the plan; the text names the rule and holds no value of it."""


@dataclass(frozen=True, slots=True)
class Mean:
    """The weighted mean over the survivors.

    Attributes:
        update: per array, the mean update in its shape, float64.
        metrics: the mean of each.
        weight: sum of the weights, > 0.
    """

    update: Mapping[str, Floats]
    metrics: Mapping[str, float]
    weight: int


@dataclass(frozen=True, slots=True)
class WeightedMeanPlan:
    """What a site contributes and on which scale; both ends derive the vector's layout from it.

    Attributes:
        weight_key: the metric that is the weight, for instance `num-examples`.
        largest_weight: of a site, from 1.
        clip: largest L2 norm of a site's update, over all its arrays; a longer one is scaled down.
        arrays: per array its shape, in the order in which they are laid out; may be empty.
        metrics: per metric, the largest absolute value at a site.
        summands: most sites that are added up.
        bits: of the ring of updates and metrics, one of `RING_BITS`.

    Raises:
        ConfigError: a value out of range.
    """

    weight_key: str
    largest_weight: int
    clip: float
    arrays: Mapping[str, tuple[int, ...]]
    metrics: Mapping[str, float]
    summands: int
    bits: int = 32

    def __post_init__(self) -> None:
        for name in (self.weight_key, *self.arrays, *self.metrics):
            if not (isinstance(name, str) and 1 <= len(name.encode()) <= _LONGEST_NAME):
                raise ConfigError("plan.name", name, f"text of 1 to {_LONGEST_NAME} bytes")
        _require_whole("plan.largest_weight", self.largest_weight, 1, LARGEST_WEIGHT)
        _require_whole("plan.summands", self.summands, 1, 1 << 20)
        _require_positive("plan.clip", self.clip)
        if self.bits not in RING_BITS:
            raise ConfigError("plan.bits", self.bits, f"one of {RING_BITS}")
        for name, shape in self.arrays.items():
            for size in shape:
                _require_whole(f"plan.arrays.{name}", size, 0, LONGEST)
        if not (self.length or not self.arrays) or self.length > LONGEST:
            raise ConfigError("plan.arrays", self.length, f"from 1 to {LONGEST} coordinates in all")
        for name, bound in self.metrics.items():
            _require_positive(f"plan.metrics.{name}", bound)
        if self.weight_key in self.metrics:
            raise ConfigError("plan.metrics", self.weight_key, "metrics other than the weight")
        self.layout()  # refuses what could overflow its ring

    @property
    def length(self) -> int:
        """Coordinates of an update."""
        return sum(math.prod(shape) for shape in self.arrays.values())

    def layout(self) -> VectorLayout:
        """The one vector of a site: its weight, its update, and each metric."""
        segments = [count_segment("weight", 1, self.largest_weight, self.summands)]
        scaled = {f"metric/{name}": (1, bound) for name, bound in sorted(self.metrics.items())}
        if self.arrays:
            scaled["update"] = self.length, self.clip
        segments += [
            finest_segment(name, length, bound, self.summands, self.bits)
            for name, (length, bound) in scaled.items()
        ]
        return VectorLayout(tuple(segments), self.summands)

    def for_sites(self, count: int) -> Self:
        """The same plan for another number of sites."""
        return replace(self, summands=count)

    def encode(
        self, update: Mapping[str, Floats], metrics: Mapping[str, float], weight: float
    ) -> RingVector:
        """One site's vector.

        Args:
            update: per array of the plan, in its shape, float64; scaled to `clip` if it is longer.
            metrics: exactly those of the plan.
            weight: a whole number from 0 to `largest_weight`.

        Raises:
            Unsuitable: a name, shape or number that is not the plan's.
        """
        if not (0 <= weight <= self.largest_weight and weight == int(weight)):
            raise Unsuitable(f"{self.weight_key}: not a whole number up to the largest weight")
        share = weight / self.largest_weight
        values = {"weight": np.array([float(weight)])}
        _require_names("metrics", self.metrics, metrics)
        for name, bound in self.metrics.items():
            if not abs(metrics[name]) <= bound:  # also catches NaN
                raise Unsuitable(f"metric {name}: not within its declared bound")
            values[f"metric/{name}"] = np.array([metrics[name] * share])
        if self.arrays:
            values["update"] = self._clipped(update) * share
        return self.layout().encode(values)

    def decode(self, total: RingVector) -> Mean:
        """The weighted mean in a sum of what `encode` gave.

        Raises:
            RoundFailed: the weights sum to zero.
        """
        sums = self.layout().decode(total)
        weight = int(sums["weight"][0])
        if weight <= 0:
            raise RoundFailed(f"{self.weight_key}: the sum over the survivors is {weight}")
        scale, update, start = self.largest_weight / weight, {}, 0
        for name, shape in self.arrays.items():
            end = start + math.prod(shape)
            update[name] = (sums["update"][start:end] * scale).reshape(shape)
            start = end
        metrics = {name: float(sums[f"metric/{name}"][0]) * scale for name in self.metrics}
        return Mean(update, metrics, weight)

    def largest_error(self, bound: float, sites: int, weight: int) -> float:
        """How far the fixed-point mean of values within `bound` can be from the real one.

        Each of `sites` summands is rounded by half a step at most, and the sum is scaled by
        `largest_weight` over `weight`, the sum of the weights; floating point comes on top.
        """
        step = finest_segment("value", 1, bound, self.summands, self.bits).step
        return sites * step / 2 * self.largest_weight / weight

    def to_bytes(self) -> bytes:
        """The one encoding of this plan: canonical JSON, the arrays as a list to keep the order."""
        return canonical.encode({
            "weight_key": self.weight_key,
            "largest_weight": self.largest_weight,
            "clip": float(self.clip),
            "arrays": [[name, list(shape)] for name, shape in self.arrays.items()],
            "metrics": {name: float(bound) for name, bound in self.metrics.items()},
            "summands": self.summands,
            "bits": self.bits,
        })  # fmt: skip

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse.

        Raises:
            ProtocolViolation: not what `to_bytes` could have written.
        """
        if len(data) > LARGEST_PLAN_BYTES:
            raise ProtocolViolation(f"plan: more than {LARGEST_PLAN_BYTES} bytes")
        try:
            plain = json.loads(data)
            arrays = {name: tuple(shape) for name, shape in plain.pop("arrays")}
            plan = cls(arrays=arrays, **plain)
            written = plan.to_bytes()
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
            raise ProtocolViolation(f"plan: malformed ({type(error).__name__})") from error
        except ConfigError as error:
            raise ProtocolViolation(f"plan: {error}") from error
        if written != data:
            raise ProtocolViolation("plan: not in its one encoding")
        return plan

    def digest(self) -> bytes:
        """SHA-256 of the encoding, 32 bytes."""
        return hashlib.sha256(self.to_bytes()).digest()

    def _clipped(self, update: Mapping[str, Floats]) -> Floats:
        flat = np.empty(self.length, np.float64)
        start = 0
        _require_names("arrays", self.arrays, update)
        for name, shape in self.arrays.items():
            if update[name].shape != shape:
                raise Unsuitable(f"array {name}: not of the shape {shape}")
            end = start + math.prod(shape)
            flat[start:end] = update[name].reshape(-1)
            start = end
        if not np.all(np.isfinite(flat)):
            raise Unsuitable("arrays: a coordinate of the update is not finite")
        return clip_l2(flat, self.clip)[0]


def model_digest(arrays: Iterable[tuple[str, str, Sequence[int], bytes]]) -> bytes:
    """SHA-256 over a model's arrays, each as name, dtype, shape and raw data; 32 bytes.

    It does not depend on their order.
    """
    described = (
        digest(Label.MODEL, name.encode(), dtype.encode(), repr(tuple(shape)).encode(), data)
        for name, dtype, shape, data in arrays
    )
    return digest(Label.MODEL, *sorted(described))


def _require_names(kind: str, declared: Iterable[str], given: Iterable[str]) -> None:
    if set(declared) != set(given):
        raise Unsuitable(f"{kind}: expected exactly {', '.join(sorted(declared)) or 'none'}")


def _require_whole(key: str, value: object, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise ConfigError(key, value, f"a whole number from {least} to {most}")


def _require_positive(key: str, value: object) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < float(value) < math.inf:  # type: ignore[arg-type]
        raise ConfigError(key, value, "a finite number > 0")
