"""A Flower app under the secure sum: the same model, and nothing else to see."""

from dataclasses import replace

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAdam, FedAvg, FedAvgM, FedMedian, Krum
from in_process_grid import FIRST_NODE, InProcessGrid

from client.journaled_site import SecureSumSite
from client.secure_mod import secure_sum_mod
from client.session_journal import FolderJournal, MemoryJournal
from federation.errors import ConfigError
from privacy.secure_sum.site import SitePolicyFloor
from privacy.secure_sum.stages import RECORD
from server.secure_strategy import SecureSumSettings, SecureSumStrategy

SITES = 5
NAMES = tuple(f"site-{k}" for k in range(SITES))
KEYS = {
    name: Ed25519PrivateKey.from_private_bytes(bytes([k + 1]) * 32) for k, name in enumerate(NAMES)
}
ROSTER = {name: key.public_key() for name, key in KEYS.items()}
SETTINGS = SecureSumSettings(
    "clinics", ROSTER, quorum=4, threshold=3, clip=10.0, largest_weight=200,
    train_metrics={"loss": 5.0}, evaluate_metrics={"acc": 1.0},
)  # fmt: skip
START = [np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3), np.ones(4, np.float32)]


def weight(partition: int) -> int:
    return 100 + 7 * partition


def step(partition: int, arrays: list) -> list:
    """What a site's training does: repeatable, and different at every site."""
    rng = np.random.default_rng(partition)
    return [a + rng.normal(size=a.shape).astype(np.float32) * (1 + 0.1 * a) for a in arrays]


def metrics_of(partition: int) -> dict[str, float]:
    return {"loss": 1 + partition / 7, "num-examples": weight(partition)}


def app_of(mods=(), train=None) -> ClientApp:
    app = ClientApp(mods=list(mods))

    @app.train()
    def trains(message, context):
        partition = context.node_config["partition-id"]
        if train is not None:
            return Message(train(partition, message), reply_to=message)
        arrays = step(partition, message.content["arrays"].to_numpy_ndarrays())
        content = {
            "arrays": ArrayRecord(arrays),
            "metrics": MetricRecord(metrics_of(partition)),
        }
        return Message(RecordDict(content), reply_to=message)

    @app.evaluate()
    def evaluates(message, context):
        partition = context.node_config["partition-id"]
        record = MetricRecord({"acc": partition / 10, "num-examples": weight(partition)})
        return Message(RecordDict({"metrics": record}), reply_to=message)

    return app


def sites_with(journal, **demands):
    def this_site(context):
        name = NAMES[context.node_config["partition-id"]]
        plain = {"floor": SitePolicyFloor(4, 3), "clip": 10.0, "largest_weight": 200}
        return SecureSumSite(
            "clinics", name, KEYS[name], ROSTER, journal=journal, **(plain | demands)
        )

    return this_site


def secure_grid(train=None, **demands) -> InProcessGrid:
    mod = secure_sum_mod(sites_with(MemoryJournal(), **demands))
    return InProcessGrid(app_of([mod], train), SITES)


def start(strategy, grid, rounds: int = 1):
    return strategy.start(grid, ArrayRecord([a.copy() for a in START]), num_rounds=rounds)


def arrays_of(result) -> list:
    return result.arrays.to_numpy_ndarrays()


def stage(message) -> str:
    record = message.content.config_records.get(RECORD)
    return "" if record is None else record["stage"]


def weighted_mean(values, partitions):
    weights = [weight(k) for k in partitions]
    return sum(w * np.asarray(v) for w, v in zip(weights, values, strict=True)) / sum(weights)


@pytest.mark.parametrize("strategy", [FedAvg, FedAvgM, FedAdam])
def test_the_model_is_the_one_of_the_plain_strategy(strategy) -> None:
    plain = start(strategy(), InProcessGrid(app_of(), SITES), rounds=2)
    secure = start(SecureSumStrategy(strategy(), SETTINGS), secure_grid(), rounds=2)
    for ours, theirs in zip(arrays_of(secure), arrays_of(plain), strict=True):
        assert ours.dtype == theirs.dtype
        assert np.allclose(ours, theirs, rtol=0, atol=1e-5)
    assert secure.train_metrics_clientapp[2]["loss"] == pytest.approx(
        plain.train_metrics_clientapp[2]["loss"], abs=1e-6
    )
    assert secure.evaluate_metrics_clientapp[2]["acc"] == pytest.approx(
        plain.evaluate_metrics_clientapp[2]["acc"], abs=1e-7
    )


