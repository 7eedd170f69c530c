"""Who shares masks and secrets with whom: everybody with everybody, or the nearest on a circle.

The sparse graph is the Harary graph of Bell et al. 2020 (SecAgg+, doi:10.1145/3372297.3417885,
section 3): the sites stand on a circle in an order that a seed decides, and each is joined to the
`degree` / 2 before and after it. `graph_parameters` says which degree is enough.
"""

from collections.abc import Collection, Mapping

from privacy.secure_sum.transcript import Label, digest


def circle(sites: Collection[str], seed: bytes) -> tuple[str, ...]:
    """The sites in the order that `seed` decides, uniform if the seed is."""
    return tuple(sorted(sites, key=lambda site: digest(Label.CIRCLE, seed, site.encode())))


def neighbourhoods(
    sites: Collection[str], degree: int, seed: bytes
) -> Mapping[str, tuple[str, ...]]:
    """Each site's neighbours, sorted; neighbourhood is mutual.

    Args:
        sites: distinct.
        degree: even, at least 2; from len(sites) - 1 on, everybody is everybody's neighbour.
        seed: of the order on the circle; it does not matter where the graph is complete.
    """
    if degree >= len(sites) - 1:
        ordered = tuple(sorted(sites))
        return {site: ordered[:at] + ordered[at + 1 :] for at, site in enumerate(ordered)}
    places, half = circle(sites, seed), degree // 2
    around = places[-half:] + places + places[:half]
    return {
        site: tuple(sorted(around[at : at + half] + around[at + half + 1 : at + degree + 1]))
        for at, site in enumerate(places)
    }
