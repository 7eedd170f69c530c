"""What a user writes to bring a model and data: the `Task` protocol and the rows it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from federation.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from federation.data_source import Source
    from federation.schema import TaskSchema

Codes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SiteRequest:
    """Which rows are wanted.

    Attributes:
        site: name of the site.
        split_seed: makes the split into train, reference and current rows repeatable.
        source: the site's own rows, all of them; None where the task has a table of its own.
    """

    site: str
    split_seed: int
    source: Source | None = None


@dataclass(frozen=True, slots=True)
class Rows:
    """N rows of one site.

    Attributes:
        inputs: model input, shape (N, ...), float32.
        targets: class index, shape (N,), int64.
        features: per schema feature, shape (N,), float64. Numeric: the value, NaN if missing.
            Categorical: the level's index, `len(levels)` for a level not declared, NaN if missing.
        groups: per sensitive attribute, index into `SensitiveAttribute.groups`, shape (N,), int64.
    """

    inputs: torch.Tensor
    targets: torch.Tensor
    features: Mapping[str, Floats]
    groups: Mapping[str, Codes]

    def __len__(self) -> int:
        return len(self.targets)


@dataclass(frozen=True, slots=True)
class SiteData:
    """A site's rows by what they may be used for; no row stands in two places.

    Attributes:
        train: what the model is fitted on. Nothing about these rows leaves the site except
            through the training mechanism.
        reference: held out, from the window that drift is measured against.
        current: held out, from the latest window.
    """

    train: Rows
    reference: Rows
    current: Rows


@runtime_checkable
class Task(Protocol):
    """A model, its loss and its data. `docs/bring-your-own.md` has a whole example."""

    @property
    def schema(self) -> TaskSchema:
        """Features, classes and sensitive attributes, declared in public."""
        ...

    @property
    def sites(self) -> tuple[str, ...]:
        """The sites a simulation has data for."""
        ...

    def build_model(self) -> nn.Module:
        """A fresh model; its initial parameters may depend on torch's seed alone."""
        ...

    def loss(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Loss per example, shape (B,); never a mean, so that each example can be clipped."""
        ...

    def probabilities(self, output: torch.Tensor) -> torch.Tensor:
        """Class probabilities, shape (N, classes), rows summing to 1."""
        ...

    def load(self, request: SiteRequest) -> SiteData:
        """One site's rows.

        Raises:
            DataError: the data is not what the schema promises; the text names column and
                expectation, never a value of a row.
        """
        ...


@runtime_checkable
class WindowedTask(Task, Protocol):
    """A task whose held-out rows fall into named windows of time, for `hedgerow evaluation run`."""

    @property
    def windows(self) -> tuple[str, ...]:
        """Names of the windows, in order of time."""
        ...

    def load_window(self, request: SiteRequest, window: str) -> Rows:
        """One site's rows of a window, without those that `load` gives for training.

        Raises:
            DataError: as `load`.
        """
        ...


UNLABELLED = -1
"""Stands where an annotator gave a row no label."""


@dataclass(frozen=True, slots=True)
class RowNotes:
    """What is known of the rows of one split beside what a model may see, row for row.

    Attributes:
        numbers: where each row stands in the table it was read from, from 1, shape (N,), int64.
        annotations: per annotator, class index or UNLABELLED, shape (N,), int64.
    """

    numbers: Codes
    annotations: Mapping[str, Codes]


@dataclass(frozen=True, slots=True)
class SiteNotes:
    """Of a site's rows, in the order in which `Task.load` gives them."""

    train: RowNotes
    reference: RowNotes
    current: RowNotes


@runtime_checkable
class AnnotatedTask(Task, Protocol):
    """A task that knows more of its rows: labels of several people, and where each row stands.

    For the site's own audit; nothing of it is trained on, counted in a run or sent anywhere.
    """

    def notes(self, request: SiteRequest) -> SiteNotes:
        """Of the rows that `load` gives for the same request, in the same order.

        Raises:
            DataError: a column is missing or holds no label; never tells a value of a row.
        """
        ...


@dataclass(frozen=True, slots=True)
class RowOrder:
    """Where the rows of one split stand in time, row for row.

    Attributes:
        numbers: where each row stands in the table it was read from, from 1, shape (N,), int64.
        windows: index into `WindowedTask.windows`, -1 if a row names none, shape (N,), int64; None
            where the task's rows are in no windows.
    """

    numbers: Codes
    windows: Codes | None


@dataclass(frozen=True, slots=True)
class SiteOrder:
    """Of a site's rows, in the order in which `Task.load` gives them."""

    train: RowOrder
    reference: RowOrder
    current: RowOrder


@runtime_checkable
class OrderedTask(Task, Protocol):
    """A task that knows in what order its rows were recorded, for simulations that need it."""

    def order(self, request: SiteRequest) -> SiteOrder:
        """Of the rows that `load` gives for the same request, in the same order.

        Raises:
            DataError: as `load`.
        """
        ...


REFERENCE, CURRENT = "reference", "current"
"""The windows that every task has: the held-out rows of `SiteData`."""


def window_names(task: Task) -> tuple[str, ...]:
    """The windows that can be evaluated, in order of time."""
    return task.windows if isinstance(task, WindowedTask) else (REFERENCE, CURRENT)


def held_out_rows(task: Task, request: SiteRequest, window: str) -> Rows:
    """One site's rows of a window, none of which is trained on.

    Args:
        task: whose rows.
        request: which site, and how its rows are split.
        window: one of `window_names(task)`, `reference` or `current`.

    Raises:
        ConfigError: there is no such window.
        DataError: as `Task.load`.
    """
    if isinstance(task, WindowedTask) and window in task.windows:
        return task.load_window(request, window)
    data = task.load(request)
    of_every_task = {REFERENCE: data.reference, CURRENT: data.current}
    if window not in of_every_task:
        known = dict.fromkeys((*window_names(task), *of_every_task))
        raise ConfigError("window", window, f"one of {', '.join(known)}")
    return of_every_task[window]


TaskFactory = Callable[..., Task]
