"""Pulls of replies from a SuperLink that end in time, however a reply was sent.

A node first says what its reply consists of, and then sends the parts. Of a reply whose parts do
not come, because its node or the SuperLink was killed between two of them or because somebody
wants it so, flwr 1.41 waits for three minutes after the last part, two hours in all, and for no
other reply meanwhile: one site would hold up the federation for as long as it likes.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from flwr.superlink.grid import http_grid

LEAST_SECONDS = 10.0
"""For the parts of one reply, near the deadline and after it."""
LONGEST_PAUSE = 1.0
"""Seconds between two tries for a part that is not there yet."""


@contextmanager
def pulls_end(deadline: float, least: float = LEAST_SECONDS) -> Iterator[None]:
    """While the context lasts, the parts of a reply are waited for until then only.

    A reply that is not whole by then comes back as an error of its node, as flwr has it.

    Args:
        deadline: by time.monotonic().
        least: seconds that the parts of each reply are given at any rate.
    """
    before = http_grid.pull_objects

    def pull(*arguments: object, **options: object) -> dict[str, bytes]:
        seconds = max(least, deadline - time.monotonic())
        bounded = partial(before, max_time=seconds, backoff_cap=LONGEST_PAUSE)
        return bounded(*arguments, **options)  # type: ignore[arg-type]  # handed on as they came

    http_grid.pull_objects = pull
    try:
        yield
    finally:
        http_grid.pull_objects = before
