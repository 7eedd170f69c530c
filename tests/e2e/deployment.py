"""A SuperLink and SuperNodes, each a process of this machine, and all that crosses between them."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

BIN = Path(sys.executable).parent
LOOPBACK = "127.0.0.1"
STARTING_SECONDS = 180
ENDING_SECONDS = 20


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return probe.getsockname()[1]


class Process:
    """A running command whose output is read as it comes."""

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path) -> None:
        self._process = subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._ended = False
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout:
            with self._news:
                self.lines.append(line)
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._process.poll()

    def finished(self, seconds: float) -> int:
        """Wait for its end; its exit status."""
        status = self._process.wait(seconds)
        self._reader.join(ENDING_SECONDS)
        return status

    @property
    def text(self) -> str:
        """What it has said so far."""
        with self._news:
            return "".join(self.lines)

    def wait_for(self, text: str, times: int = 1, seconds: float = STARTING_SECONDS) -> None:
        """Return when so many lines hold `text`."""

        def said() -> bool:
            return sum(text in line for line in self.lines) >= times

        with self._news:
            self._news.wait_for(lambda: said() or self._ended, seconds)
            assert said(), "".join(self.lines)

    def wait(self, seconds: float) -> int:
        """Exit status, once it has ended."""
        return self._process.wait(seconds)

    def end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """After everything that inherited its output has ended, too."""
        self._reader.join(ENDING_SECONDS)
        assert not self._reader.is_alive()
        self._process.stdout.close()


class Recorder:
    """Stands between SuperNodes and a SuperLink; keeps what passes, per connection and direction.

    Attributes:
        port: where SuperNodes connect to.
    """

    def __init__(self, superlink: int) -> None:
        self._superlink = superlink
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port = self._listener.getsockname()[1]
        self._kept: list[tuple[bytearray, bytearray]] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def take(self) -> tuple[bytes, bytes]:
        """What SuperNodes sent and what they received since this was last asked."""
        sent = b"\n".join(bytes(up) for up, _ in self._kept)
        received = b"\n".join(bytes(down) for _, down in self._kept)
        for up, down in self._kept:
            up.clear()
            down.clear()
        return sent, received

    def _accept(self) -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                node, _ = self._listener.accept()
                link = socket.create_connection((LOOPBACK, self._superlink))
                up, down = bytearray(), bytearray()
                self._kept.append((up, down))
                for ends in ((node, link, up), (link, node, down)):
                    thread = threading.Thread(target=self._pass_on, args=ends, daemon=True)
                    self._threads.append(thread)
                    thread.start()

    @staticmethod
    def _pass_on(source: socket.socket, sink: socket.socket, kept: bytearray) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                kept += data
                sink.sendall(data)
        # Both directions end with either: each socket is closed by the thread that reads it.
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)
        source.close()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(ENDING_SECONDS)
            assert not thread.is_alive()


class Deployment:
    """A SuperLink, SuperNodes that have joined it, and what crossed.

    Attributes:
        recorder: of all that SuperNodes and SuperLink say to each other.
    """

    def __init__(self, folder: Path, nodes: int) -> None:
        self._folder, self._home = folder, folder / "flwr"
        self._processes: list[Process] = []
        superlink = free_port()
        self.recorder = Recorder(superlink)
        try:
            self._home.mkdir()
            (self._home / "config.toml").write_text(
                '[superlink]\ndefault = "here"\n[superlink.here]\n'
                f'address = "{LOOPBACK}:{superlink}"\ninsecure = true\n'
            )
            link = self._start("flower-superlink", "--port", f"{superlink}")
            link.wait_for("Uvicorn running on")
            for node in range(nodes):
                self._start(
                    "flower-supernode", "--port", f"{free_port()}",
                    "--superlink", f"{LOOPBACK}:{self.recorder.port}",
                    "--node-config", f"partition-id={node} num-partitions={nodes}",
                )  # fmt: skip
            link.wait_for("Activated node_id", times=nodes)
        except BaseException:
            self.end()
            raise

    def run(self, app: Path, seconds: float, **config: object) -> str:
        """Submit an app and wait for its end; gives the ServerApp's log."""
        settings = " ".join(
            f"{name}='{value}'" if isinstance(value, str) else f"{name}={value}"
            for name, value in config.items()
        )
        log = self._flwr(["run", str(app), "--stream", "--run-config", settings], seconds)
        listed = self._flwr(["list", "--format", "json"], STARTING_SECONDS)
        last = json.loads(listed[listed.index("{") :])["runs"][0]
        assert last["status"] == "finished:completed", log
        return log

    def end(self) -> None:
        """End every process that was started here, directly or not."""
        for process in reversed(self._processes):
            process.end()
        for _ in range(10):
            # What a SuperNode left behind may have started one more meanwhile.
            if not (left := self.left()):
                break
            for pid in left:
                _kill(pid)
        for process in self._processes:
            process.close()
        self.recorder.close()

    def left(self) -> list[int]:
        """Living processes that inherited this deployment's FLWR_HOME."""
        setting = f"FLWR_HOME={self._home}\0".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):  # it has ended, or is another user's
                if setting in path.read_bytes():
                    found.append(int(path.parent.name))
        return found

    def _start(self, command: str, *options: str) -> Process:
        line = [str(BIN / command), "--insecure", "--host", LOOPBACK, *options]
        process = Process(line, self._environment, self._folder)
        self._processes.append(process)
        return process

    def _flwr(self, command: list[str], seconds: float) -> str:
        return subprocess.run(
            [str(BIN / "flwr"), *command],
            cwd=self._folder, env=self._environment, capture_output=True, text=True, check=True,
            timeout=seconds,
        ).stdout  # fmt: skip

    @property
    def _environment(self) -> dict[str, str]:
        return flower_environment(self._home)


def flower_environment(home: Path) -> dict[str, str]:
    """For Flower's commands: no calls home, no installs, and this checkout to import from."""
    return os.environ | {
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "OMP_NUM_THREADS": "1",
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(Path.cwd()),
    }


@contextmanager
def deployed(folder: Path, nodes: int) -> Iterator[Deployment]:
    """A deployment that is gone afterwards, whatever happens."""
    deployment = Deployment(folder, nodes)
    try:
        yield deployment
    finally:
        deployment.end()
        assert deployment.left() == []


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            select.select([handle], [], [], ENDING_SECONDS)
        finally:
            os.close(handle)
