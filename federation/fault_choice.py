"""Settings of what goes wrong in a simulation: silence, slowness, crashes, absence."""

from typing import Annotated, Literal

from pydantic import Field

from federation.section import Fraction, Name, Section

FaultPhase = Literal["advertise", "share", "train", "sign", "open"]
RoundNumber = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
Spread = Annotated[float, Field(ge=0, le=5)]


class Dropout(Section):
    """A site that falls silent in one phase of one round, for simulations and tests."""

    site: Name
    """Which site."""
    round: RoundNumber
    """In which round."""
    phase: FaultPhase = "train"
    """From which phase of the round on it is silent."""
    attempts: Annotated[int, Field(ge=1)] = 1
    """How many attempts at that round it misses."""


class DropoutRate(Section):
    """Chance that a site falls silent in a phase, where it had not before, in each attempt."""

    advertise: Fraction = 0.0
    """It takes no part in the round at all."""
    share: Fraction = 0.0
    """It advertised its keys and deals no shares."""
    train: Fraction = 0.0
    """It is lost before its masked vector arrives."""
    sign: Fraction = 0.0
    """Its vector is in the sum; it does not sign the survivor set."""
    open: Fraction = 0.0
    """It signed, and opens no shares."""


class Faults(Section):
    """Sites that fall silent at random, drawn from `run.seed`."""

    dropout_rate: DropoutRate = DropoutRate()
    """Per phase, in training rounds and in the evaluation round."""


class Stragglers(Section):
    """How long sites would train, in virtual seconds: nobody waits for them."""

    base_seconds: Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)] = 1.0
    """Of any round at a site of speed 1, however few rows it has."""
    seconds_per_row_step: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] = 0.0
    """More per expected row of each local step: rows times `training.sampling_rate`."""
    sigma: Spread = 0.5
    """Sites' slowness is lognormal: exp(sigma * z), one z per site."""
    jitter: Spread = 0.0
    """The same, one z per site and round."""
    deadline_seconds: Seconds | None = None
    """Who would take longer is lost in phase train; nobody is if this is left out."""


class Crash(Section):
    """A worker process that dies, once, right after a site made its answer."""

    site: Name
    """Whose answer; whichever other sites the same process plays are lost with it."""
    round: RoundNumber
    """In which round."""
    phase: FaultPhase = "train"
    """After which answer: what the site wrote for it is on its disk, and the answer is lost."""


class Availability(Section):
    """Which sites are online in which rounds; who is not is lost in phase advertise."""

    kind: Literal["always", "rate", "diurnal", "trace"] = "always"
    """`rate`: each site with one chance. `diurnal`: with a chance that rises and falls.
    `trace`: as a file says."""
    rate: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Chance to be online in a round; of diurnal, its mean."""
    amplitude: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Of diurnal: how far the chance swings to either side of `rate`, within 0 and 1."""
    period_rounds: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] = 24.0
    """Of diurnal: rounds of one day; where in it a site stands is drawn from `run.seed`."""
    file: str = ""
    """Of trace: CSV or Parquet with columns `site, round`, or `site, from_round, to_round`."""


CoordinatorKind = Literal[
    "honest", "two_survivor_sets", "two_models", "second_sum", "another_agreement"
]
