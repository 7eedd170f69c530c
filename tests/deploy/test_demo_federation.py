"""The demo of compose.yaml without containers: its script, its commands, and a real run."""

import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import yaml
from programs import DEPLOY, ROOT

from federation.summary import Summary

SERVICES = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
SITES = ("cleveland", "hungary", "va_long_beach")
READY_SECONDS = 300


def free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


class Demo:
    """The demo's folders in place of its volumes."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.fed = folder, folder / "fed"
        shim = folder / "bin" / "hedgerow"
        shim.parent.mkdir()
        shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m hedgerow "$@"\n')
        shim.chmod(0o755)
        self.environment = os.environ | {
            "PATH": f"{shim.parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
        }
        for site in SITES:
            (folder / "run" / site).mkdir(parents=True)
            (folder / "sites" / site).mkdir(parents=True)

    def set_up(self, port: int) -> None:
        self.call(
            "sh", DEPLOY / "demo" / "set-up.sh",
            self.fed, self.folder / "sites", self.folder / "nodes",
            self.folder / "run" / "SITE" / "agent.sock", "localhost", port,
        )  # fmt: skip

    def call(self, *command: object) -> str:
        words = [str(one) for one in command]
        done = subprocess.run(
            words,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=900,
            cwd=self.folder,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    def command(self, service: str) -> list[str]:
        """What the service's container runs, with folders in place of its volumes."""
        words = SERVICES[service].get("command") or default_command(service)
        site = service.rsplit("-", 1)[0].replace("-", "_")
        places = {
            "/var/lib/hedgerow/federation": self.fed,
            "/var/lib/hedgerow/site": self.folder / "sites" / site / "site",
            "/var/lib/hedgerow-node/site": self.folder / "nodes" / site / "site",
        }
        return ["hedgerow", *(str(places.get(word, word)) for word in words)]

    @contextmanager
    def running(self, service: str):
        log = (self.folder / f"{service}.log").open("wb")
        process = subprocess.Popen(
            self.command(service), env=self.environment, stdout=log, stderr=log, cwd=self.folder
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise
            finally:
                log.close()


def default_command(service: str) -> list[str]:
    """The image's CMD."""
    target = "coordinator" if service == "coordinator" else "site"
    stage = (DEPLOY / "docker" / "Dockerfile").read_text().split(f"FROM runtime AS {target}")[1]
    found = re.search(r"^CMD (\[.*\])$", stage, re.MULTILINE)
    assert found
    return json.loads(found[1])


@pytest.fixture
def demo():
    folder = Path(tempfile.mkdtemp(prefix="demo"))  # short: a socket's path has little room
    yield Demo(folder)
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.timeout(1200)  # two dozen commands, each of which imports torch
def test_the_demo_trains_with_agents_and_nodes_that_share_a_socket_only(demo) -> None:
    port, *others = free_ports(5)
    demo.set_up(port)
    settings = demo.fed / "coordinator.toml"
    text = settings.read_text()
    for name, free in zip(("superlink", "health", "metrics", "console"), others, strict=True):
        text = re.sub(rf"(?m)^{name}_port = \d+", f"{name}_port = {free}", text)
    settings.write_text(re.sub(r'(?m)^bind = ".*"', 'bind = "127.0.0.1"', text))

    services = [
        name for name in SERVICES if name == "coordinator" or name.endswith(("-agent", "-node"))
    ]
    with ExitStack() as stack:
        for service in services:
            stack.enter_context(demo.running(service))
        wait_until_online(demo)
        demo.call(
            "hedgerow", "coordinator", "run", demo.fed, DEPLOY / "demo" / "federation.toml",
            "--set", "run.rounds=2", "--quiet",
        )  # fmt: skip
        for service in ("coordinator", "cleveland-agent"):
            assert is_healthy(demo, service)

    (run,) = (demo.fed / "runs").iterdir()
    summary = Summary.model_validate_json((run / "summary.json").read_bytes())
    assert summary.run.status == "completed"
    assert not (run / "sites").exists()
    for site in SITES:
        node = demo.folder / "nodes" / site / "site"
        assert not [
            name
            for name in ("identity.pem", "ledger.sqlite", "journal.sqlite")
            if (node / name).exists()
        ]
        home = demo.folder / "sites" / site
        assert stat.S_IMODE((home / "site").stat().st_mode) == 0o700
        assert (home / "site" / "agent.sock").is_symlink()
        assert not (demo.folder / "run" / site / "agent.sock").exists()  # its agent has ended


def wait_until_online(demo: Demo) -> None:
    """Until all nodes say so; bounded by tries, each of which is a process of seconds."""
    for _ in range(READY_SECONDS):
        states = [demo.folder / "nodes" / site / "site" / "node.json" for site in SITES]
        told = [json.loads(path.read_text())["state"] for path in states if path.exists()]
        if told == ["online"] * len(SITES):
            return
        subprocess.run(["sleep", "1"], check=True)
    logs = "".join(path.read_text()[-500:] for path in demo.folder.glob("*.log"))
    raise AssertionError(logs)


def is_healthy(demo: Demo, service: str) -> bool:
    """Whether the image's HEALTHCHECK says so."""
    target = "coordinator" if service == "coordinator" else "site"
    stage = (DEPLOY / "docker" / "Dockerfile").read_text().split(f"FROM runtime AS {target}")[1]
    found = re.search(r"HEALTHCHECK .*?\n\s+CMD (\[.*\])$", stage, re.MULTILINE)
    assert found
    shell, flag, line = json.loads(found[1])
    site = service.rsplit("-", 1)[0]
    line = line.replace("/var/lib/hedgerow/federation", str(demo.fed))
    line = line.replace("/var/lib/hedgerow/site", str(demo.folder / "sites" / site / "site"))
    done = subprocess.run(
        [shell, flag, line], env=demo.environment, cwd=demo.folder, check=False, timeout=120
    )
    return done.returncode == 0
