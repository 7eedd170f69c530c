"""Flower's deployment engine with plain FedAvg, in an environment of its own."""

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Self

from federation import node_key
from server.certificate_authority import loopback_identity

ROOT = Path(__file__).parent.parent
PEER = ROOT / ".bench" / "flower"
APP = Path(__file__).parent / "fedavg-app"
LOOPBACK = "127.0.0.1"
STARTING_SECONDS = 120


def peer_bin() -> Path:
    """The folder of the peer's commands, after its environment is there."""
    place = PEER / "bin"
    if not (PEER / ".installed").exists():
        subprocess.run([sys.executable, "-m", "venv", PEER], check=True)
        pip = [place / "python", "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "-c", ROOT / "constraints.txt", "flwr", "numpy"], check=True)
        (PEER / ".installed").touch()
    return place


class FedAvgFederation:
    """A SuperLink and its SuperNodes; use as a context manager."""

    def __init__(self, folder: Path, sites: int) -> None:
        """Nothing runs yet."""
        self._folder, self._sites, self._stack = folder, sites, ExitStack()
        self._bin, self._logs = peer_bin(), 0

    def __enter__(self) -> Self:
        self._folder.mkdir()
        (self._folder / "flwr").mkdir()
        authority, pair = loopback_identity(datetime.now(UTC))
        for name, data in (("ca", authority), ("pem", pair.certificate), ("key", pair.key)):
            (self._folder / f"link.{name}").write_bytes(data)
        port = _free_port()
        (self._folder / "flwr" / "config.toml").write_text(
            f'[superlink]\ndefault = "here"\n[superlink.here]\naddress = "{LOOPBACK}:{port}"\n'
            f'root-certificates = "{self._folder}/link.ca"\n'
        )
        try:
            self._start(port)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def rounds(self, count: int, *, evaluates: bool) -> list[float]:
        """Seconds of each round of a run but the first."""
        times = self._folder / "times.json"
        times.unlink(missing_ok=True)
        config = (
            f"rounds={count} sites={self._sites} times='{times}' evaluate={str(evaluates).lower()}"
        )
        self._flwr("run", str(APP), "--stream", "--run-config", config)
        ended = json.loads(times.read_text(encoding="utf-8"))
        return [after - before for before, after in pairwise(ended[1:])]

    def _start(self, port: int) -> None:
        place, tls = self._folder, []
        for option, name in (("certfile", "pem"), ("keyfile", "key"), ("ca-certfile", "ca")):
            tls += [f"--ssl-{option}", str(place / f"link.{name}")]
        link = self._process(
            "flower-superlink", "--host", LOOPBACK, "--port", str(port), *tls,
            "--enable-supernode-auth", "--database", str(place / "state.db"),
        )  # fmt: skip
        _wait_for(link, "Uvicorn running")
        nodes = []
        for site in range(self._sites):
            key, path = node_key.generate_node_key(), place / f"node-{site}"
            path.write_bytes(node_key.private_bytes(key))
            path.with_suffix(".pub").write_text(node_key.public_line(key) + "\n", "utf-8")
            self._flwr("supernode", "register", str(path.with_suffix(".pub")))
            nodes.append(self._process(
                "flower-supernode", "--superlink", f"{LOOPBACK}:{port}",
                "--root-certificates", str(place / "link.ca"),
                "--auth-supernode-private-key", str(path),
                "--host", LOOPBACK, "--port", str(_free_port()),
            ))  # fmt: skip
        for node in nodes:
            _wait_for(node, "SuperNode ID")

    def _process(self, *command: str) -> Path:
        """A process that ends with this; returns the file of what it says."""
        self._logs += 1
        log = self._folder / f"{self._logs}-{command[0]}.log"
        with log.open("wb") as said:
            process = subprocess.Popen(
                [str(self._bin / command[0]), *command[1:]], env=self._environment,
                cwd=self._folder, stdout=said, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self._stack.callback(_end, process)
        return log

    def _flwr(self, *command: str) -> None:
        done = subprocess.run(
            [str(self._bin / "flwr"), *command], env=self._environment, cwd=self._folder,
            capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"flwr {command[0]} failed:\n{done.stdout}{done.stderr}")

    @property
    def _environment(self) -> dict[str, str]:
        return {
            "HOME": str(self._folder),
            "FLWR_HOME": str(self._folder / "flwr"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            "OMP_NUM_THREADS": "1",
            "PATH": f"{self._bin}{os.pathsep}{os.defpath}",
        }


def _wait_for(log: Path, text: str) -> None:
    deadline = time.monotonic() + STARTING_SECONDS
    while text not in log.read_text(encoding="utf-8", errors="replace"):
        if time.monotonic() > deadline:
            raise SystemExit(f"{log.name} did not start:\n{log.read_text(encoding='utf-8')}")
        time.sleep(0.2)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
