"""The noise of an evaluation: all parties derive it from what they signed and what is counted."""

from functools import lru_cache

from federation.config import EvaluationRules, FederationRules
from federation.entropy import Entropy
from federation.errors import ConfigError
from federation.evaluation_agreement import CountNoiseTerms, EvaluationAgreement
from federation.layout import VectorLayout
from federation.ring_vector import RingVector
from privacy.count_calibration import choose_count_noise
from privacy.count_noise import CountNoisePlan, CountRelease
from privacy.count_shares import GaussianShares, LaplaceShares, Shares


def solve_noise(
    rules: EvaluationRules, federation: FederationRules, delta: float, tables: int, cells: int
) -> CountNoiseTerms | None:
    """The least noise at which all releases cost what the rules say; None where counts are exact.

    Args:
        rules: with epsilon, for all releases together.
        federation: with the sites named.
        delta: of the sites' ledgers.
        tables: in each of which a record is counted once.
        cells: of all of them.

    Raises:
        ConfigError: so many colluders that nobody's noise hides a record.
        PrivacyRefusal: no noise meets the target.
    """
    if rules.epsilon is None:
        return None
    honest = federation.quorum - rules.colluders
    if honest < 1:
        raise ConfigError(
            "evaluation.colluders",
            rules.colluders,
            f"below federation.quorum = {federation.quorum}",
            "someone must be left whose noise nobody knows",
        )
    release = CountRelease((1,) * tables, cells, honest, len(federation.sites), rules.releases)
    shares = choose_count_noise(rules.epsilon, delta, release).shares
    parameter = shares.scale if isinstance(shares, LaplaceShares) else shares.noise_multiplier
    return CountNoiseTerms(
        mechanism=shares.mechanism,
        parameter=parameter,
        honest=honest,
        epsilon=rules.epsilon,
        delta=delta,
        releases=rules.releases,
        tables=tables,
        cells=cells,
    )


def agreed_noise(agreement: EvaluationAgreement, tables: int, cells: int) -> CountNoisePlan | None:
    """The plan that was agreed on; None where counts are exact.

    Args:
        agreement: with the noise solved.
        tables: in each of which a record is counted once, as this side derives them.
        cells: of all of them.

    Raises:
        ConfigError: the terms contradict each other, or what is counted.
        PrivacyRefusal: such noise costs a record more than they say.
    """
    terms = agreement.noise
    if terms is None:
        return None
    if (terms.tables, terms.cells) != (tables, cells):
        raise ConfigError(
            "noise.tables, noise.cells", [terms.tables, terms.cells], f"{tables}, {cells}"
        )
    if terms.honest > agreement.federation.quorum - agreement.evaluation.colluders:
        raise ConfigError("noise.honest", terms.honest, "at most the quorum less the colluders")
    return _plan(terms, len(agreement.sites))


@lru_cache(maxsize=64)
def _plan(terms: CountNoiseTerms, sites: int) -> CountNoisePlan:
    """Checked by the accountant, which takes a while: once for all messages of a stage."""
    release = CountRelease((1,) * terms.tables, terms.cells, terms.honest, sites, terms.releases)
    shares: Shares
    if terms.mechanism == "discrete_laplace":
        shares = LaplaceShares(terms.parameter, terms.honest)
    else:
        shares = GaussianShares(terms.parameter, release.squared_sensitivity, terms.honest)
    return CountNoisePlan(terms.epsilon, terms.delta, release, shares)


def with_noise(layout: VectorLayout, plan: CountNoisePlan | None) -> VectorLayout:
    """The layout in rings that hold the noise of all sites, too; as it is where counts are exact.

    Raises:
        ConfigError: no ring is wide enough.
    """
    if plan is None:
        return layout
    return VectorLayout(tuple(map(plan.widened, layout.segments)), layout.summands)


def add_noise(
    layout: VectorLayout, vector: RingVector, plan: CountNoisePlan, entropy: Entropy
) -> None:
    """Add one site's share to every count of its vector, in place."""
    share, start = plan.noise_share(entropy), 0
    for segment in layout.segments:
        layout.add(vector, segment.name, share[start : start + segment.length])
        start += segment.length
