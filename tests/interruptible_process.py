"""A Python process that Ctrl-C ends, though whoever runs the tests may ignore it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def started(
    folder: Path | None, *words: object, also: tuple[Path, ...] = (), both_ways_out: bool = False
) -> "subprocess.Popen[str]":
    """Python started with these words, in a session of its own.

    What a shell starts in the background ignores Ctrl-C, and that is inherited; where there is a
    handler, a new program begins with the default.

    Args:
        folder: it works in; None for this one.
        words: of the command line, after the interpreter's name.
        also: folders to import from, besides the repository's.
        both_ways_out: what it says on stderr comes with its stdout.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            [sys.executable, *map(str, words)],
            cwd=folder,
            env=os.environ
            | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, *also))), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if both_ways_out else subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)
