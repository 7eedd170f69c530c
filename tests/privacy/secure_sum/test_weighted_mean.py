"""The weighted mean as a vector, held against numpy's average."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.errors import ConfigError, ProtocolViolation, RoundFailed
from federation.ring_vector import RingVector
from privacy.secure_sum.weighted_mean import Unsuitable, WeightedMeanPlan, model_digest

PLAN = WeightedMeanPlan(
    "num-examples", 50, 4.0, {"weight": (2, 3), "bias": (2,)}, {"loss": 8.0, "acc": 1.0}, 6
)


def update(value: float = 0.1) -> dict[str, np.ndarray]:
    return {name: np.full(shape, value) for name, shape in PLAN.arrays.items()}


METRICS = {"loss": 1.0, "acc": 0.5}


@settings(max_examples=50)
@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=6).filter(sum),
    st.integers(0, 2**32),
    st.sampled_from([20, 24, 32]),
)
def test_it_is_numpys_average_within_the_stated_error(weights, seed, bits) -> None:
    plan, rng = replace(PLAN, bits=bits), np.random.default_rng(seed)
    updates = [{n: rng.uniform(-1, 1, s) for n, s in plan.arrays.items()} for _ in weights]
    losses = rng.uniform(-8, 8, len(weights))
    total = RingVector.zeros(plan.layout().stretches)
    for one, loss, weight in zip(updates, losses, weights, strict=True):
        total.add(plan.encode(one, {"loss": float(loss), "acc": 1.0}, weight))
    mean = plan.decode(total)
    assert mean.weight == sum(weights)
    for name, shape in plan.arrays.items():
        assert mean.update[name].shape == shape
        average = np.average([one[name] for one in updates], axis=0, weights=weights)
        allowed = plan.largest_error(plan.clip, len(weights), mean.weight) + 1e-12
        assert np.all(np.abs(mean.update[name] - average) <= allowed)
    allowed = plan.largest_error(8.0, len(weights), mean.weight) + 1e-12
    assert mean.metrics["loss"] == pytest.approx(np.average(losses, weights=weights), abs=allowed)


def test_the_largest_contributions_of_all_sites_do_not_overflow() -> None:
    total = RingVector.zeros(PLAN.layout().stretches)
    one = {"weight": np.zeros((2, 3)), "bias": np.array([-4.0, 0.0])}
    for _ in range(PLAN.summands):
        total.add(PLAN.encode(one, {"loss": -8.0, "acc": 1.0}, 50))
    mean = PLAN.decode(total)
    assert mean.update["bias"] == pytest.approx([-4.0, 0.0], abs=1e-6)
    assert mean.metrics == pytest.approx({"loss": -8.0, "acc": 1.0})


def test_an_update_is_clipped_over_all_arrays_together() -> None:
    mean = PLAN.decode(PLAN.encode(update(100.0), METRICS, 50))
    flat = np.concatenate([each.ravel() for each in mean.update.values()])
    assert flat == pytest.approx(np.full(8, 4.0 / np.sqrt(8)), abs=1e-6)


def test_weights_that_sum_to_zero_give_no_mean() -> None:
    with pytest.raises(RoundFailed, match="num-examples: the sum over the survivors is 0"):
        PLAN.decode(PLAN.encode(update(), METRICS, 0))


@pytest.mark.parametrize("weight", [51, -1, 0.5, float("nan"), float("inf")])
def test_a_weight_that_is_no_whole_number_in_range_is_refused(weight) -> None:
    with pytest.raises(Unsuitable, match="not a whole number up to the largest weight"):
        PLAN.encode(update(), METRICS, weight)


def test_arrays_and_metrics_are_exactly_the_plans() -> None:
    with pytest.raises(Unsuitable, match="arrays: expected exactly bias, weight"):
        PLAN.encode({"bias": np.zeros(2)}, METRICS, 1)
    with pytest.raises(Unsuitable, match=r"array bias: not of the shape \(2,\)"):
        PLAN.encode(update() | {"bias": np.zeros((1, 2))}, METRICS, 1)
    with pytest.raises(Unsuitable, match="metrics: expected exactly acc, loss"):
        PLAN.encode(update(), {"loss": 1.0}, 1)


def test_a_refusal_quotes_no_value() -> None:
    with pytest.raises(Unsuitable) as raised:
        PLAN.encode(update(), METRICS | {"loss": 8.1234}, 17)
    assert "8.1234" not in str(raised.value)
    assert "17" not in str(raised.value)


def test_it_is_read_as_it_was_written() -> None:
    assert WeightedMeanPlan.from_bytes(PLAN.to_bytes()) == PLAN
    # The order of the arrays is part of it.
    turned = replace(PLAN, arrays=dict(reversed(PLAN.arrays.items())))
    assert list(WeightedMeanPlan.from_bytes(turned.to_bytes()).arrays) == ["bias", "weight"]
    assert turned.digest() != PLAN.digest()


@pytest.mark.parametrize(
    "change",
    [
        {"clip": -1.0}, {"clip": "4"}, {"clip": True}, {"bits": 31}, {"bits": [16]},
        {"summands": 0}, {"summands": 3.0}, {"largest_weight": 10**9 + 1},
        {"arrays": [["a", [-1]]]},
        {"arrays": [["a", "23"]]}, {"arrays": {"a": 1}}, {"arrays": [["a", [0]]]},
        {"arrays": [["a", [1]], ["a", [1]]]}, {"arrays": [["a", [2**32]]]}, {"arrays": [[7, [1]]]},
        {"metrics": {"loss": 0}}, {"metrics": {"num-examples": 1.0}}, {"metrics": ["loss"]},
        {"metrics": {"": 1.0}}, {"weight_key": 7}, {"more": 1}, {"arrays": None},
    ],
)  # fmt: skip
def test_no_other_plan_can_be_read(change) -> None:
    plain = json.loads(PLAN.to_bytes()) | change
    data = json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(ProtocolViolation, match=r"^plan: "):
        WeightedMeanPlan.from_bytes(data)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_no_bytes_are_read_by_accident(data: bytes) -> None:
    with pytest.raises(ProtocolViolation, match=r"^plan: "):
        WeightedMeanPlan.from_bytes(data)


@pytest.mark.parametrize("data", [b"[" * 100_000, PLAN.to_bytes() + b" ", PLAN.to_bytes()[:-1]])
def test_near_misses_are_not_read(data: bytes) -> None:
    with pytest.raises(ProtocolViolation, match=r"^plan: "):
        WeightedMeanPlan.from_bytes(data)


def test_weights_whose_sum_would_overflow_are_refused() -> None:
    with pytest.raises(ConfigError):
        replace(PLAN, largest_weight=10**9, summands=3)
    assert replace(PLAN, largest_weight=10**9, summands=2).layout()


def test_a_models_digest_holds_every_part_of_it() -> None:
    model = [("a", "float32", (1, 2), b"12345678"), ("b", "float32", (2,), b"12345678")]
    assert model_digest(model) == model_digest(reversed(model))
    for at, other in enumerate(["c", "float64", (2, 1), b"12345679"]):
        changed = list(model[0])
        changed[at] = other
        assert model_digest([tuple(changed), model[1]]) != model_digest(model)
