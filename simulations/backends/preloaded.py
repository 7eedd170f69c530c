"""What every worker process needs, imported once before the first of them is forked."""

import gc
import os

# An import makes objects that stay: looking for garbage among them takes an eighth of its time, and
# looking through them in a worker would copy every page that workers share.
gc.disable()
os.register_at_fork(before=gc.freeze, after_in_child=gc.enable)

from simulations.backends.deferred_compiler import defer_compiler  # noqa: E402 - see above

defer_compiler()

import simulations.backends.worker_loop  # noqa: E402, F401 - imported so that it is in memory
