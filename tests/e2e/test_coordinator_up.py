"""`hedgerow coordinator up` and its real processes, asked as sites, strangers, operators ask."""

import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

import httpx
import pytest
from flwr.proto.fleet_pb2 import ActivateNodeRequest, PullMessagesRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor
from sample_federation_home import Enrolled, enrolled_home, sign_anew
from typer.testing import CliRunner

from federation import node_key
from federation.audit_log import AuditLog
from federation.config_file import parse
from federation.run_folder import RunFolder
from server.app_bundle import build
from server.coordinator_service import superlink_control
from server.deployed_run import DeployedRun
from server.enrolment import revoke
from server.federation_home import FederationHome
from server.operation_cli import app
from server.run_failure import RunEnded
from server.run_preparation import prepare

pytestmark = pytest.mark.slow

PATIENCE = 120.0
PROGRAM = "from server.operation_cli import app; app()"
SITES = ("aachen", "basel", "celle")


def eventually(claim: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not claim():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def status_of(home: FederationHome) -> dict[str, object]:
    asked = CliRunner().invoke(app, ["status", str(home.path), "--json"])
    return json.loads(asked.stdout)  # type: ignore[no-any-return]


def processes(home: FederationHome) -> dict[str, int]:
    told = status_of(home)["processes"]
    assert isinstance(told, list)
    return {one["name"]: one["pid"] for one in told if one["phase"] == "ready"}


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def running_in(home: FederationHome) -> list[int]:
    """Processes whose command line names the federation's folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if (
                str(home.path).encode() in path.read_bytes()
                and int(path.parent.name) != os.getpid()
            ):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@contextmanager
def coordinator(home: FederationHome) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, "up", str(home.path)])
    try:
        assert eventually(lambda: len(processes(home)) == 3)
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


@contextmanager
def fleet(enrolled: Enrolled, key: object, port: int | None = None) -> Iterator[FleetHttpClient]:
    home = enrolled.home
    public = key.public_key()  # type: ignore[attr-defined]
    with FleetHttpClient.from_server_address(
        f"localhost:{port or home.config().port}",
        False,
        str(home.ca),
        interceptors=[
            RuntimeVersionHttpInterceptor(component_name="SuperNode"),
            NodeAuthHttpInterceptor(key, public),  # type: ignore[arg-type]
        ],
    ) as client:
        yield client


def activate(client: FleetHttpClient, key: object) -> int:
    public = public_key_to_bytes(key.public_key())  # type: ignore[attr-defined]
    request = ActivateNodeRequest(public_key=public, heartbeat_interval=30)
    return int(client.ActivateNode(request).node_id)


@pytest.fixture(scope="module")
def enrolled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Enrolled]:
    made = enrolled_home(tmp_path_factory.mktemp("up") / "fed", *SITES)
    with coordinator(made.home):
        yield made
    assert running_in(made.home) == []


def test_a_registered_node_connects_through_the_edge_and_is_shown_by_its_name(
    enrolled: Enrolled,
) -> None:
    key = enrolled.keys["aachen"].node
    with fleet(enrolled, key) as client:
        node = activate(client, key)
        answer = client.PullMessages(PullMessagesRequest(node=Node(node_id=node)))
        assert list(answer.messages_list) == []
    sites = {one["name"]: one["state"] for one in status_of(enrolled.home)["sites"]}  # type: ignore[attr-defined]
    assert sites == {"aachen": "online", "basel": "never", "celle": "never"}


def test_an_unknown_key_is_refused(enrolled: Enrolled) -> None:
    stranger = node_key.generate_node_key()
    with fleet(enrolled, stranger) as client, pytest.raises(httpx.HTTPStatusError) as refused:
        activate(client, stranger)
    assert refused.value.response.status_code == 412


def test_a_node_cannot_ask_in_the_name_of_another(enrolled: Enrolled) -> None:
    basel, celle = enrolled.keys["basel"].node, enrolled.keys["celle"].node
    with fleet(enrolled, basel) as client:
        node = activate(client, basel)
    with fleet(enrolled, celle) as client, pytest.raises(httpx.HTTPStatusError) as refused:
        client.PullMessages(PullMessagesRequest(node=Node(node_id=node)))
    assert refused.value.response.status_code == 401


@pytest.mark.parametrize(
    "path",
    ["/v1/control/start-run", "/v1/control/register-node", "/v1/runtime/acquire-task", "/docs"],
)
def test_control_and_runtime_are_not_reachable_from_outside(enrolled: Enrolled, path: str) -> None:
    context = ssl.create_default_context(cafile=enrolled.home.ca)
    url = f"https://localhost:{enrolled.home.config().port}{path}"
    with httpx.Client(verify=context) as client:
        assert client.post(url).status_code == 404
        assert client.get(url).status_code == 404


def test_on_the_machine_itself_nobody_takes_the_serverapps_task_without_the_secret(
    enrolled: Enrolled,
) -> None:
    home = enrolled.home
    context = ssl.create_default_context(cafile=home.loopback_ca)
    url = f"https://127.0.0.1:{home.config().superlink_port}/v1/runtime/acquire-task"
    headers = {"content-type": "application/protobuf"}
    with httpx.Client(verify=context) as client:
        assert client.post(url, headers=headers, content=b"").status_code in (401, 403)


def test_the_superlink_listens_on_loopback_alone_and_its_files_are_its_owners(
    enrolled: Enrolled,
) -> None:
    home = enrolled.home
    port = f":{home.config().superlink_port:04X}"
    listening = [
        line.split()[1]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if line.split()[3] == "0A"
    ]
    assert [one for one in listening if one.endswith(port)] == [f"0100007F{port}"]
    for path in home.superlink.rglob("*"):
        if path.is_file():
            assert path.stat().st_mode & 0o077 == 0, path


def test_metrics_tell_of_sites_and_certificates(enrolled: Enrolled) -> None:
    url = f"http://127.0.0.1:{enrolled.home.config().metrics_port}/metrics"
    with urllib.request.urlopen(url) as answer:
        text = answer.read().decode()
    assert 'hedgerow_sites{federation="trial"} 3' in text
    assert 'hedgerow_superlink_up{federation="trial"} 1' in text
    assert 'hedgerow_process_up{federation="trial",process="edge"} 1' in text
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(url.replace("/metrics", "/"))


def test_a_second_coordinator_is_refused(enrolled: Enrolled) -> None:
    second = subprocess.run(
        [sys.executable, "hedgerow.py", "coordinator", "up", str(enrolled.home.path)],
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    if "No such command" in second.stderr:
        pytest.skip("the command is not mounted yet")
    assert second.returncode == 2
    assert "runs already" in second.stderr


def test_an_error_of_the_run_comes_back_with_its_exit_code(enrolled: Enrolled) -> None:
    home = enrolled.home
    config = parse({"run": {"rounds": 1}, "privacy": {"mode": "off"}})
    folder = prepare(home, config, build(), None)
    (folder.path / "consortium.pub").write_text("broken")
    with superlink_control(home, home.config()) as control:
        run = DeployedRun(control, folder, build().content, print)
        with pytest.raises(RunEnded) as ended:
            run.play(lambda _: None)
        (flower, *_) = control.runs()
    assert ended.value.exit_code == 6
    assert "consortium.pub" in str(ended.value)
    assert flower.bundle == build().sha256
    assert flower.settings["run"] == str(folder.path)
    states = {one["id"]: one["state"] for one in status_of(home)["runs"]}  # type: ignore[attr-defined]
    assert states[folder.id] == "interrupted"


def test_a_killed_serverapp_is_started_again_and_ctrl_c_leaves_nobody_in_the_folder(
    enrolled: Enrolled,
) -> None:
    home = enrolled.home
    config = parse({"run": {"rounds": 1}, "privacy": {"mode": "off"}})
    folder = prepare(home, config, build(), None)
    told: list[str] = []
    killed: list[int] = []

    def hear(line: str) -> None:
        told.append(line)
        if "starting it again" in line:
            raise KeyboardInterrupt

    def kill_when_at_work() -> None:
        eventually(lambda: RunFolder(folder.path).is_in_use)
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if b"flwr-serverapp" in path.read_bytes():
                    environment = (path.parent / "environ").read_bytes()
                    if str(home.flwr_home).encode() in environment:
                        killed.append(int(path.parent.name))
                        os.kill(killed[-1], 9)
            except OSError:
                continue

    killer = Thread(target=kill_when_at_work)
    killer.start()
    with superlink_control(home, home.config()) as control:
        run = DeployedRun(control, folder, build().content, hear)
        with pytest.raises(BaseException) as ended:  # noqa: PT011
            run.play(lambda _: None)
        assert type(ended.value).__name__ == "Interrupted"
        killer.join()
        assert killed
        assert any("starting it again" in line for line in told)
        assert not folder.is_in_use
        assert all(one.is_finished for one in control.runs())


def test_a_killed_superlink_comes_back_with_its_nodes(enrolled: Enrolled) -> None:
    home = enrolled.home
    pids = processes(home)
    os.kill(pids["superlink"], 9)
    assert eventually(lambda: processes(home).get("superlink") not in (None, pids["superlink"]))
    key = enrolled.keys["celle"].node

    def connects() -> bool:
        with fleet(enrolled, key) as client:
            try:
                return activate(client, key) > 0
            except httpx.HTTPStatusError as error:
                statuses.append(error.response.status_code)
                return False

    statuses: list[int] = []
    assert eventually(connects)
    assert set(statuses) <= {503}  # what stock nodes go on after


def test_a_revoked_site_is_put_out_at_once(enrolled: Enrolled) -> None:
    home, key = enrolled.home, enrolled.keys["basel"].node
    revoke(home, "basel", datetime.now(UTC))
    sign_anew(home)

    def events() -> list[tuple[str, object]]:
        return [(one.event, one.details.get("site")) for one in AuditLog(home.audit).entries()]

    assert eventually(lambda: ("node_unregistered", "basel") in events())
    assert ("node_registered", "aachen") in events()
    with fleet(enrolled, key) as client, pytest.raises(httpx.HTTPStatusError) as refused:
        client.PullMessages(PullMessagesRequest(node=Node(node_id=1)))
    assert refused.value.response.status_code == 401
    shown = {one["name"] for one in status_of(home)["sites"]}  # type: ignore[attr-defined]
    assert shown == {"aachen", "celle"}


def test_nothing_is_left_when_everything_is_killed_at_once(tmp_path: Path) -> None:
    made = enrolled_home(tmp_path / "fed", "aachen")
    with coordinator(made.home) as process:
        pids = list(processes(made.home).values())
        process.kill()
        assert eventually(lambda: not any(is_running(pid) for pid in pids))
        assert eventually(lambda: running_in(made.home) == [])
