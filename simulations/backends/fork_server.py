"""The process that worker processes are forked from: it imports what all of them need, once."""

import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from multiprocessing import forkserver, get_context
from multiprocessing.context import ForkServerContext
from types import ModuleType

PRELOADED = "simulations.backends.preloaded"
SITES = "simulations.sites"


def fork_server(preload: str = SITES) -> ForkServerContext:
    """Where workers are started.

    Args:
        preload: a module that workers will need beside Flower and torch, imported before the first
            of them is forked. Only what starts no thread and opens nothing may be named.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload([PRELOADED, preload])
    return context


def start_fork_server(preload: str = SITES) -> None:
    """Have it import, seconds' worth, while this process imports the same.

    What is set in the environment from then on, no worker sees.
    """
    fork_server(preload)
    forkserver.ensure_running()


@contextmanager
def script_left_alone(*arguments: object) -> Iterator[None]:
    """Processes started meanwhile do not run this process's script again, unless they need it.

    Python's own children import the script that started them, and so run all of it that no
    `if __name__ == "__main__":` guards. A worker needs it only if it is given something that the
    script defines.
    """
    with nullcontext() if b"__main__" in pickle.dumps(arguments) else _no_script():
        yield


@contextmanager
def _no_script() -> Iterator[None]:
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script
