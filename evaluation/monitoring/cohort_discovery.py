"""Which sites are alike, without learning which: sites choose a cluster, sums say what it holds.

Federated k-means (as IFCA, Ghosh et al. 2020, but behind a secure sum): the server publishes k
centres; a site finds the nearest by its own counts (or by the loss of k models, `best_model`),
tells nobody, and puts its counts into that cluster's slot of the one vector. Two rules keep the
minimum of contributors:

1. Sites are asked about their moves before counts are sent. Only moves that at least the minimum
   makes together are admitted, the others stay. So no cluster is ever opened with fewer members,
   and none changes by fewer between two rounds: the difference of its sums is of that many sites.
2. A sum with a cluster of fewer members, which takes a site lost between the two questions, is
   refused whole: ask for a margin above the minimum as large as the dropouts to be expected.

What stays: cluster sizes are public; so is the sum of a cluster beside the same rows' sum in a
declared cohort. Do not combine the two without noise.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from evaluation.group_metrics import Counts, Floats
from evaluation.monitoring.feature_grid import FeatureGrid
from evaluation.tally_spec import Bools
from federation.drift_summary import FoundCohort
from federation.errors import ConfigError, DataError, PrivacyRefusal
from federation.layout import Segment, count_segment
from federation.schema import Categorical

Sums = Mapping[str, Floats]
MOVES, MEMBERS, COSTS = "clusters/moves", "clusters/members", "clusters/costs"
COST_STEPS = 1024
"""Of a distance, in whole steps per bit."""

TILT = 1.5
MOST_ROUNDS = 10


@dataclass(frozen=True, slots=True)
class Centres:
    """Shares per quantile bin of each cluster and feature, public.

    Attributes:
        shares: per feature, shape (k, bins), rows summing to 1.
    """

    shares: Mapping[str, Floats]

    @property
    def count(self) -> int:
        """K."""
        return len(next(iter(self.shares.values())))


@dataclass(frozen=True, slots=True)
class Settlement:
    """Which moves are admitted; `admitted[i, j]` from cluster i to j, the last row from none."""

    admitted: Bools


def coarse_counts(grids: Sequence[FeatureGrid], counts: Mapping[str, Counts]) -> dict[str, Counts]:
    """Rows per quantile bin of each feature: what sites are compared by.

    Args:
        grids: frozen.
        counts: per feature, shape (bins,) of its grid.
    """
    return {
        grid.feature.name: np.array(
            [counts[grid.feature.name][list(run)].sum() for run in grid.quantile_bins]
        )
        for grid in grids
    }


def initial_centres(
    grids: Sequence[FeatureGrid], overall: Mapping[str, Counts], count: int, seed: int
) -> Centres:
    """Centres that lie about the whole, from its public sums: one feature tilted at random.

    Args:
        grids: frozen.
        overall: per feature, rows per quantile bin of all sites.
        count: k, >= 2.
        seed: public.

    Raises:
        ConfigError: fewer than two clusters.
    """
    if count < 2:
        raise ConfigError("cohorts.count", count, "at least 2")
    draws = np.random.default_rng(seed)
    shares = {}
    # Sites differ in a few features, mostly: a tilt in all of them would drown it.
    tilted_alone = int(draws.integers(len(grids)))
    strength = TILT * draws.uniform(1 / 3, 4 / 3)
    for place, grid in enumerate(grids):
        base = (overall[grid.feature.name] + 0.5) / (overall[grid.feature.name] + 0.5).sum()
        bins = len(base)
        # Numbers are tilted from low to high; levels, without an order, each for itself.
        slope = draws.normal(size=(count, 1)) * np.linspace(-1, 1, bins)
        free = draws.normal(size=(count, bins))
        tilt = free if isinstance(grid.feature, Categorical) else slope
        strong = strength if place == tilted_alone else 0.0
        tilted = base * np.exp(strong * (tilt - tilt.mean(axis=0)))
        shares[grid.feature.name] = tilted / tilted.sum(axis=1, keepdims=True)
    return Centres(shares)


def start_segments(starts: Sequence[Centres], summands: int) -> tuple[Segment, ...]:
    """One number per start, `clusters/costs`: before any counts are asked for."""
    most = COST_STEPS * len(starts[0].shares)
    return (count_segment(COSTS, len(starts), most, summands),)


def start_contribution(starts: Sequence[Centres], own: Mapping[str, Counts]) -> dict[str, Floats]:
    """How far a site is from its nearest centre of each start, in whole steps."""
    nearest = [float(np.min(distances(centres, own))) for centres in starts]
    return {COSTS: np.rint(COST_STEPS * np.array(nearest))}


def best_start(starts: Sequence[Centres], sums: Sums) -> Centres:
    """The start whose centres the sites are nearest to; the first of equals.

    A good start matters more than usual: a single site that began in the wrong cluster may never
    leave it alone.

    Raises:
        DataError: not one number per start.
    """
    if sums[COSTS].shape != (len(starts),):
        raise DataError(f"sum of {COSTS}: expected {len(starts)} numbers, got {sums[COSTS].shape}")
    return starts[int(np.argmin(sums[COSTS]))]


def distances(centres: Centres, own: Mapping[str, Counts]) -> Floats:
    """Sum over features of the Jensen-Shannon divergence (bits) from each centre, shape (k,).

    Args:
        centres: public.
        own: per feature, rows per quantile bin of one site.
    """
    total = np.zeros(centres.count)
    for name, shares in centres.shares.items():
        counts = own[name]
        mine = (counts + 0.5) / (counts + 0.5).sum()
        middle = (shares + mine) / 2
        total += np.sum(mine * np.log2(mine / middle) + shares * np.log2(shares / middle), axis=1)
    return total / 2


def choose_cluster(centres: Centres, own: Mapping[str, Counts]) -> int:
    """The nearest centre; the first of equals."""
    return int(np.argmin(distances(centres, own)))


def best_model(losses: Floats) -> int:
    """The model with the least loss on the site's own rows, shape (k,); the first of equals.

    Raises:
        DataError: a loss is not a number.
    """
    if not np.all(np.isfinite(losses)):
        raise DataError("losses: expected finite numbers; did a candidate model diverge?")
    return int(np.argmin(losses))


def discovery_segments(
    centres: Centres, most_rows: int, summands: int
) -> tuple[tuple[Segment, ...], tuple[Segment, ...]]:
    """The two vectors of a round: the moves, and members with counts, `clusters/FEATURE`.

    Args:
        centres: whose clusters and bins.
        most_rows: of a site.
        summands: most sites in a sum.
    """
    k = centres.count
    counts = (
        count_segment(f"clusters/{name}", shares.size, most_rows, summands)
        for name, shares in centres.shares.items()
    )
    moves = count_segment(MOVES, (k + 1) * k, 1, summands)
    return (moves,), (count_segment(MEMBERS, k, 1, summands), *counts)


def move_contribution(centres: Centres, current: int | None, wanted: int) -> dict[str, Floats]:
    """One-hot: from which cluster (the last row: none) to which; shape ((k + 1) k,)."""
    k = centres.count
    moves = np.zeros((k + 1, k))
    moves[k if current is None else current, wanted] = 1
    return {MOVES: moves.ravel()}


def settlement(sums: Sums, minimum_contributors: int) -> Settlement:
    """The moves that may be made: staying, and those that at least the minimum makes together.

    Args:
        sums: of `move_contribution`.
        minimum_contributors: >= 1.

    Raises:
        DataError: not counts of moves.
    """
    flat = sums[MOVES]
    k = round((np.sqrt(1 + 4 * len(flat)) - 1) / 2)
    if k * (k + 1) != len(flat) or not np.all((flat >= 0) & (flat == np.rint(flat))):
        raise DataError(f"sum of {MOVES}: expected whole numbers >= 0; a site sent no moves")
    moves = flat.reshape(k + 1, k)
    admitted = moves >= minimum_contributors
    # Leaving fewer behind than the minimum would give them away in the cluster that they stay in.
    for old in range(k):
        left = moves[old, old] + moves[old][~admitted[old] & (np.arange(k) != old)].sum()
        if 0 < left < minimum_contributors:
            admitted[old] = False
    np.fill_diagonal(admitted[:k], val=True)
    return Settlement(admitted)


def settled(
    settlement_: Settlement, centres: Centres, own: Mapping[str, Counts], current: int | None
) -> int | None:
    """Where a site stands after a settlement: its nearest cluster if it may go there.

    A site that has none yet takes the nearest that is open to those who have none; None if there
    is no such cluster: it contributes nothing.
    """
    by_distance = np.argsort(distances(centres, own), kind="stable").tolist()
    if current is None:
        return next((c for c in by_distance if settlement_.admitted[-1, c]), None)
    return by_distance[0] if settlement_.admitted[current, by_distance[0]] else current


def cluster_contribution(
    centres: Centres, cluster: int | None, own: Mapping[str, Counts]
) -> dict[str, Floats]:
    """Membership, one-hot, and own counts in the cluster's slot; zeros everywhere without one."""
    k = centres.count
    chosen = np.zeros(k) if cluster is None else np.eye(k)[cluster]
    counts = {
        f"clusters/{name}": np.outer(chosen, own[name]).ravel().astype(np.float64)
        for name in centres.shares
    }
    return {MEMBERS: chosen, **counts}


