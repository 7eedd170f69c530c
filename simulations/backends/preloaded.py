"""What every worker process needs, imported once before the first of them is forked."""

import simulations.backends.worker_loop  # noqa: F401 - imported so that it is in memory
from simulations.backends.deferred_compiler import defer_compiler

defer_compiler()
