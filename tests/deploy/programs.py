"""Programs that check deployment files, where this machine has them; else tests skip."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def program(name: str) -> str:
    """Path of a program of .tools (`make tools`) or of the system; skips if there is none."""
    own = ROOT / ".tools" / "bin" / name
    path = os.pathsep.join((os.environ["PATH"], "/usr/sbin"))
    found = str(own) if own.is_file() else shutil.which(name, path=path)
    if found is None:
        pytest.skip(f"{name} is not installed: make tools, or Debian's package of it")
    return found


def run(*command: str | Path, **rest: object) -> subprocess.CompletedProcess[str]:
    """The finished process, with its output as text."""
    return subprocess.run(
        [str(one) for one in command],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        **rest,
    )
