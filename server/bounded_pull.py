"""Pulls of replies from a SuperLink that end in time, however a reply was sent.

A node first says what its reply consists of, and then sends the parts. Of a reply whose parts do
not come, because its node or the SuperLink was killed between two of them or because somebody
wants it so, flwr 1.41 waits for three minutes after the last part, two hours in all, and for no
other reply meanwhile: one site would hold up the federation for as long as it likes.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from flwr.superlink.grid import http_grid

PULL = "pull_objects"
"""What flwr's grid calls for the parts of a reply; it takes no time limit from us otherwise."""
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
    before = getattr(http_grid, PULL)

    def pull(*arguments: object, **options: object) -> dict[str, bytes]:
        seconds = max(least, deadline - time.monotonic())
        pulled: dict[str, bytes] = before(
            *arguments, max_time=seconds, backoff_cap=LONGEST_PAUSE, **options
        )
        return pulled

    setattr(http_grid, PULL, pull)
    try:
        yield
    finally:
        setattr(http_grid, PULL, before)
