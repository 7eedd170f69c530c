"""What the rows of each simulated site are like: how many, of which labels and groups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from federation.task import Codes, SiteRequest, Task
from simulations.partition.label_skew import LabelSkew, label_skew


@dataclass(frozen=True, slots=True)
class SiteProfiles:
    """Counts of rows; a row of each array is a site.

    Attributes:
        sites: their names.
        splits: train, reference and current rows, shape (sites, 3).
        classes: names of the labels.
        labels: rows of each class, shape (sites, classes).
        levels: per sensitive attribute, names of its groups.
        groups: per sensitive attribute, rows of each group, shape (sites, groups).
    """

    sites: tuple[str, ...]
    splits: Codes
    classes: tuple[str, ...]
    labels: Codes
    levels: Mapping[str, tuple[str, ...]]
    groups: Mapping[str, Codes]

    @property
    def rows(self) -> Codes:
        """Of each site, shape (sites,)."""
        rows: Codes = self.splits.sum(axis=1)
        return rows

    @property
    def skew(self) -> LabelSkew:
        """How far sites' labels are from those of all rows together."""
        return label_skew(self.labels)


def site_profiles(task: Task, sites: Sequence[str], seed: int) -> SiteProfiles:
    """The profiles of sites of a task, in this order.

    Args:
        task: that has rows for them.
        sites: their names.
        seed: of the split of each site's rows.

    Raises:
        DataError: as `Task.load`.
    """
    schema = task.schema
    levels = {one.name: tuple(one.groups) for one in schema.attributes}
    splits, labels = [], []
    groups: dict[str, list[Codes]] = {name: [] for name in levels}
    for site in sites:
        data = task.load(SiteRequest(site, seed))
        parts = (data.train, data.reference, data.current)
        splits.append([len(part) for part in parts])
        targets = np.concatenate([part.targets.numpy() for part in parts])
        labels.append(np.bincount(targets, minlength=len(schema.classes)))
        for name, known in levels.items():
            codes = np.concatenate([part.groups[name] for part in parts])
            groups[name].append(np.bincount(codes, minlength=len(known)))
    return SiteProfiles(
        tuple(sites),
        np.array(splits),
        schema.classes,
        np.array(labels),
        levels,
        {name: np.array(counted) for name, counted in groups.items()},
    )
