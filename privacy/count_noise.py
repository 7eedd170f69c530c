"""Noise on the counts of an evaluation, in shares that sites add before the secure sum.

One record is counted in one cell of each of several tables with disjoint cells: the confusion
matrix of its group, the histogram of its score, one of each feature. A release of all tables moves
by `sensitivities` in them, in L1; by their sum in L1 and the root of their squares' sum in L2
altogether. Every site adds a share of noise to every cell, whatever it has in it, and the shares of
`honest` sites hide a record from whoever sees the sum (`privacy.count_shares`). What a site encodes
is its exact counts; its share is added modulo the ring (`VectorLayout.add`). So nothing is cut at a
site, where a cut would look at the counts: reducing the sum modulo the ring is done to what is
released already, and costs accuracy in `OVERFLOW_PROBABILITY` of all releases and privacy in none.

**Which law.** For one release of few tables discrete Laplace noise is the lesser, and its delta is
0; Gaussian noise grows with the root of what a record is counted in, and is the lesser for many
tables or releases (Canonne, Kamath and Steinke 2020, arXiv:2004.00010). `privacy.count_calibration`
solves for both and takes the one of smaller variance.

**Windows.** A release is of one window of data. Where a record may be in several windows, each of
them is charged, and they compose: that is the default. Where each record is in one window only, it
pays for that one (parallel composition; McSherry 2009, doi:10.1145/1559845.1559850, Theorem 4).
Then one charge stands for all windows. That is a promise about the data, and nothing here can check
it: the site keeps it where rows are loaded, by admitting each record's id once. A ledger of its
own for each window's dataset says the same without a promise.

Counts of one spec in units of different sizes (a sum in steps of 2^-10 moves by 1,024 where a
count moves by 1) are better noised by plans of their own, charged together: `release_event`.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, get_args

from federation.entropy import Entropy
from federation.errors import ConfigError, PrivacyRefusal
from federation.layout import Segment
from federation.ring_vector import RING_BITS
from privacy.account import Charge, ChargePlan, PlanTerms
from privacy.accountant import cost, is_affordable
from privacy.count_shares import Integers, LaplaceShares, Mechanism, Shares
from privacy.event import (
    LARGEST_DIMENSION,
    MOST_REPETITIONS,
    MOST_SHARES,
    Composed,
    DistributedDiscreteGaussian,
    PrivacyEvent,
    SingleEvent,
    repeated,
)

Windows = Literal["overlapping", "disjoint"]
"""Whether a record may be in several windows of data, or is promised to be in one."""

OVERFLOW_PROBABILITY = 2.0**-60
"""Of a release in which any cell's noise exceeds what a ring was chosen for, at most."""
LARGEST_SENSITIVITY = 2**31


@dataclass(frozen=True, slots=True)
class CountRelease:
    """What is released, and whose noise hides a record in it.

    Attributes:
        sensitivities: of each table, how far one record moves it, L1, a whole number from 1 to
            2^31; 1 for counts.
        dimension: cells of all tables together, a table having one at least.
        honest: fewest shares that hide a record: the quorum less the colluders, 1 to `sites`.
        sites: most contributors to one sum, up to 10^5.
        releases: of the whole plan, one a window, 1 to 10^9.
        windows: `overlapping`: a record may be in any of them, and pays for all; `disjoint`: it is
            promised to be in one, and pays for that.

    Raises:
        ConfigError: a bound above is broken.
    """

    sensitivities: tuple[int, ...]
    dimension: int
    honest: int
    sites: int
    releases: int = 1
    windows: Windows = "overlapping"

    def __post_init__(self) -> None:
        whole = all(
            isinstance(each, int) and 1 <= each <= LARGEST_SENSITIVITY
            for each in self.sensitivities
        )
        if not (self.sensitivities and whole):
            raise ConfigError(
                "count_noise.sensitivities",
                self.sensitivities,
                "a whole number from 1 to 2^31 for each table, and a table at least",
                "give 1 for a table in which a record is counted once",
            )
        _require("dimension", self.dimension, len(self.sensitivities), LARGEST_DIMENSION)
        _require("sites", self.sites, 1, MOST_SHARES)
        _require("honest", self.honest, 1, self.sites, "raise the quorum above the colluders")
        _require("releases", self.releases, 1, MOST_REPETITIONS)
        if self.windows not in get_args(Windows):
            raise ConfigError("count_noise.windows", self.windows, "overlapping or disjoint")

    @property
    def charges(self) -> int:
        """How many releases one record pays for: all, or one where windows are disjoint."""
        return self.releases if self.windows == "overlapping" else 1

    @property
    def squared_sensitivity(self) -> int:
        """Largest squared L2 norm by which one record moves a release."""
        return sum(each**2 for each in self.sensitivities)


