"""The references in docs/ say what the code says."""

import os
import subprocess
import sys


def test_they_are_as_make_docs_would_write_them() -> None:
    done = subprocess.run(
        [sys.executable, "docs/write_reference.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": "."},
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}run: make docs"