def test_nothing_of_a_site_leaves_in_clear() -> None:
    plain, secure = InProcessGrid(app_of(), SITES), secure_grid()
    start(FedAvg(), plain)
    start(SecureSumStrategy(FedAvg(), SETTINGS), secure)
    clear = [
        array.tobytes()[:8]
        for partition in range(SITES)
        for trained in [step(partition, START)]
        for array in (*trained, *[t - s for t, s in zip(trained, START, strict=True)])
    ]
    crossed = b"".join(a.data for _, r in plain.replies for rec in r.content.array_records.values()
                       for a in rec.values())  # fmt: skip
    # The search would find them: in what the plain app sends, they are.
    assert sum(piece in crossed for piece in clear) == 2 * SITES
    answers = []
    for _, reply in secure.replies:
        assert list(reply.content) == [RECORD]
        assert list(reply.content[RECORD]) == ["answer"]
        answers.append(reply.content[RECORD]["answer"])
    assert len(answers) == SITES * 11  # names, and five answers of two sums
    assert not any(piece in answer for piece in clear for answer in answers)


def test_what_a_site_masked_is_not_its_codes() -> None:
    """Two runs over the same contributions give unrelated masked vectors."""
    masked = []
    for _ in range(2):
        grid = secure_grid()
        start(SecureSumStrategy(FedAvg(), SETTINGS), grid)
        longest = max((r.content[RECORD]["answer"] for node, r in grid.replies
                       if node == FIRST_NODE and r.metadata.message_type == "train"
                       and _answers_mask(grid, r)), key=len)  # fmt: skip
        masked.append(np.frombuffer(longest[-40:], "<u4"))
    assert not np.any(masked[0] == masked[1])


def _answers_mask(grid, reply) -> bool:
    asked = {m.metadata.message_id: m for m in grid.asked}
    return stage(asked[reply.metadata.reply_to_message_id]) == "mask"


def test_a_site_that_drops_out_mid_round_is_survived() -> None:
    grid = secure_grid()
    grid.lost = lambda node, message: node == FIRST_NODE + 2 and stage(message) == "mask"
    strategy = SecureSumStrategy(FedAvg(), SETTINGS)
    result = start(strategy, grid)
    left = [0, 1, 3, 4]
    assert strategy.survivors["train"] == tuple(NAMES[k] for k in left)
    trained = [step(k, START) for k in left]
    for at, ours in enumerate(arrays_of(result)):
        assert np.allclose(ours, weighted_mean([t[at] for t in trained], left), atol=1e-6)


def test_too_few_survivors_leave_the_model_and_say_so() -> None:
    grid = secure_grid()
    gone = {FIRST_NODE, FIRST_NODE + 1}
    grid.lost = lambda node, message: node in gone and stage(message) == "mask"
    strategy = SecureSumStrategy(FedAvg(), SETTINGS)
    result = start(strategy, grid)
    assert not result.arrays
    assert [text.split(":")[0] for text in strategy.failures] == [
        "train round 1", "evaluate round 1",
    ]  # fmt: skip
    assert "3 of 5 sites" in strategy.failures[0]


def test_a_lost_site_is_back_in_the_next_round() -> None:
    grid = secure_grid()
    grid.lost = lambda node, m: (
        node == FIRST_NODE and stage(m) == "sign" and m.metadata.group_id == "1"
    )
    strategy = SecureSumStrategy(FedAvg(), SETTINGS)
    start(strategy, grid, rounds=2)
    assert strategy.failures == []
    assert strategy.survivors["train"] == NAMES


@pytest.mark.parametrize(
    ("demands", "reason"),
    [
        ({"floor": SitePolicyFloor(5, 2)}, "the quorum 4 is below this site's floor 5"),
        ({"floor": SitePolicyFloor(3, 4)}, "the threshold 3 is below this site's floor 4"),
        ({"clip": 9.99}, "the clip 10 is above this site's, 9.99"),
        ({"largest_weight": 199}, "the largest weight 200 is above this site's, 199"),
    ],
)
def test_terms_beyond_a_sites_bounds_are_refused(demands, reason) -> None:
    grid = secure_grid(**demands)
    strategy = SecureSumStrategy(FedAvg(), SETTINGS)
    assert not start(strategy, grid).arrays
    assert all(reason in said for said in grid.refusals())
    assert len(strategy.failures) == 2
    assert not any(stage(message) == "share" for message in grid.asked)


