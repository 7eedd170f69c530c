"""How a partition looks on a terminal, and as JSON."""

from collections.abc import Iterator, Sequence

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from federation.summary import PartitionFacts
from federation.task import Codes, Floats
from simulations.partition.site_profiles import SiteProfiles

SPLITS = ("train", "reference", "current")


def print_profiles(facts: PartitionFacts | None, profiles: SiteProfiles, most: int) -> None:
    """Tables of the first `most` sites, then how all sites differ."""
    console = Console(highlight=False)
    console.print("the task's own sites" if facts is None else facts.text)
    if facts is not None:
        console.print(f"partition.npz has sha256 {facts.sha256}", soft_wrap=True)
    console.print(_rows(profiles, most))
    console.print(_labels(profiles, most))
    for attribute, levels in profiles.levels.items():
        console.print(_groups(profiles, attribute, levels, most))
    if len(profiles.sites) > most:
        console.print(f"the first {most} of {len(profiles.sites):,} sites; --most lists more")
    for line in _differences(profiles):
        console.print(line)


def as_table(facts: PartitionFacts | None, profiles: SiteProfiles) -> dict[str, object]:
    """All counts of all sites, and how far each site's labels are from those of all rows."""
    skew = profiles.skew
    return {
        "partition": None if facts is None else facts.model_dump(mode="json"),
        "classes": profiles.classes,
        "groups": profiles.levels,
        "sites": {
            site: {
                **dict(zip(SPLITS, profiles.splits[at].tolist(), strict=True)),
                "labels": profiles.labels[at].tolist(),
                "groups": {name: of[at].tolist() for name, of in profiles.groups.items()},
                "total_variation": float(skew.total_variation[at]),
                "total_variation_by_chance": float(skew.by_chance[at]),
                "jensen_shannon": float(skew.jensen_shannon[at]),
            }
            for at, site in enumerate(profiles.sites)
        },
    }


def _rows(profiles: SiteProfiles, most: int) -> Table:
    table = _table("rows", "site", "all", *SPLITS)
    for at, site in enumerate(profiles.sites[:most]):
        table.add_row(site, *map(_count, (profiles.rows[at], *profiles.splits[at])))
    table.add_section()
    table.add_row("all", *map(_count, (profiles.rows.sum(), *profiles.splits.sum(axis=0))))
    return table


def _labels(profiles: SiteProfiles, most: int) -> Table:
    distance = profiles.skew.total_variation
    table = _table("labels, % of rows", "site", *profiles.classes, "distance")
    for at, site in enumerate(profiles.sites[:most]):
        table.add_row(site, *_shares(profiles.labels[at]), f"{distance[at]:.2f}")
    table.add_section()
    table.add_row("all", *_shares(profiles.labels.sum(axis=0)), "")
    return table


def _groups(profiles: SiteProfiles, attribute: str, levels: Sequence[str], most: int) -> Table:
    counts = profiles.groups[attribute]
    table = _table(f"groups of {attribute}, % of rows", "site", *levels)
    for at, site in enumerate(profiles.sites[:most]):
        table.add_row(site, *_shares(counts[at]))
    table.add_section()
    table.add_row("all", *_shares(counts.sum(axis=0)))
    return table


def _differences(profiles: SiteProfiles) -> Iterator[str]:
    skew, rows = profiles.skew, profiles.rows
    yield (
        "distance of a site's labels from those of all rows (total variation), on average: "
        f"{_mean(skew.total_variation)}; rows at random would have {_mean(skew.by_chance)}"
    )
    yield (
        "Jensen-Shannon divergence of a site's labels from those of all rows, on average: "
        f"{_mean(skew.jensen_shannon)} bits"
    )
    yield (
        f"rows of a site: {rows.min():,} to {rows.max():,}, median {np.median(rows):,.0f}, "
        f"mean {rows.mean():,.1f}"
    )


def _mean(values: Floats) -> str:
    return f"{values.mean():.3f}"


def _shares(counts: Codes) -> list[str]:
    return [f"{100 * share:.0f}" for share in counts / counts.sum()]


def _count(rows: int) -> str:
    return f"{rows:,}"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold", box=box.SIMPLE)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", overflow="fold")
    return table