def next_centres(sums: Sums, minimum_contributors: int, centres: Centres) -> Centres:
    """Centres at the clusters' own sums; one without members stays where it was.

    Args:
        sums: of `cluster_contribution`.
        minimum_contributors: of a cluster.
        centres: before.

    Raises:
        PrivacyRefusal: a cluster of fewer members; nothing of the sums is used.
        DataError: not counts.
    """
    members = sums[MEMBERS]
    if not all(np.all((each >= 0) & (each == np.rint(each))) for each in sums.values()):
        raise DataError("sums of clusters: expected whole numbers >= 0; a site sent no counts")
    if np.any((members > 0) & (members < minimum_contributors)):
        raise PrivacyRefusal(
            f"a cluster has fewer than {minimum_contributors} members: sites were lost after the "
            "moves were settled; its sums are not used, and the round may be asked again with a "
            "larger margin"
        )
    shares = {}
    for name, before in centres.shares.items():
        counts = sums[f"clusters/{name}"].reshape(before.shape) + 0.5
        moved = counts / counts.sum(axis=1, keepdims=True)
        shares[name] = np.where((members > 0)[:, None], moved, before)
    return Centres(shares)


@dataclass(frozen=True, slots=True)
class Member:
    """A site's side: its own rows per quantile bin, and where it stands; neither leaves it."""

    own: Mapping[str, Counts]
    cluster: int | None = None

    def wish(self, centres: Centres) -> dict[str, Floats]:
        """What it adds to the sum of moves."""
        return move_contribution(centres, self.cluster, choose_cluster(centres, self.own))

    def settle(self, answer: Settlement, centres: Centres) -> "Member":
        """The site after a settlement."""
        return replace(self, cluster=settled(answer, centres, self.own, self.cluster))

    def contribute(self, centres: Centres) -> dict[str, Floats]:
        """What it adds to the sum of counts."""
        return cluster_contribution(centres, self.cluster, self.own)


