"""Drift that a simulation makes: held-out rows changed from some window on, with the truth kept.

    covariate, resample   rows drawn anew with weight exp(strength * z(x)): P(x) changes and
                          P(y | x) stays, which is covariate shift (Shimodaira 2000)
    covariate, shift      x + strength * s, s the standard deviation of the site's reference rows;
                          labels stay with their rows, so P(y | x) changes, too
    label                 rows drawn anew with weight exp(strength) for one class, else 1: P(y)
                          changes and P(x | y) stays (Lipton et al. 2018, arXiv:1802.03916)
    concept               labels flipped with a chance within a region: P(y | x) changes there and
                          P(x) stays

z is the feature in standard deviations of the site's reference rows, or 1 for one level and 0 for
the others; so of a normal feature `resample` moves the mean by `strength` deviations, as `shift`
does. Sensitive groups stay with their rows. What is drawn depends on seed, site and window alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from federation.drift_choice import InjectedDrift
from federation.entropy import SeededEntropy
from federation.errors import ConfigError, DataError
from federation.injected_drift_record import InjectedChange, InjectedDriftRecord
from federation.schema import Categorical, Numeric, TaskSchema
from federation.simulation_choice import Simulation
from federation.table_columns import Flags, encode_inputs
from federation.task import (
    REFERENCE,
    Codes,
    Floats,
    Rows,
    SiteData,
    SiteRequest,
    Task,
    WindowedTask,
    held_out_rows,
    window_names,
)
from federation.wrapped_task import WrappedTask

REFERENCE_SHARE = 3
"""One in so many of the held-out rows is the reference, where they are dealt into windows."""


def drifting(task: Task, simulation: Simulation, seed: int) -> Task:
    """The task with its held-out rows as the simulation has them; itself where they stay.

    Args:
        task: whose rows.
        simulation: `windows` and `drift` of it.
        seed: of the run.

    Raises:
        ConfigError: a drift is of a feature, level or window that there is not.
    """
    if not simulation.windows and not simulation.drift:
        return task
    dealt: Task = _Dealt(task, simulation.windows, seed) if simulation.windows else task
    if not simulation.drift:
        return dealt
    for number, drift in enumerate(simulation.drift):
        _require_possible(f"simulation.drift.{number}", drift, dealt)
    return _Drifting(dealt, simulation.drift, seed)


def injected_truth(
    task: Task, drifts: Sequence[InjectedDrift], sites: Sequence[str]
) -> InjectedDriftRecord:
    """What is changed in which window.

    Args:
        task: as `drifting` made it.
        drifts: of the simulation.
        sites: of the federation.
    """
    windows = window_names(task)
    return InjectedDriftRecord(
        windows=windows,
        changes=tuple(
            InjectedChange(
                window=window,
                kind=drift.kind,
                how=drift.how,
                feature=drift.feature,
                level=drift.level,
                above=drift.above,
                strength=strength,
                sites=drift.sites or tuple(sites),
            )
            for window in windows
            for drift in drifts
            if (strength := strength_in(drift, windows, window))
        ),
    )


def strength_in(drift: InjectedDrift, windows: Sequence[str], window: str) -> float:
    """Strength of a drift in a window: 0 before it begins, then in equal steps up to all of it."""
    since = windows.index(window) - windows.index(drift.from_window)
    return drift.strength * min(max(since + 1, 0), drift.over_windows) / drift.over_windows


@dataclass(frozen=True)
class _Dealt(WrappedTask):
    """Held-out rows dealt at random into a reference and windows of equal size.

    Attributes:
        count: of windows.
        seed: of the run.
    """

    count: int
    seed: int

    @property
    def windows(self) -> tuple[str, ...]:
        """`window-001` and on."""
        return tuple(f"window-{number:03d}" for number in range(1, self.count + 1))

    def load(self, request: SiteRequest) -> SiteData:
        """The task's train rows, the dealt reference, and the last window as the current one."""
        data = self.task.load(request)
        reference, windows = self._deal(request, data)
        return SiteData(data.train, reference, windows[-1])

    def load_window(self, request: SiteRequest, window: str) -> Rows:
        """One window's share of the held-out rows."""
        _, windows = self._deal(request, self.task.load(request))
        return windows[self.windows.index(window)]

    def _deal(self, request: SiteRequest, data: SiteData) -> tuple[Rows, list[Rows]]:
        held_out = _concatenated(data.reference, data.current)
        order = _generator(self.seed, "windows", request.site).permutation(len(held_out))
        least = self.count + 1
        if len(held_out) < least:
            raise ConfigError(
                "simulation.windows",
                self.count,
                f"at most {len(held_out) - 1}: {request.site} holds out {len(held_out)} rows",
            )
        first = max(1, min(len(order) // REFERENCE_SHARE, len(order) - self.count))
        parts = np.array_split(order[first:], self.count)
        return _chosen(held_out, order[:first]), [_chosen(held_out, part) for part in parts]


@dataclass(frozen=True)
class _Drifting(WrappedTask):
    """Held-out rows changed from some window on.

    Attributes:
        drifts: applied in their order.
        seed: of the run.
    """

    drifts: tuple[InjectedDrift, ...]
    seed: int

    @property
    def windows(self) -> tuple[str, ...]:
        """As the task's, or reference and current."""
        return window_names(self.task)

    def load(self, request: SiteRequest) -> SiteData:
        """The task's rows, the current ones as changed in the last window."""
        data = self.task.load(request)
        current = self._changed(request, data.reference, data.current, self.windows[-1])
        return replace(data, current=current)

    def load_window(self, request: SiteRequest, window: str) -> Rows:
        """The task's rows of a window as they are changed in it."""
        rows = held_out_rows(self.task, request, window)
        if not any(strength_in(drift, self.windows, window) for drift in self.drifts):
            return rows
        return self._changed(request, self.task.load(request).reference, rows, window)

    def _changed(self, request: SiteRequest, reference: Rows, rows: Rows, window: str) -> Rows:
        for number, drift in enumerate(self.drifts):
            strength = strength_in(drift, self.windows, window)
            if not strength or (drift.sites and request.site not in drift.sites) or not len(rows):
                continue
            draws = _generator(self.seed, "drift", number, request.site, window)
            change = _CHANGES[drift.kind, drift.how]
            rows = change(_Change(drift, strength, self.schema, reference, draws), rows)
        return rows


@dataclass(frozen=True, slots=True)
class _Change:
    """One drift as it is in one window of one site."""

    drift: InjectedDrift
    strength: float
    schema: TaskSchema
    reference: Rows
    draws: np.random.Generator


def _resampled_by_feature(change: _Change, rows: Rows) -> Rows:
    return _drawn(rows, change.strength * _standardised(change, rows), change.draws)


def _resampled_by_label(change: _Change, rows: Rows) -> Rows:
    classes = change.schema.classes
    level = change.drift.level or classes[-1]
    is_it = rows.targets.numpy() == classes.index(level)
    return _drawn(rows, change.strength * is_it, change.draws)


def _shifted(change: _Change, rows: Rows) -> Rows:
    name = change.drift.feature
    _, deviation = _moments(change)
    if not deviation:
        raise DataError(
            f"simulation.drift: {name} is the same in all reference rows of a site, or missing; "
            "it cannot be shifted by standard deviations"
        )
    features = {**rows.features, name: rows.features[name] + change.strength * deviation}
    return replace(rows, features=features, inputs=encoded(features, rows, change.schema))


def _flipped(change: _Change, rows: Rows) -> Rows:
    targets = rows.targets.numpy()
    chosen = _region(change, rows) & (change.draws.random(len(targets)) < change.strength)
    others = change.draws.integers(1, len(change.schema.classes), len(targets))
    flipped = np.where(chosen, (targets + others) % len(change.schema.classes), targets)
    return replace(rows, targets=torch.from_numpy(flipped.astype(np.int64)))


_CHANGES: Mapping[tuple[str, str], Callable[[_Change, Rows], Rows]] = {
    ("covariate", "resample"): _resampled_by_feature,
    ("covariate", "shift"): _shifted,
    ("label", "resample"): _resampled_by_label,
    ("concept", "resample"): _flipped,
}


def encoded(features: Mapping[str, Floats], rows: Rows, schema: TaskSchema) -> Tensor:
    """The model's input for changed features of rows.

    Args:
        features: as changed.
        rows: before the change.
        schema: of the task.

    Raises:
        ConfigError: the task's input is not made of its schema's features alone, as
            `federation.tabular` makes it, so that nobody here knows what it would be.
    """
    made = encode_inputs(rows.features, schema.features).astype(np.float32)
    if not np.array_equal(made, rows.inputs.numpy()):
        raise ConfigError(
            "simulation",
            "a changed feature",
            "a task whose input is made of its features, as TabularTask does",
            "of drift, how = 'resample' works for any task; of a backdoor, positions do",
        )
    return torch.from_numpy(encode_inputs(features, schema.features).astype(np.float32))


def _standardised(change: _Change, rows: Rows) -> Floats:
    """Each row's z, shape (N,); 0 where the feature is missing."""
    feature = _feature(change.schema, change.drift.feature)
    values = rows.features[feature.name]
    if isinstance(feature, Categorical):
        return np.asarray(values == feature.levels.index(change.drift.level), dtype=np.float64)
    mean, deviation = _moments(change)
    scaled = (values - mean) / deviation if deviation else np.zeros(len(values))
    z: Floats = np.where(np.isnan(scaled), 0.0, scaled)
    return z


def _moments(change: _Change) -> tuple[float, float]:
    """Mean and standard deviation of the feature in the site's reference rows."""
    values = change.reference.features[change.drift.feature]
    known = values[~np.isnan(values)]
    return (float(known.mean()), float(known.std())) if len(known) else (0.0, 0.0)


def _region(change: _Change, rows: Rows) -> Flags:
    drift, schema = change.drift, change.schema
    if not drift.feature:
        return np.ones(len(rows), bool)
    for attribute in schema.attributes:
        if attribute.name == drift.feature:
            group: Codes = rows.groups[attribute.name]
            return np.asarray(group == attribute.groups.index(drift.level))
    feature = _feature(schema, drift.feature)
    values = rows.features[feature.name]
    if isinstance(feature, Categorical):
        return np.asarray(values == feature.levels.index(drift.level))
    assert drift.above is not None
    return np.asarray(values > drift.above)


def _drawn(rows: Rows, log_weights: Floats, draws: np.random.Generator) -> Rows:
    """As many rows, drawn from these with replacement."""
    weights = np.exp(log_weights - log_weights.max())
    return _chosen(rows, draws.choice(len(rows), len(rows), p=weights / weights.sum()))


def _chosen(rows: Rows, places: Codes) -> Rows:
    index = torch.from_numpy(np.ascontiguousarray(places))
    return Rows(
        rows.inputs[index],
        rows.targets[index],
        {name: values[places] for name, values in rows.features.items()},
        {name: codes[places] for name, codes in rows.groups.items()},
    )


def _concatenated(first: Rows, second: Rows) -> Rows:
    return Rows(
        torch.cat([first.inputs, second.inputs]),
        torch.cat([first.targets, second.targets]),
        {n: np.concatenate([v, second.features[n]]) for n, v in first.features.items()},
        {n: np.concatenate([v, second.groups[n]]) for n, v in first.groups.items()},
    )


def _generator(seed: int, *labels: str | int) -> np.random.Generator:
    entropy = SeededEntropy(seed).child("injected drift", *labels)
    return np.random.default_rng(int.from_bytes(entropy.bytes(16), "little"))


def _feature(schema: TaskSchema, name: str) -> Numeric | Categorical:
    return next(feature for feature in schema.features if feature.name == name)


def _require_possible(key: str, drift: InjectedDrift, task: Task) -> None:
    known = window_names(task)
    changed = known if isinstance(task, WindowedTask) and REFERENCE not in known else known[1:]
    _require_one_of(f"{key}.from_window", drift.from_window, changed)
    if drift.kind == "label":
        if drift.level:
            _require_one_of(f"{key}.level", drift.level, task.schema.classes)
        return
    if drift.feature:
        _require_possible_feature(key, drift, task.schema)


def _require_possible_feature(key: str, drift: InjectedDrift, schema: TaskSchema) -> None:
    features = {feature.name: feature for feature in schema.features}
    levels = {f.name: f.levels for f in schema.features if isinstance(f, Categorical)}
    if drift.kind == "concept":
        levels |= {attribute.name: attribute.groups for attribute in schema.attributes}
    _require_one_of(f"{key}.feature", drift.feature, tuple(dict.fromkeys([*features, *levels])))
    if drift.feature in levels:
        if drift.how == "shift":
            raise ConfigError(f"{key}.feature", drift.feature, "a numeric feature, to be shifted")
        _require_one_of(f"{key}.level", drift.level, levels[drift.feature])
    elif drift.kind == "concept" and drift.above is None:
        raise ConfigError(f"{key}.above", None, "a number, for the feature is numeric")


def _require_one_of(key: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ConfigError(key, value, f"one of {', '.join(known)}")
