"""Plays a federation in processes that kill themselves (SIGKILL) while sites write, and goes on.

`python killed_run.py FOLDER STEP`: the first process dies at the STEP-th statement that any site's
ledger or journal is asked to run, the next one goes on with the run and dies at its 2 STEP-th, and
so on until a process lives to the end. After each, one line of JSON: per site, how many rounds'
vectors were handed to the coordinator so far, and how many charges stand in the ledger.
"""

import json
import os
import signal
import sqlite3
import sys
from pathlib import Path

import torch
from federation_in_process import Federation

from client.site_home import SiteHome
from federation.envelope import Phase
from federation.run_folder import RunFolder
from privacy.ledger import verify

MOST_PROCESSES = 400


def main(folder: Path, step: int) -> None:
    """Kill until the run is over."""
    torch.set_num_threads(1)
    federation = Federation(folder)
    sent = folder / "sent"
    sent.touch()
    for number in range(1, MOST_PROCESSES):
        child = os.fork()
        if child == 0:
            play_until(federation, sent, number * step)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        told = {"killed": killed, "status": status, "sites": counts(federation.folder, sent)}
        sys.stdout.write(json.dumps(told | {"folder": str(federation.folder.path)}) + "\n")
        sys.stdout.flush()
        if not killed:
            return


def play_until(federation: Federation, sent: Path, statements: int) -> None:
    """Go on with the run, and die as the sites' files are asked to run one more statement."""
    left = statements
    connect = sqlite3.connect

    def watch(_: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def watched(*args, **kwargs):
        db = connect(*args, **kwargs)
        db.set_trace_callback(watch)
        return db

    sqlite3.connect = watched
    line = federation.transport()

    def note(node: int, request, reply: bytes) -> bytes:
        asked = [request] if request.rider is None else [request, request.rider]
        for one in asked:
            if one.phase is Phase.TRAIN and one.round <= federation.config.run.rounds:
                descriptor = os.open(sent, os.O_WRONLY | os.O_APPEND)
                os.write(descriptor, f"{node} {one.round}\n".encode())
                os.close(descriptor)
        return reply

    line.alter = note
    federation.play(line)


def counts(folder: RunFolder, sent: Path) -> dict[str, dict[str, int]]:
    """Per site: rounds whose vector left, and charges that stand."""
    rounds = {tuple(map(int, line.split())) for line in sent.read_text().splitlines()}
    told = {}
    for node, home in enumerate(sorted((folder.path / "sites").iterdir())):
        key = SiteHome(home).read_identity().public_key()
        kinds = [entry.kind for entry in verify(folder.ledger(home.name), key)]
        told[home.name] = {
            "sent": sum(at == node for at, _ in rounds),
            "reserved": kinds.count("reserve") - kinds.count("void"),
            "committed": kinds.count("commit"),
        }
    return told


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
