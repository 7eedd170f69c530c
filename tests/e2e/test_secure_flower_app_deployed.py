"""The documented Flower app on a real SuperLink: a process per SuperNode, and one per message."""

import shutil
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from deployment import deployed

from privacy.secure_sum.weighted_mean import WeightedMeanPlan

EXAMPLE = Path("docs/examples/secure_flower_app")
NODES = 4
"""As many as the quorum: none may be lost."""


@pytest.fixture
def task(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLE.resolve()))
    yield import_module("digits_app.task")
    for name in [name for name in sys.modules if name.startswith("digits_app")]:
        del sys.modules[name]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds its processes in /proc")
def test_a_superlink_carries_the_stock_apps_updates_and_none_of_the_secure_apps(
    task, tmp_path
) -> None:
    secure = shutil.copytree(EXAMPLE, tmp_path / "secure")
    stock = shutil.copytree(EXAMPLE, tmp_path / "stock")
    project = stock / "pyproject.toml"
    project.write_text(project.read_text().replace("digits_app.secure_", "digits_app."))
    trained = [piece for site in range(NODES) for piece in trained_by(task, site)]

    with deployed(tmp_path, NODES) as deployment:
        _, clear_model = played(deployment, stock, tmp_path / "stock.npz")
        in_clear, _ = deployment.recorder.take()
        log, model = played(deployment, secure, tmp_path / "secure.npz")
        crossed, shown = deployment.recorder.take()

    assert all(piece in in_clear for piece in trained)
    assert not any(piece in crossed for piece in trained)
    assert model[0].tobytes()[-32:] in shown  # what is sent in clear would be seen, to this end
    shapes = {str(at): array.shape for at, array in enumerate(clear_model)}
    plan = WeightedMeanPlan("num-examples", 400, 20.0, shapes, {}, NODES)
    allowed = plan.largest_error(20.0, NODES, 1437) + 2.0**-24
    for ours, theirs in zip(model, clear_model, strict=True):
        assert np.abs(ours - theirs).max() <= allowed
    assert f"train round 1: {NODES} of {NODES} sites, num-examples in all: 1437" in log
    accuracy = [task.test(model, *task.load(k, NODES, held_out=True))[1] for k in range(NODES)]
    assert min(accuracy) > 0.85
    journal = tmp_path / "journal"
    assert journal.is_dir()
    assert [path for path in journal.rglob("*") if path.is_file()] == []


def played(deployment, app: Path, model: Path) -> tuple[str, list[np.ndarray]]:
    """The log and the final model of one round."""
    journal = str(model.parent / "journal")
    log = deployment.run(app, 600, rounds=1, model=str(model), journal=journal)
    with np.load(model) as arrays:
        return log, [arrays[name] for name in arrays.files]


def trained_by(task, site: int) -> list[bytes]:
    """The ends of the arrays that a site has after its first training."""
    arrays = task.initial_arrays()
    task.train(arrays, *task.load(site, NODES, held_out=False), 0.5)
    return [array.tobytes()[-32:] for array in arrays]
