"""A worker of a sweep: plays one run after the other in a process of its own.

Started as `python -m simulations.sweep.worker SWEEP`. Orders come as JSON lines on the standard
input; its end is the order to stop, and the kernel gives it even when the sweep was killed. What is
told goes, as JSON lines, to what was the standard output. A run that has begun goes on; one whose
preparation was cut off begins anew.
"""

import json
import os
import queue
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from federation import config_file
from federation.errors import HedgerowError, Interrupted, StorageError
from federation.run_folder import RunFolder
from simulations.backends.fork_server import start_fork_server
from simulations.offline import go_offline
from simulations.sweep.folder import SweepFolder, run_name
from simulations.sweep.outcome import Outcome, charged, outcome
from simulations.sweep.plan import PlannedTrial, SweepPlan

if TYPE_CHECKING:
    from server.rounds import Progress
    from simulations.run_control import ReadyRun

Tell = Callable[[dict[str, object]], None]


def main() -> int:
    """Serve until the standard input ends."""
    told = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print goes to the log
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the sweep's to handle
    signal.signal(signal.SIGTERM, _stop)
    orders: queue.SimpleQueue[str] = queue.SimpleQueue()
    try:
        threading.Thread(target=_listen, args=(sys.stdin, orders), daemon=True).start()
        _serve(SweepFolder(Path(sys.argv[1])), orders, lambda what: _tell(told, what))
    except KeyboardInterrupt:
        return Interrupted.exit_code
    return 0


def _serve(folder: SweepFolder, orders: "queue.SimpleQueue[str]", tell: Tell) -> None:
    go_offline()
    start_fork_server()
    import torch  # noqa: PLC0415 - after the fork server has begun to import the same

    torch.set_num_threads(1)
    plan = folder.read_plan()
    trials = {trial.number: trial for trial in plan.trials}
    while True:
        order = json.loads(orders.get())
        trial, seed = trials[order["trial"]], int(order["seed"])
        name = run_name(trial.number, seed)
        try:
            run = _ready(folder, plan, trial, seed)
            if order["do"] == "play":
                _play(run, folder, trial, seed, tell)
        except StorageError:
            raise  # the disk's refusal is no property of the run: it is tried again
        except HedgerowError as error:
            if order["do"] == "play":
                folder.write_outcome(_refused(folder, trial, seed, str(error)))
            tell({"refused": name, "reason": str(error), "exit_code": error.exit_code})
        else:
            tell({"done": name})


def _ready(folder: SweepFolder, plan: SweepPlan, trial: PlannedTrial, seed: int) -> "ReadyRun":
    from simulations.run_control import go_on, start  # noqa: PLC0415 - imports torch

    home = folder.runs(run_name(trial.number, seed))
    home.mkdir(mode=0o700, exist_ok=True)
    for begun in sorted(home.iterdir()):
        if (begun / "config.toml").is_file():
            run = RunFolder.open(begun)
            return go_on(run, config_file.read(run.config))
        shutil.rmtree(begun)  # it was being prepared when the sweep was killed
    return start(plan.config(trial, seed), Path(plan.file) if plan.file else None, home)


def _play(run: "ReadyRun", folder: SweepFolder, trial: PlannedTrial, seed: int, tell: Tell) -> None:
    name = run_name(trial.number, seed)

    def observe(told: "Progress") -> None:
        tell({"run": name, "round": told.record.round.round, "of": run.config.run.rounds})

    summary = run.play(observe)
    folder.write_outcome(outcome(name, trial.number, seed, summary, run.folder))


def _refused(folder: SweepFolder, trial: PlannedTrial, seed: int, reason: str) -> Outcome:
    """What a run was charged before it was refused stays charged."""
    return unfinished(folder, trial.number, seed, reason, is_final=True)


def unfinished(
    folder: SweepFolder, trial: int, seed: int, reason: str, *, is_final: bool
) -> Outcome:
    """The outcome of a run that did not come to an end, with what its ledgers say was charged.

    Args:
        folder: of the sweep.
        trial: its number.
        seed: of the run.
        reason: for people.
        is_final: whether a further try would end alike.
    """
    from privacy.event import to_plain  # noqa: PLC0415 - scipy only where it is needed

    name = run_name(trial, seed)
    found = [one.parent for one in sorted(folder.runs(name).glob("*/config.toml"))]
    charge = None
    if found:
        run = RunFolder(found[0])
        sites = config_file.read(run.config).federation.sites
        charge = charged(run, sites)
    return Outcome(
        run=name,
        trial=trial,
        seed=seed,
        status="refused" if is_final else "crashed",
        reason=reason,
        charge=()
        if not found
        else None
        if charge is None
        else tuple(to_plain(event) for event in charge),
    )


def _tell(told: TextIO, what: dict[str, object]) -> None:
    told.write(json.dumps(what) + "\n")
    told.flush()


def _listen(orders: TextIO, heard: "queue.SimpleQueue[str]") -> None:
    for line in orders:
        heard.put(line)
    os.kill(os.getpid(), signal.SIGTERM)


def _stop(number: int, _: object) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
