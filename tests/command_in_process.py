"""The command `hedgerow` without a process of its own, which would import all anew."""

import contextlib
import gc
import io
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import hedgerow as hedgerow_command


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it said on its two ways out."""

    code: int
    out: str
    err: str


def ended(folder: Path, *words: object) -> Ended:
    """The command as it ends when it is typed in a folder; signals stay the test runner's."""
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", ["hedgerow", *map(str, words)])
        patch.setattr(hedgerow_command.signal, "signal", lambda *_: None)
        patch.setenv("COLUMNS", "300")
        with pytest.raises(SystemExit) as exit_:
            hedgerow_command.main()
    gc.collect()  # an agent holds its home's lock until it is gone
    return Ended(int(exit_.value.code or 0), out.getvalue(), err.getvalue())


def hedgerow(folder: Path, *words: object, code: int = 0) -> str:
    """All that it said, if it ended with this code."""
    how = ended(folder, *words)
    assert how.code == code, how.out + how.err
    return how.out + how.err
