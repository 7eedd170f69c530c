"""Whether a Ray cluster can hold sites is told before the first message, in one line."""

import re
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from federation import config_file
from federation.errors import ConfigError, UsageError
from simulations.backends.ray_cluster import cluster_address, look_around, require_like_ours


@pytest.fixture(autouse=True)
def _no_cluster_in_the_environment(monkeypatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture
def serve():
    """Starts a gRPC server, by default without any service; gives its address."""
    with ThreadPoolExecutor(1) as pool:
        servers = []

        def start(status=None) -> str:
            server = grpc.server(pool)
            if status is not None:
                servicer = health.HealthServicer()
                servicer.set("", status)
                health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
            port = server.add_insecure_port("127.0.0.1:0")
            server.start()
            servers.append(server)
            return f"127.0.0.1:{port}"

        yield start
        for server in servers:
            server.stop(None).wait()


def test_no_address_means_a_ray_of_our_own() -> None:
    assert cluster_address("") == ""


def test_a_serving_head_node_is_taken_from_the_setting_or_else_the_environment(
    serve, monkeypatch
) -> None:
    serving = serve(health_pb2.HealthCheckResponse.SERVING)
    assert cluster_address(serving) == serving
    monkeypatch.setenv("RAY_ADDRESS", serving)
    assert cluster_address("") == serving
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert cluster_address(serving) == serving


@pytest.mark.parametrize("address", ["nonsense", "ray://10.0.0.5:10001", "auto", "10.0.0.5", ":1"])
def test_what_is_no_host_and_port_is_refused(address, monkeypatch) -> None:
    with pytest.raises(ConfigError, match=r"^simulation\.ray_address = .*10\.0\.0\.5:6379"):
        cluster_address(address)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ConfigError, match=r"^RAY_ADDRESS = "):
        cluster_address("")


def test_an_address_where_nobody_listens_is_refused() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen
        with pytest.raises(ConfigError, match="nothing answers there within"):
            cluster_address(f"127.0.0.1:{bound.getsockname()[1]}")


def test_a_server_of_another_kind_is_told_from_ray(serve) -> None:
    with pytest.raises(ConfigError, match="what answers there is not Ray"):
        cluster_address(serve())


def test_a_head_node_that_is_not_serving_is_refused(serve) -> None:
    with pytest.raises(ConfigError, match="says that it is not serving"):
        cluster_address(serve(health_pb2.HealthCheckResponse.NOT_SERVING))


def test_an_address_without_ray_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^simulation\.ray_address = '10\.0\.0\.5:6379'"):
        config_file.parse({"simulation": {"ray_address": "10.0.0.5:6379"}})
    table = {"simulation": {"ray_address": "10.0.0.5:6379", "backend": "ray"}}
    assert config_file.parse(table).simulation.ray_address == "10.0.0.5:6379"


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "environment.json").write_text("{}")
    return folder


def test_a_machine_like_ours_may_hold_sites(run, tmp_path) -> None:
    look = look_around(str(run), str(tmp_path))
    require_like_ours("10.0.0.6", look(), look())


def test_a_machine_without_the_folder_of_the_run_is_named(run) -> None:
    look = look_around(str(run), str(run))
    ours = look()
    shutil.rmtree(run)
    with pytest.raises(UsageError, match=rf"10\.0\.0\.6 .*{run}: No such file.*shared folder"):
        require_like_ours("10.0.0.6", look(), ours)


def test_another_run_under_the_same_path_is_not_taken_for_it(run) -> None:
    look = look_around(str(run), str(run))
    ours = look()
    (run / "environment.json").write_text('{"another": "run"}')
    with pytest.raises(UsageError, match="shared folder"):
        require_like_ours("10.0.0.6", look(), ours)


def test_a_missing_folder_of_the_task_is_named(run, tmp_path) -> None:
    task = tmp_path / "task"
    task.mkdir()
    look = look_around(str(run), str(task))
    ours = look()
    task.rmdir()
    with pytest.raises(UsageError, match=f"{task}: it is not there"):
        require_like_ours("10.0.0.6", look(), ours)


@pytest.mark.parametrize("theirs", ["2.0.0", None])
def test_another_version_of_a_package_is_named(run, theirs) -> None:
    ours = look_around(str(run), str(run))()
    told = re.escape(theirs or "(none)")
    with pytest.raises(UsageError, match=rf"10\.0\.0\.6 .* has torch {told}, this one has 2"):
        require_like_ours("10.0.0.6", ours | {"torch": theirs}, ours)