def test_a_site_answers_nothing_outside_a_session() -> None:
    grid = secure_grid()
    assert not start(FedAvg(), grid).arrays
    assert grid.refusals() == {
        "secure sum: this site answers only inside a secure sum, not a plain train",
        "secure sum: this site answers only inside a secure sum, not a plain evaluate",
    }


@pytest.mark.parametrize("repeated", ["advertise", "share", "mask", "sign", "open"])
def test_no_answer_is_given_twice(repeated) -> None:
    grid = secure_grid()
    start(SecureSumStrategy(FedAvg(), SETTINGS), grid)
    again = next(m for m in grid.asked if stage(m) == repeated)
    reply = grid.deliver(again)
    assert reply.has_error()
    assert reply.error.reason.startswith("secure sum: ")


def test_a_second_mask_in_the_middle_of_a_round_ends_the_session() -> None:
    grid = secure_grid()
    original, twice = grid.deliver, []

    def deliver(message):
        reply = original(message)
        if stage(message) == "mask" and not twice:
            twice.append(original(message))
        return reply

    grid.deliver = deliver
    strategy = SecureSumStrategy(FedAvg(), SETTINGS)
    start(strategy, grid)
    assert twice[0].error.reason == "secure sum: mask: answered before"
    assert "secure sum: round 1: no session is open" in grid.refusals()


def test_a_model_shown_to_one_site_alone_cannot_be_opened() -> None:
    grid = secure_grid()

    def altered(node, content):
        if node == FIRST_NODE and "arrays" in content:
            arrays = content["arrays"].to_numpy_ndarrays()
            content["arrays"] = ArrayRecord([a * 0 for a in arrays])
        return content

    grid.altered = altered
    # A quorum of all: without the one that was misled there is no sum.
    settings = replace(SETTINGS, quorum=5)
    strategy = SecureSumStrategy(FedAvg(), settings)
    assert not start(strategy, grid).arrays
    assert any("other masks than those" in str(said) for said in strategy.failures)


def raises(partition, message):
    raise ValueError("patient 17 has no birthday")


def of(arrays=None, **metrics):
    def train(partition, message):
        given = step(partition, START) if arrays is None else arrays
        values = {"loss": 1.0, "num-examples": 100} | metrics
        record = MetricRecord({k: v for k, v in values.items() if v is not None})
        return RecordDict({"arrays": ArrayRecord(given), "metrics": record})

    return train


def with_config(partition, message):
    content = of()(partition, message)
    content["note"] = ConfigRecord({"rows": 17})
    return content


@pytest.mark.parametrize(
    ("train", "reason"),
    [
        (raises, "the app's function raised; the site's log says what"),
        (of(loss=5.1), "metric loss: not within its declared bound"),
        (of(loss=float("nan")), "metric loss: not within its declared bound"),
        (of(loss=[1.0, 2.0]), "metric loss: expected a single number, not a list"),
        (of(rows=17), "metrics: expected exactly loss"),
        (of(loss=None), "metrics: expected exactly loss"),
        (of(**{"num-examples": 201}), "num-examples: not a whole number up to the largest weight"),
        (of(**{"num-examples": 1.5}), "num-examples: not a whole number up to the largest weight"),
        (of(**{"num-examples": -1}), "num-examples: not a whole number up to the largest weight"),
        (of(**{"num-examples": None}), "reply: expected the metric num-examples, the weight"),
        (of([START[0]]), "reply: its arrays are not those of the message, of the same shapes"),
        (of([START[0] * np.nan, START[1]]), "arrays: a coordinate of the update is not finite"),
        (with_config, "reply: it holds a ConfigRecord, which cannot be summed"),
    ],
)
def test_a_reply_that_cannot_be_summed_stays_at_the_site(train, reason) -> None:
    grid = secure_grid(train)
    assert not start(SecureSumStrategy(FedAvg(fraction_evaluate=0.0), SETTINGS), grid).arrays
    assert grid.refusals() == {f"secure sum: {reason}"}


def test_a_longer_update_is_scaled_down_to_the_clip() -> None:
    far = [START[0] + 300, START[1]]
    settings = replace(SETTINGS, clip=2.0)
    result = start(SecureSumStrategy(FedAvg(), settings), secure_grid(of(far)))
    moved = np.concatenate(
        [(ours - before).ravel() for ours, before in zip(arrays_of(result), START, strict=True)]
    )
    assert np.linalg.norm(moved) == pytest.approx(2.0, abs=1e-5)
    assert np.allclose(moved[:6], moved[0])


