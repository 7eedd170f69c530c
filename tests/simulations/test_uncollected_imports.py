"""In a process of its own, whose modules and whose garbage are known."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = """
import gc
from simulations.backends.uncollected_imports import uncollected_imports

def imported():
    with uncollected_imports():
        assert not gc.isenabled()
        import decimal, statistics
    return gc.get_freeze_count()

first = imported()
print(first > 0, gc.isenabled(), imported() == first)
gc.disable()
imported()
print(gc.isenabled())
"""


def test_what_is_imported_is_never_searched_and_nothing_else_is_kept() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "True", "True", "False"]
