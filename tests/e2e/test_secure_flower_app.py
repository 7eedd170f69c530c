"""The documented Flower app, stock and with secure aggregation, as both stand in docs/."""

import difflib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from deployment import flower_environment
from flwr.app import ConfigRecord, Context, RecordDict
from flwr.clientapp import ClientApp

from privacy.secure_sum.stages import RECORD
from privacy.secure_sum.weighted_mean import WeightedMeanPlan
from server.secure_strategy import SecureSumStrategy
from simulations.backends.embedded import EmbeddedGrid

BIN = Path(sys.executable).parent
EXAMPLE = Path("docs/examples/secure_flower_app")
APP = EXAMPLE / "digits_app"


def stock_app():
    return import_module("digits_app.client_app").app


def secure_app():
    return import_module("digits_app.secure_client_app").app


def app_of_a_site_that_fails():
    """Site 2 breaks off when it should answer with its masked vector."""
    app = secure_app()

    def fails(message, context):
        record = message.content.config_records[RECORD]
        if context.node_config["partition-id"] == 2 and record["stage"] == "mask":
            raise ConnectionError("the site is down")
        return app(message, context)

    return fails


class RecordingGrid(EmbeddedGrid):
    """Keeps every reply that crossed."""

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.replies = []

    def pull_messages(self, message_ids):
        pulled = list(super().pull_messages(message_ids))
        self.replies += pulled
        return pulled


@pytest.fixture
def play(monkeypatch, tmp_path):
    """Runs one of the example's ServerApps; gives the final model and what crossed."""
    monkeypatch.syspath_prepend(str(EXAMPLE.resolve()))

    def run(load_client_app, server: str, rounds: int):
        server_app = import_module(f"digits_app.{server}").app
        config = {
            "rounds": rounds, "learning-rate": 0.5,
            "model": str(tmp_path / "model.npz"), "journal": str(tmp_path / "journal"),
        }  # fmt: skip
        with RecordingGrid(load_client_app, 5, config, 2) as grid:
            server_app(grid, Context(grid.run.run_id, 1, {}, RecordDict(), config))
        with np.load(config["model"]) as model:
            return [model[name] for name in model.files], grid.replies

    yield run
    for name in [name for name in sys.modules if name.startswith("digits_app")]:
        del sys.modules[name]


def test_the_secure_app_trains_the_model_of_the_stock_app_and_sends_nothing_else(play) -> None:
    task = import_module("digits_app.task")
    stock, clear = play(stock_app, "server_app", rounds=1)
    secure, crossed = play(secure_app, "secure_server_app", rounds=1)

    shapes = {str(at): array.shape for at, array in enumerate(stock)}
    plan = WeightedMeanPlan("num-examples", 400, 20.0, shapes, {}, 5)
    # Half a float32's last place on each side, for values below 1, comes on top of the step.
    allowed = plan.largest_error(20.0, 5, 1437) + 2.0**-24
    assert max(np.abs(array).max() for array in stock) < 1
    for ours, theirs in zip(secure, stock, strict=True):
        assert np.abs(ours - theirs).max() <= allowed

    sent = [a.data for r in clear for rec in r.content.array_records.values()
            for a in rec.values()]  # fmt: skip
    trained = []
    for site in range(5):
        arrays = task.initial_arrays()
        task.train(arrays, *task.load(site, 5, held_out=False), 0.5)
        trained += [array.tobytes()[-32:] for array in arrays]
    assert all(any(piece in data for data in sent) for piece in trained)
    assert len(crossed) == 5 * 11  # names, and five answers of each of two sums
    for reply in crossed:
        assert list(reply.content) == [RECORD]
        assert isinstance(reply.content[RECORD], ConfigRecord)
        assert list(reply.content[RECORD]) == ["answer"]
        assert not any(piece in reply.content[RECORD]["answer"] for piece in trained)


def test_a_site_that_fails_mid_round_is_survived(play) -> None:
    task = import_module("digits_app.task")
    model, crossed = play(app_of_a_site_that_fails, "secure_server_app", rounds=1)
    failed = [reply for reply in crossed if reply.has_error()]
    assert len(failed) == 2  # once in training, once in evaluation
    total, weights = [0.0, 0.0], 0
    for site in (0, 1, 3, 4):
        arrays, (images, labels) = task.initial_arrays(), task.load(site, 5, held_out=False)
        task.train(arrays, images, labels, 0.5)
        total = [t + len(images) * a for t, a in zip(total, arrays, strict=True)]
        weights += len(images)
    for ours, exact in zip(model, total, strict=True):
        assert np.allclose(ours, exact / weights, rtol=0, atol=1e-6)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs '.[ray]'")
def test_flwr_run_gives_the_embedded_model_though_ray_hands_messages_to_any_actor(
    play, tmp_path
) -> None:
    embedded, _ = play(secure_app, "secure_server_app", rounds=3)
    app = shutil.copytree(EXAMPLE, tmp_path / "app")
    home, model, journal = tmp_path / "flwr", tmp_path / "ray.npz", tmp_path / "ray"
    environment = flower_environment(home)
    try:
        subprocess.run(
            [
                str(BIN / "flwr"), "run", str(app), "--stream",
                "--federation-config", "num-supernodes=5",
                "--run-config", f"model='{model}' journal='{journal}'",
            ],
            cwd=tmp_path, env=environment, capture_output=True, check=True, timeout=280,
        )  # fmt: skip
    finally:
        # `flwr run` leaves the SuperLink that it started running.
        left = subprocess.run(
            ["pgrep", "-f", str(home)], capture_output=True, text=True, check=False
        ).stdout
        for process in left.split():
            os.kill(int(process), signal.SIGTERM)
    with np.load(model) as on_ray:
        assert all(
            np.array_equal(on_ray[name], ours)
            for name, ours in zip(on_ray.files, embedded, strict=True)
        )
    assert [path for path in journal.rglob("*") if path.is_file()] == []


def test_the_readme_shows_the_difference_as_it_is() -> None:
    readme = (EXAMPLE / "README.md").read_text()
    for stock, secure in (
        ("client_app.py", "secure_client_app.py"),
        ("server_app.py", "secure_server_app.py"),
    ):
        assert difference(APP / stock, APP / secure) in readme


def difference(one: Path, other: Path) -> str:
    lines = difflib.unified_diff(
        one.read_text().splitlines(), other.read_text().splitlines(), n=0, lineterm=""
    )
    return "\n".join(line for line in list(lines)[2:] if not line.startswith("@@"))


def test_the_guides_code_runs(tmp_path) -> None:
    guide = Path("docs/secure-sum-in-your-flower-app.md").read_text()
    keys = {name: Ed25519PrivateKey.generate() for name in ("north", "east", "south", "west")}
    roster = {name: key.public_key() for name, key in keys.items()}
    names = {
        "roster": roster, "pinned": roster, "identity": keys["north"], "folder": tmp_path,
        "ClientApp": ClientApp,
    }  # fmt: skip
    for block in guide.split("```python")[1:]:
        exec(block.split("```")[0], names)
    assert isinstance(names["strategy"], SecureSumStrategy)
    assert names["site"].floor.minimum_quorum == names["settings"].quorum
