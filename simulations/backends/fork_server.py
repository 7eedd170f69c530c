"""The process that worker processes are forked from: it imports what all of them need, once."""

from multiprocessing import forkserver, get_context
from multiprocessing.context import ForkServerContext

PRELOADED = ["simulations.backends.embedded", "simulations.sites", "simulations.chunk_workers"]


def fork_server() -> ForkServerContext:
    """Where workers are started."""
    context = get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def start_fork_server() -> None:
    """Have it import, seconds' worth, while this process imports the same.

    What is set in the environment from then on, no worker sees.
    """
    fork_server()
    forkserver.ensure_running()
