"""Who masks with whom: the complete graph, or a sparse one that nobody could choose.

Bell et al. 2020 (doi:10.1145/3372297.3417885), Harary graphs: the sites stand on a circle in an
order drawn at random, and the neighbours of a site are those at most degree / 2 places away.

The order follows from a seed, by which sites are sorted under SHA-256. The seed must name the whole
set of adverts, as `session.session_digest` does: then an advert that is left out draws all places
anew, where otherwise the others would close ranks and bring colluders together. How the degree is
chosen, and what trying many seeds buys a coordinator, stands in `graph_parameters`.
"""

from collections.abc import Collection

from privacy.secure_sum.transcript import DIGEST_BYTES, Label, digest


def circle(sites: Collection[str], seed: bytes) -> tuple[str, ...]:
    """The sites in the order in which they stand on the circle; the last is beside the first.

    Args:
        sites: in any order.
        seed: 32 bytes.

    Raises:
        ValueError: a site stands there twice, or the seed has another length.
    """
    if len(seed) != DIGEST_BYTES:
        raise ValueError(f"expected a seed of {DIGEST_BYTES} bytes, got {len(seed)}")
    if len(set(sites)) != len(sites):
        raise ValueError("a site stands there twice")
    return tuple(sorted(sites, key=lambda site: digest(Label.GRAPH, seed, site.encode())))


def neighbours(site: str, sites: Collection[str], degree: int, seed: bytes) -> tuple[str, ...]:
    """The neighbours of one site, sorted by name.

    Args:
        site: one of `sites`.
        sites: all that are in the graph.
        degree: how many neighbours each has: even, or at least len(sites) - 1, which gives the
            complete graph.
        seed: 32 bytes; the complete graph does not depend on it.

    Raises:
        ValueError: the site is not in the graph, or as `neighbourhoods`.
    """
    order = circle(sites, seed)
    _require_degree(degree, len(order))
    if site not in order:
        raise ValueError(f"{site} is not in the graph")
    return _beside(order.index(site), order, degree)


def neighbourhoods(sites: Collection[str], degree: int, seed: bytes) -> dict[str, tuple[str, ...]]:
    """The neighbours of every site, each sorted by name; O(n degree) for n sites.

    Raises:
        ValueError: the degree is below 2, or odd and below len(sites) - 1; or as `circle`.
    """
    order = circle(sites, seed)
    _require_degree(degree, len(order))
    return {site: _beside(place, order, degree) for place, site in enumerate(order)}


def _beside(place: int, order: tuple[str, ...], degree: int) -> tuple[str, ...]:
    n = len(order)
    if degree >= n - 1:
        return tuple(sorted(order[:place] + order[place + 1 :]))
    steps = range(1, degree // 2 + 1)
    return tuple(sorted(order[(place + step) % n] for s in steps for step in (-s, s)))


def _require_degree(degree: int, sites: int) -> None:
    if degree < sites - 1 and (degree < 2 or degree % 2):
        raise ValueError(f"expected an even degree from 2, or {sites - 1}; got {degree}")
