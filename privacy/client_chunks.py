"""Which clients are trained together: chunks that fit into memory, of batches of like length.

A client's last bits depend on the shape of the batches it is computed in, so chunks are made of
public numbers only, before anything is drawn, and in the same way for any number of workers.
"""

from collections.abc import Sequence
from itertools import pairwise

PARAMETER_BYTES = 48
"""Per parameter and client, in float32: where it is, how far it has moved, where it began,
velocity, correction, gradient, one product and the step (32), and the update in float64 (8); the
rest is what an allocator loses."""
NUMBER_BYTES = 16
"""Per number that a row passes through a model with: itself, its gradient, and both once more in
the layer at work, in float32."""

LARGEST_CHUNK = 64
"""Clients beyond which a processor gains nothing more from larger kernels and loses its caches."""
PROCESSOR_BYTES = 2**28


def chunk_size(
    parameters: int, longest_batch: int, numbers_per_row: int, memory: int = PROCESSOR_BYTES
) -> int:
    """How many clients fit into `memory` at once, at least 1.

    Args:
        parameters: of the model, >= 1.
        longest_batch: rows of the largest batch that is expected, >= 1.
        numbers_per_row: inputs and outputs of all layers for one row, >= 1
            (`privacy.batchable.row_cost`).
        memory: bytes.

    Raises:
        ValueError: a bound above is broken.
    """
    if min(parameters, longest_batch, numbers_per_row, memory) < 1:
        raise ValueError(
            f"expected numbers >= 1: {parameters=}, {longest_batch=}, {numbers_per_row=}, {memory=}"
        )
    client = PARAMETER_BYTES * parameters + NUMBER_BYTES * longest_batch * numbers_per_row
    return max(1, memory // client)


def client_chunks(batch_sizes: Sequence[float], size: int) -> list[list[int]]:
    """Places of clients, in chunks of `size` or fewer, the longest batches first.

    Args:
        batch_sizes: expected rows of each client's batches: public rows times sampling rate.
        size: >= 1.

    Returns:
        chunks as even as they can be; every place in one of them.

    Raises:
        ValueError: the size is below 1.

    >>> client_chunks([10.0, 30.0, 20.0], 2)
    [[1, 2], [0]]
    """
    if size < 1:
        raise ValueError(f"size = {size}: expected at least 1")
    order = sorted(range(len(batch_sizes)), key=lambda at: -batch_sizes[at])
    count = -(-len(order) // size)
    ends = [round(len(order) * number / max(count, 1)) for number in range(count + 1)]
    return [order[begin:end] for begin, end in pairwise(ends)]