@dataclass(frozen=True, slots=True)
class CountNoisePlan:
    """How much noise every site adds to its counts: share, event and ring from one object.

    Attributes:
        epsilon: what all releases may cost a record, > 0.
        delta: in (0, 1); the ledger's.
        release: what is released.
        shares: the law of the noise.

    Raises:
        ConfigError: epsilon or delta out of range, or the shares are for another release.
        PrivacyRefusal: the noise costs a record more than `epsilon`.
    """

    epsilon: float
    delta: float
    release: CountRelease
    shares: Shares

    def __post_init__(self) -> None:
        check_target(self.epsilon, self.delta)
        of_this = self.shares.honest == self.release.honest and (
            isinstance(self.shares, LaplaceShares)
            or self.shares.squared_sensitivity == self.release.squared_sensitivity
        )
        if not of_this:
            raise ConfigError(
                "count_noise.shares", self.shares, f"shares of the noise of {self.release}"
            )
        if not is_affordable([self.history()], self.delta, self.epsilon):
            raise PrivacyRefusal(
                f"count_noise.epsilon = {self.epsilon:g} at delta = {self.delta:g}: the noise of "
                f"{self.shares} costs a record {self.spent_epsilon():.4g}; take the plan that "
                "choose_count_noise gives"
            )

    @property
    def mechanism(self) -> Mechanism:
        """`discrete_laplace` or `discrete_gaussian`."""
        return self.shares.mechanism

    def event(self) -> PrivacyEvent:
        """What one release costs a record that is in it."""
        return self.shares.event(self.release.sensitivities, self.release.dimension)

    def history(self) -> PrivacyEvent:
        """What all releases cost a record: each of them, or one where windows are disjoint."""
        return repeated(self.event(), self.release.charges)

    def spent_epsilon(self) -> float:
        """Epsilon of `history` at `delta`, by the accountant; at most `epsilon`."""
        return cost([self.history()], self.delta).epsilon

    def charge_plan(self, run: str, cohort: int, terms: PlanTerms = PlanTerms()) -> ChargePlan:  # noqa: B008 - frozen
        """What a ledger registers before the first release: a charge for each that a record pays.

        Args:
            run: id of the run, or of the series of windows.
            cohort: fewest sites whose sum is opened: the quorum.
            terms: for readers of the ledger.

        Raises:
            PrivacyRefusal: the cohort is smaller than the number of shares that hide a record.
        """
        if cohort < self.release.honest:
            raise PrivacyRefusal(
                f"cohort = {cohort}: the noise hides a record in sums of {self.release.honest} "
                "sites at least; raise the quorum"
            )
        return ChargePlan(run, Charge(self.event()), self.release.charges, cohort, terms)

    def noise_share(self, entropy: Entropy) -> Integers:
        """One site's share of one release, shape (dimension,), int64; fresh for each release.

        Args:
            entropy: the operating system's in a deployment.
        """
        return self.shares.draw(self.release.dimension, entropy)

    def variance(self, contributors: int) -> float:
        """Of the noise in each cell of a sum of so many sites; above the plan's with every site.

        Raises:
            ValueError: contributors are not from `honest` to `sites`.
        """
        if not self.release.honest <= contributors <= self.release.sites:
            raise ValueError(
                f"contributors = {contributors}: expected {self.release.honest} to "
                f"{self.release.sites}"
            )
        return self.shares.variance(contributors)

    @property
    def largest(self) -> int:
        """What no cell of the noise of all sites exceeds, but for OVERFLOW_PROBABILITY."""
        return self.shares.largest(
            self.release.sites, self.release.dimension, math.log(OVERFLOW_PROBABILITY)
        )

    def widened(self, segment: Segment) -> Segment:
        """The segment of exact codes in the narrowest ring that holds noisy sums of all sites.

        Bound and step stay: codes are encoded as they are, and shares are added modulo the ring.

        Raises:
            ConfigError: no ring is wide enough.
        """
        reach = self.release.sites * segment.largest_code + self.largest
        for bits in RING_BITS:
            if reach < 1 << (bits - 1):
                return replace(segment, bits=bits)
        raise ConfigError(
            f"segment {segment.name}.bound",
            segment.bound,
            f"codes of {self.release.sites} sites that add up, with noise up to {self.largest}, "
            f"to less than 2^{RING_BITS[-1] - 1}, not {reach}",
            "raise epsilon or the step, or lower the bound",
        )


def release_event(plans: Iterable[CountNoisePlan]) -> PrivacyEvent:
    """What releases of several plans cost together, of one window: to be charged as one."""
    singles: list[SingleEvent] = []
    for plan in plans:
        event = plan.event()
        assert not isinstance(event, DistributedDiscreteGaussian)
        singles += event.events if isinstance(event, Composed) else (event,)
    return singles[0] if len(singles) == 1 else Composed(tuple(singles))


def check_target(epsilon: float, delta: float) -> None:
    """Return if a plan may be asked for at (epsilon, delta).

    Raises:
        ConfigError: epsilon is not finite and > 0, or delta not in (0, 1).
    """
    if not 0 < epsilon < math.inf:
        raise ConfigError("count_noise.epsilon", epsilon, "a finite number > 0", "usual: 1")
    if not 0 < delta < 1:
        raise ConfigError("count_noise.delta", delta, "a number in (0, 1)", "usual: 1e-6")


def _require(name: str, value: int, least: int, most: int, remedy: str = "") -> None:
    if not (isinstance(value, int) and least <= value <= most):
        raise ConfigError(
            f"count_noise.{name}", value, f"a whole number from {least} to {most}", remedy
        )
