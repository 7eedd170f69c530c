"""How many neighbours, and which threshold, so that no part of a sum can be opened apart.

Bell et al. 2020 (doi:10.1145/3372297.3417885), sections 3 and 4, for the protocol of `terms`: every
honest site that opens shares opens them for one survivor set, which at least `quorum` sites signed.

Of n invited sites, c collude with a coordinator that lies, and at least q advertise. These stand on
a circle (`graph`); each deals shares to its k nearest and to itself, and t of them open a secret.
An honest site masks only if t of its neighbours dealt it shares. Where a survivor set is opened,
an honest site of it either signed it, and so shares a mask with every neighbour in it, or is
silent: it opens nothing. All others are lost. Let b be the most colluders in k/2 places in a row,
and a the most among the k neighbours of an honest site. The coordinator knows the graph when it
chooses who is lost, who is silent, and who is shown which envelopes. If

    (1)  t > k/2 + 1 + b,    or    (2)  2t > k + a  and  k > n - q + min(2b, c),

it still learns one sum at most, in which all honest signers are, q - c at least.

* In both cases 2t > k + a, as a <= 2b, and so t > a, as a <= k: colluders alone open nothing. So of
  a survivor the mask key stays hidden, and of a lost site the seed, whatever it sent.
* What can be read is then a union of components of this graph: honest survivors, joined where both
  masked with each other, each of them with t shares of its seed opened. (Where one masked and the
  other did not, the mask of the one cancels nowhere and hides its component for good.)
* A component without a signer: none of the t or more neighbours that one of its sites masked with
  signed, or it would be joined to it. At most k - t others and a colluders hold its shares, which
  is below t.
* A component with some signers but not all: going round the circle there is a signer u in it whose
  next signer w is not. They are no neighbours, or both would have masked. So in the k/2 places
  after u nobody opens but colluders, b at most. With the k/2 places before u, and the share of
  its own seed that u kept and opens like any other, that makes k/2 + 1 + b shares: below t in
  case (1). And there is a second such gap, where the circle comes back into the component. Both
  together are k places without an honest signer, of which at most min(2b, c) are colluders, and at
  most n - q are others, since q signed. That contradicts case (2).

So what can be read has all the signers in it, and there is one such component. Case (2) allows the
lower threshold while the sites are few against k, case (1) is for many.

The order on the circle is random to whoever chose the colluders before the keys of the session
were known; who corrupts sites once it sees the graph is not covered. Then b and a exceed a bound
with the probability of a hypergeometric tail, at most once for each of n places. Fewer adverts mean
a larger share of colluders, so the tails are taken at q sites. The seed of the order follows from
all adverts, hence a coordinator can try other orders, by leaving adverts out or with other keys of
its colluders: 2**grinding of them multiply the probability.

Google's parameter finder (google/federated-compute, fcp/secagg/server/graph_parameter_finder.cc)
has 2t > k + a too, but takes losses to be random where it asks whether the graph stays connected,
all sites to advertise, and the order as given; hence its degrees are lower.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from federation.errors import ConfigError
from privacy.secure_sum.hypergeometric import least_bound, log2_upper_tail
from privacy.secure_sum.terms import FEWEST_SITES

COMPLETE_GRAPH_SITES = 200
"""Up to here the complete graph is affordable, and nothing about it is left to chance."""

MOST_SITES = 10_000
"""The search for a degree takes about a second here, at worst."""


@dataclass(frozen=True, slots=True)
class GraphRequirements:
    """What a graph must withstand.

    Attributes:
        sites: n, how many are invited, from 3.
        colluder_share: of the n, how many may collude with the coordinator; in [0, 1).
        dropout_share: of the n, how many may be lost over all stages; in [0, 1).
        security: the order on the circle fails to protect with probability 2**-security at most.
        grinding: a coordinator tries 2**grinding orders at most before the sites give up.
        correctness: lost sites that are drawn at random leave fewer than the threshold beside some
            site with probability 2**-correctness at most. Sites that withhold on purpose are not
            random: against them a round may fail, though nothing is revealed.

    Raises:
        ConfigError: a bound above is broken, or no quorum would have two survivor sets share an
            honest site and still survive the losses.
    """

    sites: int
    colluder_share: float
    dropout_share: float
    security: float = 40
    grinding: float = 60
    correctness: float = 20

    def __post_init__(self) -> None:
        _require("sites", self.sites, FEWEST_SITES, MOST_SITES)
        for name in ("colluder_share", "dropout_share"):
            share = getattr(self, name)
            if not 0 <= share < 1:
                raise ConfigError(f"graph.{name}", share, "a share of the sites from 0, below 1")
        _require("security", self.security, 1, 256)
        _require("grinding", self.grinding, 0, 256)
        _require("correctness", self.correctness, 1, 256)
        n, colluders, quorum = self.sites, max(1, self.colluders), self.quorum
        if quorum < FEWEST_SITES or 2 * quorum <= n + colluders:
            raise ConfigError(
                "graph.dropout_share", self.dropout_share,
                f"at least {max(FEWEST_SITES, (n + colluders) // 2 + 1)} of {n} sites to be left",
                f"{quorum} are; lower it or graph.colluder_share, or else {colluders} colluding "
                "can have two survivor sets signed",
            )  # fmt: skip

    @property
    def colluders(self) -> int:
        """c: the share of the sites, rounded down; a share of 0.29 of 100 sites is 29."""
        return math.floor(Fraction(str(self.colluder_share)) * self.sites)

    @property
    def dropouts(self) -> int:
        """The share of the sites, rounded down."""
        return math.floor(Fraction(str(self.dropout_share)) * self.sites)

    @property
    def quorum(self) -> int:
        """q: all but the dropouts. A larger quorum leaves a coordinator less to choose from."""
        return self.sites - self.dropouts


@dataclass(frozen=True, slots=True)
class GraphParameters:
    """A graph and what it withstands.

    Attributes:
        sites: n.
        degree: k, neighbours of a site.
        threshold: t, shares that open a secret; and neighbours that must have dealt shares to an
            honest site before it masks.
        quorum: q, fewest sites that must advertise, and sign a survivor set.
        colluders: how many it is asked to withstand.
        dropouts: how many it is asked to withstand.
        log2_security_failure: of the probability that the order on the circle does not protect;
            -inf if it always does.
        log2_correctness_failure: of the probability that random losses leave too few shares of a
            secret; -inf if they never do.
    """

    sites: int
    degree: int
    threshold: int
    quorum: int
    colluders: int
    dropouts: int
    log2_security_failure: float
    log2_correctness_failure: float


def choose(requirements: GraphRequirements) -> GraphParameters:
    """The graph to use for these requirements."""
    return preferred(complete_graph_parameters(requirements), sparse_graph_parameters(requirements))


def preferred(complete: GraphParameters, sparse: GraphParameters | None) -> GraphParameters:
    """The complete graph for few sites, or where no sparse one suffices; else the sparse one."""
    if sparse is None or complete.sites <= COMPLETE_GRAPH_SITES:
        return complete
    return sparse


def complete_graph_parameters(requirements: GraphRequirements) -> GraphParameters:
    """All others are neighbours, and the argument of `terms` leaves nothing to chance.

    The threshold is a majority, or one more than the colluders.
    """
    return GraphParameters(
        sites=requirements.sites,
        degree=requirements.sites - 1,
        threshold=max(requirements.colluders, requirements.sites // 2) + 1,
        quorum=requirements.quorum,
        colluders=requirements.colluders,
        dropouts=requirements.dropouts,
        log2_security_failure=-math.inf,
        log2_correctness_failure=-math.inf,
    )


def sparse_graph_parameters(requirements: GraphRequirements) -> GraphParameters | None:
    """The least even degree that suffices; None if none leaves two sites of a quorum unconnected.

    The threshold is the largest with which random losses are withstood: what is to spare goes to
    security.
    """
    n, c, d, q = (
        requirements.sites, requirements.colluders, requirements.dropouts, requirements.quorum
    )  # fmt: skip
    for degree in range(2, q - 1, 2):
        # A bound for the probability at one site, so that the sum over all sites is met.
        lost = least_bound(n - 1, d, degree, -requirements.correctness - math.log2(n))
        threshold = degree - lost
        if threshold < 2:
            continue
        failure = log2_security_failure(n, q, degree, threshold, c) + requirements.grinding
        if failure <= -requirements.security:
            correctness = log2_correctness_failure(n, degree, threshold, d)
            return GraphParameters(n, degree, threshold, q, c, d, failure, correctness)
    return None


def log2_security_failure(
    sites: int, quorum: int, degree: int, threshold: int, colluders: int
) -> float:
    """log2 of a bound on the probability that neither case of the argument above holds.

    Args:
        sites: n.
        quorum: q, fewest that advertise; more than degree + 1, or the graph could be complete.
        degree: k, even.
        threshold: t.
        colluders: c, below the quorum.

    Raises:
        ValueError: the degree is odd, or not below quorum - 1.
    """
    if degree % 2 or not 2 <= degree < quorum - 1:
        raise ValueError(f"expected an even degree from 2, below {quorum - 1}; got {degree}")
    half = degree // 2

    def row_beyond(bound: int) -> float:
        return log2_upper_tail(quorum, colluders, half, bound)

    by_threshold = row_beyond(threshold - half - 2)
    # Case (2) holds with up to half of these in a row, and always if they are all.
    spare = degree - (sites - quorum) - 1
    by_count = -math.inf if spare >= colluders else row_beyond(spare // 2)
    around = log2_upper_tail(quorum - 1, colluders, degree, 2 * threshold - degree - 1)
    by_either = min(by_threshold, float(np.logaddexp2(by_count, around)))
    return min(0.0, math.log2(sites) + by_either)


def log2_correctness_failure(sites: int, degree: int, threshold: int, dropouts: int) -> float:
    """log2 of a bound on the probability that a site is left fewer than `threshold` neighbours.

    Args:
        sites: n; fewer adverts mean fewer left to be lost, and a lower probability.
        degree: k.
        threshold: t.
        dropouts: how many are lost, drawn at random.
    """
    beside_one = log2_upper_tail(sites - 1, dropouts, degree, degree - threshold)
    return min(0.0, math.log2(sites) + beside_one)


def _require(name: str, value: float, least: int, most: int) -> None:
    if not least <= value <= most:
        raise ConfigError(f"graph.{name}", value, f"from {least} to {most}")
