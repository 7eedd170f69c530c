"""Poisson batches of many clients side by side, each client's those that it would draw alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from privacy.poisson_sampling import Draws, poisson_samples

Indices = npt.NDArray[np.int64]

COINS_AT_ONCE = 2**20
"""Drawn for several steps in one go; eight bytes each, and a padded index takes no more."""


@dataclass(frozen=True, slots=True)
class PaddedBatches:
    """The batches of one step of the K clients that take it, padded to the longest, B rows.

    A client's padding is its own first row of the batch, so that numbers that are not finite stay
    with the client that has them; without a row in the batch, any row.

    Attributes:
        rows: where each lies among the rows of all clients, one client's after the other's, shape
            (K, B), int64.
        sizes: of the batches without padding, shape (K,), int64.
    """

    rows: Tensor
    sizes: Tensor

    @property
    def present(self) -> Tensor:
        """What is no padding, shape (K, B), bool."""
        return torch.arange(self.rows.shape[1]) < self.sizes[:, None]


def padded_batches(clients: Sequence[Draws]) -> Iterator[PaddedBatches]:
    """Step by step the batches of the clients that still have one.

    Args:
        clients: those with most batches first; at least one, and one batch at least of each.
    """
    window = max(1, COINS_AT_ONCE // max(1, sum(one.rows for one in clients)))
    if clients[0].batches <= window:
        yield from _side_by_side(clients)
        return
    for done in range(0, clients[0].batches, window):
        left = [replace(one, batches=min(window, one.batches - done)) for one in clients]
        yield from _side_by_side([one for one in left if one.batches > 0])


def _side_by_side(draws: Sequence[Draws]) -> Iterator[PaddedBatches]:
    rows, in_turn = poisson_samples(draws)
    counts = np.array([one.batches for one in draws])
    steps, clients, longest = int(counts[0]), len(draws), max(1, int(in_turn.max()))
    begins = np.cumsum(in_turn) - in_turn
    firsts = rows[np.minimum(begins, len(rows) - 1)] if len(rows) else begins
    # Where each batch goes in a table of clients, steps and places.
    spot = np.repeat(steps * np.arange(clients), counts) + _counted(counts)
    table = np.zeros((clients * steps, longest), np.int64)
    table[spot] = firsts[:, None]
    table.ravel()[np.repeat(longest * spot - begins, in_turn) + np.arange(len(rows))] = rows
    sizes = np.zeros(clients * steps, np.int64)
    sizes[spot] = in_turn
    index, known = torch.from_numpy(table), torch.from_numpy(sizes).view(clients, steps)
    index = index.view(clients, steps, longest)
    for number, widest in enumerate(known.amax(dim=0).tolist()):
        active = int(np.count_nonzero(counts > number))
        yield PaddedBatches(index[:active, number, :widest], known[:active, number])


def _counted(counts: Indices) -> Indices:
    """0, 1, ..., up to each count, one after the other: 2, 3 give 0, 1, 0, 1, 2."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
