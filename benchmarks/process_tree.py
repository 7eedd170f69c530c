"""What a process and all below it use, and what else runs on the machine, read from /proc."""

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Mark:
    """A moment.

    Attributes:
        wall: seconds of the machine's monotonic clock, the same for all processes.
        tree: CPU seconds that the process and all below it have used.
        machine: CPU seconds that were not idle, of all processors; those that a hypervisor gave to
            others are among them.
        reading: wall and CPU seconds that it took to read all this, which belong to nobody's work.
    """

    wall: float
    tree: float
    machine: float
    reading: tuple[float, float] = (0.0, 0.0)


def mark() -> Mark:
    """Now, for this process and all below it."""
    wall, own = time.monotonic(), time.process_time()
    tree, machine = own + cpu_of_others(), busy_seconds()
    return Mark(wall, tree, machine, (time.monotonic() - wall, time.process_time() - own))


def family(root: int) -> dict[int, list[str]]:
    """Per process of the tree, the fields of its `stat` from the state on."""
    all_fields: dict[int, list[str]] = {}
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 - a path object for each costs more
        if entry.isdigit():
            try:
                text = Path(f"/proc/{entry}/stat").read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            fields = text.rpartition(")")[2].split()
            all_fields[int(entry)] = fields
            children.setdefault(int(fields[1]), []).append(int(entry))
    found, open_ = {}, [root]
    while open_:
        process = open_.pop()
        if process in all_fields:
            found[process] = all_fields[process]
            open_ += children.get(process, [])
    return found


def cpu_of_others() -> float:
    """CPU seconds of all processes below this one, and of those of them that have ended."""
    # utime, stime, cutime, cstime: fields 14 to 17 of proc(5), the state being field 3. They count
    # in hundredths of a second; this process itself has a finer clock.
    tree = family(os.getpid())
    own = tree.pop(os.getpid())
    ticks = sum(map(int, own[13:15])) + sum(sum(map(int, one[11:15])) for one in tree.values())
    return ticks / TICKS


def busy_seconds() -> float:
    """CPU seconds, of all processors, in which the machine was not idle."""
    first = Path("/proc/stat").read_text(encoding="utf-8").splitlines()[0].split()[1:9]
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, first)
    return (user + nice + system + irq + softirq + steal) / TICKS


def proportional_set_size(root: int) -> float:
    """Memory of a process and all below it, MiB; what several share is counted once."""
    total = 0.0
    for process in family(root):
        try:
            rollup = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8")
        except OSError:
            continue
        found = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
        total += int(found[1]) / 1024 if found else 0.0
    return total


def control_loop(seconds: float = 0.2) -> float:
    """Wall over CPU seconds of one busy thread: 1 on a machine with a processor to spare."""
    wall, cpu = time.monotonic(), time.thread_time()
    while time.thread_time() - cpu < seconds:
        sum(range(2000))
    return (time.monotonic() - wall) / (time.thread_time() - cpu)
