"""A run on a Ray of its own and on a running cluster of two nodes, both on this machine."""

import gc
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from client.site_home import SiteHome
from federation.run_folder import RunFolder
from privacy.ledger import verify
from server.run_record import read_record

ray = pytest.importorskip("ray", reason="pip install '.[ray]' was not done")
Cluster = pytest.importorskip("ray.cluster_utils").Cluster
state = pytest.importorskip("ray._private.state")

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    # Ray leaves files open in the process that plays a cluster.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
ENDING_SECONDS = 60


@pytest.fixture
def place() -> Iterator[Path]:
    """Where Ray keeps what it needs; short, for the paths of its sockets."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    (folder / "ray").mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def cluster(place, monkeypatch) -> Iterator[Cluster]:
    """A head node of one core on the loopback interface; a test adds the other."""
    monkeypatch.setenv("RAY_TMPDIR", str(place))
    running = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    yield running
    ray.shutdown()
    running.shutdown()
    # While the warnings of what it left open are still ignored.
    gc.collect()


def processes_of(place: Path) -> dict[int, str]:
    """Processes that have a Ray's folder on their command line or in their environment."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if os.fsencode(place) in words and int(process.name) != os.getpid():
            found[int(process.name)] = words.decode(errors="replace")
    return found


def assert_all_end(place: Path) -> None:
    """Workers notice by themselves that their node is gone."""
    deadline = time.monotonic() + ENDING_SECONDS
    while (left := processes_of(place)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not left


def simulate(folder: Path, *settings: str, environment: Mapping[str, str] | None = None):
    command = [sys.executable, "-m", "hedgerow", "simulate", "--rounds", "2", "--quiet"]
    # Starting Ray and its actors on a busy machine takes minutes.
    patient = "federation.round_timeout_seconds=900"
    for setting in ("simulation.baselines=false", patient, *settings):
        command += ["--set", setting]
    return subprocess.run(
        [*command, "--out", str(folder)],
        env=os.environ | (environment or {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def only_run(folder: Path) -> RunFolder:
    (run,) = folder.iterdir()
    return RunFolder.open(run)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory) -> RunFolder:
    folder = tmp_path_factory.mktemp("embedded")
    done = simulate(folder)
    assert done.returncode == 0, done.stderr
    return only_run(folder)


def assert_all_sites_took_part(run: RunFolder) -> None:
    record = read_record(run)
    assert [done.round.status for done in record.rounds] == ["completed"] * 3
    assert [len(sites) for _, sites in sorted(record.survivors.items())] == [4, 4, 4]


def test_a_ray_of_its_own_gives_the_embedded_model_and_ends(embedded, place, tmp_path) -> None:
    done = simulate(
        tmp_path / "runs", "simulation.backend=ray", environment={"RAY_TMPDIR": str(place)}
    )
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path / "runs")
    assert run.model.read_bytes() == embedded.model.read_bytes()
    assert_all_sites_took_part(run)
    assert_all_end(place)


def test_a_cluster_of_two_nodes_gives_the_embedded_model(
    embedded, cluster, place, tmp_path
) -> None:
    cluster.add_node(num_cpus=1)
    address = f'simulation.ray_address="{cluster.address}"'
    done = simulate(tmp_path / "runs", "simulation.backend=ray", address)
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path / "runs")
    assert run.model.read_bytes() == embedded.model.read_bytes()
    assert_all_sites_took_part(run)
    # The cluster still knows where the sites were, and that they have ended.
    ray.init(address=cluster.address, log_to_driver=False)
    sites = [one for one in state.actors().values() if one["Name"].startswith(run.path.name)]
    assert len(sites) == 4
    assert len({site["Address"]["NodeID"] for site in sites}) == 2
    assert {site["State"] for site in sites} == {"DEAD"}
    ray.shutdown()
    cluster.shutdown()
    assert_all_end(place)


def test_a_machine_of_another_version_is_told_before_the_run(cluster, place, tmp_path) -> None:
    # First on this node's path, so that it is what its processes find.
    other = tmp_path / "other" / "torch-0.9.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 0.9\n")
    path = os.pathsep.join([str(other.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    cluster.add_node(num_cpus=1, env_vars={"PYTHONPATH": path})
    address = f'simulation.ray_address="{cluster.address}"'
    done = simulate(tmp_path / "runs", "simulation.backend=ray", address)
    assert done.returncode == 2
    assert "of the Ray cluster has torch 0.9, this one has" in done.stderr
    assert "Traceback" not in done.stderr
    assert not only_run(tmp_path / "runs").rounds.exists()
    cluster.shutdown()
    assert_all_end(place)


def test_a_site_whose_actor_dies_is_lost_charged_and_back(place, tmp_path) -> None:
    crash = 'simulation.crashes=[{site = "hungary", round = 1, phase = "train"}]'
    done = simulate(
        tmp_path / "runs",
        "simulation.backend=ray",
        "federation.threshold=2",
        "run.on_failed_round=continue",
        crash,
        environment={"RAY_TMPDIR": str(place)},
    )
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path / "runs")
    assert (run.site_home("hungary") / "crashed-1-train").exists()
    summary = run.read_summary()
    assert "hungary" not in summary.rounds[0].survivors
    assert len(summary.rounds[0].survivors) == 3
    assert summary.injected is not None
    assert summary.injected.rounds[0].lost == {"crash": 1}
    # What never reached the coordinator was paid for all the same.
    key = SiteHome(run.site_home("hungary")).read_identity().public_key()
    entries = verify(run.ledger("hungary"), key)
    charged = [one.body["round"] for one in entries if one.kind == "reserve"]
    trained = {one.round for one in summary.rounds[:2] if "hungary" in one.survivors}
    assert {1, *trained} <= set(charged)
    assert_all_end(place)
