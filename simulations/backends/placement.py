"""Which worker plays which node: longest processing time first, fixed for the whole run.

Graham 1969, "Bounds on multiprocessing timing anomalies": giving the longest job that is left to
the worker with the least to do ends at most 4/3 - 1/(3 workers) times later than the best plan.
"""

import heapq
from collections.abc import Hashable, Sequence


def longest_first(
    costs: Sequence[float], workers: int, groups: Sequence[Hashable] | None = None
) -> tuple[int, ...]:
    """The worker, in [0, workers), of every node; the same for the same arguments.

    Args:
        costs: of a round at each node, in any unit, finite and >= 0; its rows, if nothing better
            is known. Equal costs put node k on worker k % workers.
        workers: >= 1.
        groups: per node the name of the group that it belongs to; a group stays together. Without
            it every node is a group of its own.

    Raises:
        ValueError: a bound above is broken, or there is not one group per node.

    >>> longest_first([10, 50, 20, 30], workers=2)
    (1, 0, 1, 1)
    >>> longest_first([10, 50, 20, 30], workers=2, groups=["a", "a", "b", "b"])
    (0, 0, 1, 1)
    """
    names: Sequence[Hashable] = range(len(costs)) if groups is None else groups
    if workers < 1 or len(names) != len(costs):
        raise ValueError("expected at least one worker, and one group per node")
    if not all(0 <= cost < float("inf") for cost in costs):
        raise ValueError("costs: expected finite numbers >= 0")
    burdens: dict[Hashable, float] = {}
    for name, cost in zip(names, costs, strict=True):
        burdens[name] = burdens.get(name, 0.0) + cost
    # The sort is stable and so groups of equal cost go out in the order of their first nodes.
    idlest = [(0.0, 0, worker) for worker in range(workers)]
    placed: dict[Hashable, int] = {}
    for name in sorted(burdens, key=lambda name: -burdens[name]):
        load, held, worker = idlest[0]
        placed[name] = worker
        # Where nothing costs anything, the number of groups keeps the workers even.
        heapq.heapreplace(idlest, (load + burdens[name], held + 1, worker))
    return tuple(placed[name] for name in names)