@dataclass(frozen=True, slots=True)
class Discovery:
    """What was found: centres, members and rows of each cluster; `reason` if nothing was."""

    centres: Centres
    cohorts: tuple[FoundCohort, ...]
    rounds: int
    reason: str = ""


def discover(
    centres: Centres,
    ask_moves: Callable[[Centres], Sums],
    ask_counts: Callable[[Settlement, Centres], Sums],
    minimum_contributors: int,
    *,
    margin: int = 0,
    most_rounds: int = MOST_ROUNDS,
) -> Discovery:
    """The server's side: moves and sums in turn, until no admitted move is left.

    Args:
        centres: to start from, for instance the `best_start` of some fifty `initial_centres`.
        ask_moves: the secure sum of every site's `Member.wish`.
        ask_counts: sends the settlement, and returns the secure sum of `Member.contribute`.
        minimum_contributors: no sum of fewer sites is ever opened.
        margin: dropouts between the two questions that are provided for.
        most_rounds: at most.

    Raises:
        PrivacyRefusal: more were lost than the margin provided for.
    """
    cohorts: tuple[FoundCohort, ...] = ()
    members: Floats = np.zeros(centres.count)
    for number in range(1, most_rounds + 1):
        moves = ask_moves(centres)
        answer = settlement(moves, minimum_contributors + margin)
        if not answer.admitted[-1].any() and number == 1:
            return Discovery(centres, (), 1, "no cluster has enough sites")
        counted = moves[MOVES].reshape(answer.admitted.shape)
        made = np.where(answer.admitted, counted, 0)
        moving = made.sum() - np.trace(made[:-1])
        if number == 1 or moving:
            sums = ask_counts(answer, centres)
            centres = next_centres(sums, minimum_contributors, centres)
            cohorts, members = _cohorts(sums, centres), sums[MEMBERS]
        if np.all(members > 0) and not moving and number > 1:
            return Discovery(centres, cohorts, number)
        centres = _with_new_starts(centres, members, number)
    reason = "" if np.all(members > 0) else "fewer cohorts than asked for"
    return Discovery(centres, cohorts, most_rounds, reason)


def _with_new_starts(centres: Centres, members: Floats, seed: int) -> Centres:
    """Where a cluster has no members, a new centre beside the others, at random."""
    empty = members == 0
    if not empty.any():
        return centres
    draws = np.random.default_rng(seed)
    shares = {}
    for name, before in centres.shares.items():
        base = before[~empty].mean(axis=0)
        bins = before.shape[1]
        slope = draws.normal(size=(centres.count, 1)) * np.linspace(-1, 1, bins)
        tilted = base * np.exp(TILT * slope)
        moved = tilted / tilted.sum(axis=1, keepdims=True)
        shares[name] = np.where(empty[:, None], moved, before)
    return Centres(shares)


def _cohorts(sums: Sums, centres: Centres) -> tuple[FoundCohort, ...]:
    name, shares = next(iter(centres.shares.items()))
    rows = sums[f"clusters/{name}"].reshape(shares.shape).sum(axis=1)
    return tuple(
        FoundCohort(name=f"cohort {place + 1}", sites=int(members), rows=int(rows[place]))
        for place, members in enumerate(sums[MEMBERS].tolist())
        if members
    )
