"""Flower's own commands and engine: the bundle that `flwr build` makes, Ray, and `flwr run`."""

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from federation.run_folder import RunFolder

BIN = Path(sys.executable).parent
needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="pip install '.[ray]' was not done"
)


@pytest.fixture(scope="module")
def app(tmp_path_factory) -> Path:
    """The tracked files of this checkout in a folder of their own, as a clone has them."""
    folder = tmp_path_factory.mktemp("clone") / "hedgerow"
    listed = subprocess.run(
        ["git", "ls-files", "-z"], capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        if Path(name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(name, folder / name)
    return folder


@pytest.fixture
def flower(tmp_path):
    """Runs Flower's commands as a user would who wants no calls home and no installs."""
    environment = os.environ | {
        "FLWR_HOME": str(tmp_path / "flwr"),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "OMP_NUM_THREADS": "1",
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    }

    def call(*arguments: str) -> str:
        done = subprocess.run(
            [str(BIN / "flwr"), *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return call


def test_the_bundle_holds_the_courier_and_the_server_loop_and_nothing_else(
    app, flower, tmp_path
) -> None:
    flower("build", "--app", str(app))
    (bundle,) = tmp_path.glob("*.fab")
    with zipfile.ZipFile(bundle) as archive:
        names = set(archive.namelist())
        courier = archive.read("client/courier.py").decode()
        settings = tomllib.loads(archive.read("pyproject.toml").decode())
    rooms = {name for name in names if name.endswith(".py")}
    assert {"client/__init__.py", "client/courier.py", "server/app.py"} <= rooms
    assert all(name.startswith("server/") for name in rooms - {
        "client/__init__.py", "client/courier.py"
    })  # fmt: skip
    assert {name for name in names if Path(name).suffix not in {".py", ".toml"}} <= {
        "README.md", "LICENSE", ".info/CONTENT"
    }  # fmt: skip
    assert settings["tool"]["flwr"]["app"]["components"] == {
        "serverapp": "server.app:app",
        "clientapp": "client.courier:app",
    }
    assert imported(courier) <= sys.stdlib_module_names | {"flwr"}


def imported(source: str) -> set[str]:
    """Top-level packages that a module imports."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module).split(".")[0])
    return found


def simulate(folder: Path, *arguments: str) -> RunFolder:
    subprocess.run(
        [
            sys.executable, "-m", "hedgerow", "simulate", "--rounds", "3", "--quiet",
            "--set", "simulation.baselines=false", "--out", str(folder), *arguments,
        ],
        check=True,
        timeout=280,
    )  # fmt: skip
    (run,) = folder.iterdir()
    return RunFolder.open(run)


@pytest.mark.ray
@pytest.mark.slow
@needs_ray
def test_ray_and_flwr_run_give_the_embedded_model_bit_for_bit(app, flower, tmp_path) -> None:
    embedded = simulate(tmp_path / "embedded")
    on_ray = simulate(tmp_path / "ray", "--set", "simulation.backend=ray")
    settings = f"runs='{tmp_path / 'flower'}' set='run.rounds=3'"
    try:
        said = flower(
            "run", str(app), "--stream", "--federation-config", "num-supernodes=4",
            "--run-config", settings,
        )  # fmt: skip
    finally:
        # `flwr run` leaves the SuperLink that it started running.
        subprocess.run(["pkill", "-f", str(tmp_path / "flwr")], check=False)
    assert "Installing" not in said
    (run,) = (tmp_path / "flower").iterdir()
    models = [f.model.read_bytes() for f in (embedded, on_ray, RunFolder.open(run))]
    assert models[0] == models[1] == models[2]
    assert on_ray.read_summary().run.backend == "ray"