def test_a_node_without_a_key_of_the_roster_takes_no_part() -> None:
    stranger = Ed25519PrivateKey.from_private_bytes(bytes([99]) * 32)
    honest = sites_with(MemoryJournal())

    def this_site(context):
        owner = honest(context)
        return replace(owner, identity=stranger) if owner.name == "site-4" else owner

    grid = InProcessGrid(app_of([secure_sum_mod(this_site)]), SITES)
    strategy = SecureSumStrategy(FedAvg(), SETTINGS)
    start(strategy, grid)
    assert strategy.survivors["train"] == NAMES[:4]


def test_a_node_that_claims_anothers_name_does_not_disturb_it() -> None:
    honest = sites_with(MemoryJournal())

    def this_site(context):
        owner = honest(context)
        return replace(owner, name="site-0") if owner.name == "site-4" else owner

    strategy = SecureSumStrategy(FedAvg(), SETTINGS)
    start(strategy, InProcessGrid(app_of([secure_sum_mod(this_site)]), SITES))
    assert strategy.survivors["train"] == NAMES[:4]


def test_two_nodes_with_one_sites_key_are_an_error() -> None:
    honest = sites_with(MemoryJournal())

    def this_site(context):
        owner = honest(context)
        is_copy = owner.name == "site-4"
        return replace(owner, name="site-0", identity=KEYS["site-0"]) if is_copy else owner

    strategy = SecureSumStrategy(FedAvg(), SETTINGS)
    with pytest.raises(ConfigError, match="two nodes hold this site's key"):
        start(strategy, InProcessGrid(app_of([secure_sum_mod(this_site)]), SITES))


def test_every_answer_may_come_from_another_process(tmp_path) -> None:
    """The site is made anew for every message and shares nothing but its folder."""

    def this_site(context):
        return sites_with(FolderJournal(tmp_path))(context)

    mod = secure_sum_mod(this_site)
    result = start(SecureSumStrategy(FedAvg(), SETTINGS), InProcessGrid(app_of([mod]), SITES), 2)
    in_memory = start(SecureSumStrategy(FedAvg(), SETTINGS), secure_grid(), 2)
    for one, other in zip(arrays_of(result), arrays_of(in_memory), strict=True):
        assert np.array_equal(one, other)
    # All sessions are over: marks are left, no seed.
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert sum(path.is_dir() for path in tmp_path.rglob("*")) == SITES * 2 * 3


@pytest.mark.parametrize("strategy", [FedMedian(), Krum()])
def test_a_strategy_that_compares_replies_is_refused(strategy) -> None:
    with pytest.raises(ConfigError, match="needs no single site's reply"):
        SecureSumStrategy(strategy, SETTINGS)


def test_a_strategy_with_a_start_of_its_own_is_refused() -> None:
    class Own(FedAvg):
        def start(self, *args, **kwargs):
            raise NotImplementedError

    with pytest.raises(ConfigError, match=r"Flower's own Strategy\.start"):
        SecureSumStrategy(Own(), SETTINGS)


@pytest.mark.parametrize(
    "wrong",
    [
        {"clip": 0.0},
        {"clip": float("nan")},
        {"largest_weight": 0},
        {"largest_weight": 1.5},
        {"ring_bits": 31},
        {"train_metrics": {"loss": -1.0}},
        {"evaluate_metrics": {"num-examples": 1.0}},
        {"timeout": 0.0},
    ],
)
def test_settings_out_of_range_are_refused_before_any_round(wrong) -> None:
    with pytest.raises(ConfigError):
        replace(SETTINGS, **wrong)


def test_a_quorum_that_cannot_stand_for_the_sites_is_the_users_error() -> None:
    strategy = SecureSumStrategy(FedAvg(), replace(SETTINGS, quorum=3, threshold=2))
    with pytest.raises(ConfigError, match=r"terms\.quorum = 3: expected at least 4 for 5 sites"):
        start(strategy, secure_grid())


def test_counters_are_refused() -> None:
    with pytest.raises(ConfigError, match="an array of floating point"):
        SecureSumStrategy(FedAvg(), SETTINGS).start(
            secure_grid(), ArrayRecord([np.arange(3)]), num_rounds=1
        )
