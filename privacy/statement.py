"""What a training run's noise costs, by every accountant, and what that rests on, in words."""

import math
from dataclasses import dataclass

from federation.errors import ConfigError, PrivacyRefusal
from privacy import accountant, person_level, prv, risk
from privacy.accountant import Cost
from privacy.event import Gaussian, PoissonSampledGaussian
from privacy.loss_distribution import COARSE
from privacy.neighbours import ADD_OR_REMOVE_ONE, Neighbours
from privacy.noise_plan import check_delta

ACCOUNTANTS = ("pld", "rdp", "prv")
SAMPLINGS = ("poisson", "none")

WHY_NOT_GDP = (
    "accountant gdp is refused: the central limit theorem behind it is no bound, and it "
    "under-states (sigma 0.6 at rate 0.1, one step, delta 1e-5: it says 1.5 where 4.77 is true); "
    "use pld"
)


@dataclass(frozen=True, slots=True)
class TrainingNoise:
    """A run of DP-SGD at one site.

    Attributes:
        noise_multiplier: deviation over the clip norm, finite, > 0.
        sampling_rate: in (0, 1].
        steps: 1 to 10**9.
        sampling: `poisson`, or `none`: shuffled batches, each record in one of an epoch.
    """

    noise_multiplier: float
    sampling_rate: float
    steps: int
    sampling: str

    def __post_init__(self) -> None:
        if not 0 < self.noise_multiplier < math.inf:
            expected = "a finite number > 0"
            raise ConfigError("--noise-multiplier", self.noise_multiplier, expected, "usual: 0.8")
        if not 0 < self.sampling_rate <= 1:
            raise ConfigError("--sampling-rate", self.sampling_rate, "a number in (0, 1]")
        if not 1 <= self.steps <= 10**9:
            raise ConfigError("--steps", self.steps, "a whole number from 1 to 10**9")
        if self.sampling not in SAMPLINGS:
            raise ConfigError("--sampling", self.sampling, f"one of {', '.join(SAMPLINGS)}")

    @property
    def epochs(self) -> int:
        """Begun, of batches that are a share `sampling_rate` of the rows."""
        return max(1, math.ceil(self.steps * self.sampling_rate * (1 - 1e-12)))

    def event(self) -> PoissonSampledGaussian | Gaussian:
        """What is charged."""
        if self.sampling == "none":
            return Gaussian(self.noise_multiplier, self.epochs)
        return PoissonSampledGaussian(self.sampling_rate, self.noise_multiplier, self.steps)


@dataclass(frozen=True, slots=True)
class Statement:
    """Everything that `hedgerow privacy epsilon` says.

    Attributes:
        epsilons: by accountant; infinite where it has no bound. PRV only where it was asked.
        trade_off: what an adversary reaches.
        assumptions: one sentence each.
        warnings: one sentence each.
    """

    epsilons: dict[str, float]
    trade_off: risk.TradeOff
    assumptions: tuple[str, ...]
    warnings: tuple[str, ...]


def check_accountant(name: str) -> None:
    """Refuse what is no bound, by name.

    Raises:
        PrivacyRefusal: Gaussian DP.
        ConfigError: no such accountant.
    """
    if name == "gdp":
        raise PrivacyRefusal(WHY_NOT_GDP)
    if name not in ACCOUNTANTS:
        raise ConfigError("--accountant", name, f"one of {', '.join(ACCOUNTANTS)}")


def state(
    noise: TrainingNoise,
    delta: float,
    neighbours: Neighbours,
    accountant_name: str,
    rows: int | None,
) -> Statement:
    """What the run costs and what it means.

    Raises:
        PrivacyRefusal: an accountant that has no bound was asked for.
        ConfigError: delta or rows is out of range.
    """
    check_accountant(accountant_name)
    check_delta(delta)
    if rows is not None and rows < 1:
        raise ConfigError("--rows", rows, "a whole number >= 1")
    event = noise.event()
    both = _cost(event, delta, neighbours)
    epsilons = {"pld": both.epsilon_pld, "rdp": both.epsilon_rdp}
    if accountant_name == "prv":
        if neighbours != Neighbours():
            raise PrivacyRefusal(
                "accountant prv knows single records that are added or removed only; use pld"
            )
        epsilons["prv"] = prv.band([event], delta).upper
    return Statement(
        epsilons,
        risk.trade_off([event], neighbours, COARSE),
        assumptions(noise, neighbours),
        _warnings(delta, rows, epsilons[accountant_name]),
    )


def assumptions(noise: TrainingNoise, neighbours: Neighbours) -> tuple[str, ...]:
    """What must be true for the number to be."""
    unit = (
        "one record"
        if neighbours.records == 1
        else f"up to {neighbours.records} records of a person"
    )
    other = "another" if neighbours.records == 1 else "others"
    added = neighbours.relation == ADD_OR_REMOVE_ONE
    change = "added or removed" if added else f"replaced by {other}"
    sampling = (
        f"each step draws every record independently with probability {noise.sampling_rate:g}, and "
        "who was drawn stays secret; shuffled batches do not count as that"
        if noise.sampling == "poisson"
        else f"each record is in one batch of each of {noise.epochs} epochs, where other records' "
        "batches do not depend on it; no amplification is counted"
    )
    cap = (
        "no person has more records than that: cap them where rows are loaded"
        if neighbours.records > 1
        else "a person with several records is less protected: see --records-per-person"
    )
    return (
        f"hidden is {unit}, {change}; all else may be known",
        sampling,
        "every record's gradient is clipped to the norm that the noise is a multiple of, and the "
        "divisor, rate and number of steps are public and not taken from the data",
        "the adversary sees every noised step; nothing else leaves (metrics, tuning, statistics "
        "cost extra)",
        cap,
    )


def _warnings(delta: float, rows: int | None, epsilon: float) -> tuple[str, ...]:
    found = []
    if rows is not None and delta > 1 / rows:
        found.append(
            f"delta {delta:g} is above 1 / {rows} rows = {1 / rows:.2g}: it would permit giving a "
            "whole record away"
        )
    if math.isinf(epsilon):
        found.append("this accountant has no bound here; another may")
    elif epsilon > 20:
        found.append("an epsilon above 20 protects hardly anybody; read the rates, not the number")
    return tuple(found)


def _cost(event: PoissonSampledGaussian | Gaussian, delta: float, neighbours: Neighbours) -> Cost:
    if neighbours.records == 1:
        return accountant.cost([event], delta, neighbours.relation)
    return person_level.cost([event], delta, neighbours.records, neighbours.relation)
