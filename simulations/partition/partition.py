"""Which rows each simulated site trains on, and which it holds out."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from federation.task import Codes
from simulations.partition.stratified_split import SPLITS


@dataclass(frozen=True)
class Partition:
    """Rows of a pool, by site and split.

    Attributes:
        sites: their names.
        rows: indices into the pool, site after site and in each site train, reference and current
            rows, each of them in rising order, int64.
        lengths: how many train, reference and current rows each site has, shape (sites, 3), int64.
    """

    sites: tuple[str, ...]
    rows: Codes
    lengths: Codes

    def of(self, site: str) -> tuple[Codes, Codes, Codes]:
        """The train, reference and current rows of a site.

        Raises:
            KeyError: there is no such site.
        """
        at = self._index[site]
        begin, reference, current, end = self._bounds[SPLITS * at : SPLITS * (at + 1) + 1]
        rows = self.rows
        return rows[begin:reference], rows[reference:current], rows[current:end]

    def place(self, site: str) -> int:
        """Which of the sites it is, from 1.

        Raises:
            KeyError: there is no such site.
        """
        return self._index[site] + 1

    @cached_property
    def _index(self) -> dict[str, int]:
        return {site: index for index, site in enumerate(self.sites)}

    @cached_property
    def _bounds(self) -> Codes:
        return np.concatenate([[0], np.cumsum(self.lengths.ravel())])
