"""All rows of a task in one place and in one order, as no site and no coordinator ever has them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from federation.task import Codes, OrderedTask, RowOrder, Rows, SiteRequest, Task

POOL_SEED = 0
"""Splits the task's own sites, whose splits are then put together again: any seed would do."""

OrderedBy = Literal["windows", "table", "sites"]


@dataclass(frozen=True, slots=True)
class RowPool:
    """The train, reference and current rows of all of a task's own sites.

    Attributes:
        rows: in the order of the task's table, or site by site where the task knows no order.
        windows: index into the task's windows, -1 if a row names none, shape (N,); None where rows
            are in no windows.
        ordered_by: what order of time there is: windows and the table within them, the table's
            alone, or none but that of the sites.
    """

    rows: Rows
    windows: Codes | None
    ordered_by: OrderedBy

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> Codes:
        """Class of each row, shape (N,)."""
        labels: Codes = self.rows.targets.numpy()
        return labels

    @property
    def strata(self) -> tuple[Codes, ...]:
        """What splits shall be alike in: labels first, then each sensitive attribute."""
        return (self.labels, *self.rows.groups.values())

    @property
    def in_time(self) -> Codes:
        """Indices of rows, the earliest first, shape (N,)."""
        if self.windows is None:
            return np.arange(len(self))
        return np.argsort(self.windows, kind="stable")

    def digest(self) -> str:
        """SHA-256 over each row's label and groups: whether a partition was made for these rows.

        Features are left out: their last bits may differ between machines.
        """
        told = hashlib.sha256(len(self).to_bytes(8, "little"))
        for stratum in self.strata:
            told.update(np.ascontiguousarray(stratum, "<i8").tobytes())
        return told.hexdigest()


def row_pool(task: Task) -> RowPool:
    """The rows of all of a task's own sites.

    Raises:
        DataError: as `Task.load`.
    """
    requests = [SiteRequest(site, POOL_SEED) for site in task.sites]
    loaded = [task.load(one) for one in requests]
    rows = _joined([part for one in loaded for part in (one.train, one.reference, one.current)])
    if not isinstance(task, OrderedTask):
        return RowPool(rows, None, "sites")
    known = [task.order(one) for one in requests]
    orders = [part for one in known for part in (one.train, one.reference, one.current)]
    in_table = np.argsort(np.concatenate([part.numbers for part in orders]), kind="stable")
    windows = _windows(orders)
    if windows is None:
        return RowPool(chosen_rows(rows, in_table), None, "table")
    return RowPool(chosen_rows(rows, in_table), windows[in_table], "windows")


def chosen_rows(rows: Rows, chosen: Codes) -> Rows:
    """The rows with these indices, in this order; a copy."""
    places = torch.from_numpy(chosen)
    return Rows(
        rows.inputs[places],
        rows.targets[places],
        {name: values[chosen] for name, values in rows.features.items()},
        {name: codes[chosen] for name, codes in rows.groups.items()},
    )


def stretch(rows: Rows, begin: int, end: int) -> Rows:
    """The rows from `begin` to before `end`; a view."""
    return Rows(
        rows.inputs[begin:end],
        rows.targets[begin:end],
        {name: values[begin:end] for name, values in rows.features.items()},
        {name: codes[begin:end] for name, codes in rows.groups.items()},
    )


def _joined(parts: Sequence[Rows]) -> Rows:
    return Rows(
        torch.cat([part.inputs for part in parts]),
        torch.cat([part.targets for part in parts]),
        {n: np.concatenate([part.features[n] for part in parts]) for n in parts[0].features},
        {n: np.concatenate([part.groups[n] for part in parts]) for n in parts[0].groups},
    )


def _windows(orders: Sequence[RowOrder]) -> Codes | None:
    known = [part.windows for part in orders if part.windows is not None]
    return np.concatenate(known) if len(known) == len(orders) else None
