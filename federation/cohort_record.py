"""What the discovery of cohorts leaves behind: at the coordinator, and at each site for itself."""

from federation.drift_summary import FoundCohort
from federation.summary import Part


class Contrast(Part):
    """How far cohorts are apart in one feature.

    Attributes:
        feature: its name.
        bits: generalized Jensen-Shannon divergence of the cohorts' shares in quantile bins, each
            cohort weighing the same; 0: alike, at most log2 of the number of cohorts.
    """

    feature: str
    bits: float


class CohortDiscovery(Part):
    """What was found on one window.

    Attributes:
        window: whose rows.
        discovery: the name that the sites know it by.
        clusters: asked for.
        sites: with rows in it, which all took part.
        rows: of them.
        cohorts: that were found; of none it is known who is in it.
        differ_in: features, those that the cohorts differ in most first; none without two cohorts.
        steps: until nothing moved any more.
        sums: secure sums that it took.
        reason: why there are fewer cohorts than asked for, or none; else empty.
        at: UTC, ISO 8601.
    """

    window: str
    discovery: str
    clusters: int
    sites: int
    rows: int
    cohorts: tuple[FoundCohort, ...]
    differ_in: tuple[Contrast, ...]
    steps: int
    sums: int
    reason: str
    at: str


class FoundCohorts(Part):
    """All discoveries of a run: `evaluation/cohorts.json`."""

    discoveries: tuple[CohortDiscovery, ...] = ()

    def of(self, window: str) -> CohortDiscovery | None:
        """That of a window, if there was one."""
        return next((one for one in self.discoveries if one.window == window), None)


class OwnCohort(Part):
    """In which cohort a site is: `cohort.json` in its home, for the site alone.

    Attributes:
        window: whose rows.
        discovery: its name.
        step: after which; a later one may overwrite it.
        cohort: the name that the coordinator's table has it under; None if in none.
        distances: from each cluster's centre as told in this step, sum over features of the
            Jensen-Shannon divergence in bits; empty without rows in the window.
    """

    window: str
    discovery: str
    step: int
    cohort: str | None
    distances: tuple[float, ...]
