"""A task whose sites are those of a partition: the same model, loss and schema, other rows."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from federation.errors import ConfigError, DataError
from federation.task import (
    CURRENT,
    REFERENCE,
    Codes,
    Rows,
    SiteData,
    SiteRequest,
    WindowedTask,
)
from federation.wrapped_task import WrappedTask
from simulations.partition.partition import Partition
from simulations.partition.row_pool import RowPool, chosen_rows, stretch


@dataclass(frozen=True, eq=False)
class PartitionedTask(WrappedTask):
    """A task that serves a partitioned pool.

    The pool is in memory once, whatever the number of sites; a site's rows are copied out of it
    when they are asked for. Requests' `split_seed` moves nothing, for the partition has the splits.

    Attributes:
        pool: the task's rows.
        partition: of that pool.
        input_noise: variance of Gaussian noise on the last site's inputs; the k-th of n sites has
            k / n of it (Li et al. 2022, arXiv:2102.02079).
    """

    pool: RowPool
    partition: Partition
    input_noise: float = 0.0

    @property
    def sites(self) -> tuple[str, ...]:
        """Those of the partition."""
        return self.partition.sites

    @cached_property
    def windows(self) -> tuple[str, ...]:
        """The task's, where each row's is known; else reference and current."""
        if self.pool.windows is None or not isinstance(self.task, WindowedTask):
            return (REFERENCE, CURRENT)
        return self.task.windows

    def load(self, request: SiteRequest) -> SiteData:
        """One site's share of the pool.

        Raises:
            DataError: the partition has no such site.
        """
        parts = self._rows_of(request.site)
        # Copied out once and then cut, for a simulation of thousands of sites does it as often.
        taken = self._taken(request.site, np.concatenate(parts))
        ends = np.cumsum([0, *map(len, parts)]).tolist()
        return SiteData(*(stretch(taken, *bounds) for bounds in pairwise(ends)))

    def load_window(self, request: SiteRequest, window: str) -> Rows:
        """One site's held-out rows of a window.

        Raises:
            ConfigError: there is no such window.
            DataError: as `load`.
        """
        _, reference, current = self._rows_of(request.site)
        if window not in self.windows:
            raise ConfigError("window", window, f"one of {', '.join(self.windows)}")
        if self.pool.windows is None:
            return self._taken(request.site, reference if window == REFERENCE else current)
        held_out = np.concatenate([reference, current])
        asked = self.pool.windows[held_out] == self.windows.index(window)
        return self._taken(request.site, held_out[asked])

    def _rows_of(self, site: str) -> tuple[Codes, Codes, Codes]:
        try:
            return self.partition.of(site)
        except KeyError:
            raise DataError(f"the partition has no rows for a site {site}") from None

    def _taken(self, site: str, chosen: Codes) -> Rows:
        rows = chosen_rows(self.pool.rows, chosen)
        if not self.input_noise:
            return rows
        variance = self.input_noise * self.partition.place(site) / len(self.sites)
        return Rows(
            rows.inputs + self._noise[torch.from_numpy(chosen)] * variance**0.5,
            rows.targets,
            rows.features,
            rows.groups,
        )

    @cached_property
    def _noise(self) -> Tensor:
        """Standard normal, of the shape of the pool's inputs: whoever asks, a row has its own."""
        shape = tuple(self.pool.rows.inputs.shape)
        seed = hashlib.sha256(b"input noise/" + self.partition.rows.astype("<i8").tobytes())
        generator = np.random.default_rng(int.from_bytes(seed.digest()[:8], "little"))
        return torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))
