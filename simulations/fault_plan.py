"""Who is lost where in a simulated run, and why: a pure function of the settings and the seed.

No agent, engine or worker has a part in it, so whatever plays the sites loses the same ones. Chance
is a keyed BLAKE2b (RFC 7693) of site, round and attempt under a key from `run.seed`: a plan for
many thousand sites costs microseconds a site, and what is drawn for one depends on no other.
"""

import hashlib
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Literal

from federation.config import FederationConfig
from federation.entropy import SeededEntropy
from federation.envelope import Phase
from federation.fault_choice import Availability, DropoutRate
from federation.simulation_choice import Simulation

PHASES = (Phase.ADVERTISE, Phase.SHARE, Phase.TRAIN, Phase.SIGN, Phase.OPEN)
"""Of a round, in their order."""

Cause = Literal["offline", "dropout", "straggler", "crash"]
Online = Mapping[str, Sequence[tuple[int, int]]]
"""Per site, first and last round of the intervals in which it is online: sorted, none overlaps."""

_BITS = 64
_HALF_ULP = 2.0 ** -(_BITS + 1)
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Loss:
    """A site that falls silent.

    Attributes:
        phase: from which phase of the round on.
        cause: what kind of thing happened.
        reason: the same in words, as the coordinator is told it.
    """

    phase: Phase
    cause: Cause
    reason: str


@dataclass(frozen=True)
class FaultPlan:
    """What goes wrong at which site.

    Attributes:
        simulation: the settings.
        seed: of the run.
        rounds: training rounds; those after them only count.
        row_steps: per site, rows that it is expected to go through in a training round, all local
            steps together.
        online: of a trace; None where availability is drawn.
    """

    simulation: Simulation
    seed: int
    rounds: int
    row_steps: Mapping[str, float]
    online: Online | None = None

    def lost_in(self, site: str, round_: int, attempt: int) -> Loss | None:
        """Where in an attempt at a round the site falls silent; None if it does not.

        Of several causes the one in the earliest phase, and in the same phase in the order in
        which `Cause` names them. A crash is planned for the first attempt alone.

        Args:
            site: its name.
            round_: from 1; after the training rounds come evaluation rounds.
            attempt: from 1.
        """
        found = (
            self._offline(site, round_),
            self._named(site, round_, attempt),
            self._drawn(site, round_, attempt),
            self._late(site, round_),
            self._crashed(site, round_, attempt),
        )
        return min(
            (loss for loss in found if loss is not None),
            key=lambda loss: PHASES.index(loss.phase),
            default=None,
        )

    def is_online(self, site: str, round_: int) -> bool:
        """Whether the site can be reached in a round, the same in all its attempts."""
        choice = self.simulation.availability
        if self.online is not None:
            intervals = self.online.get(site, ())
            before = bisect_right(intervals, round_, key=lambda interval: interval[0])
            return before > 0 and round_ <= intervals[before - 1][1]
        if choice.kind == "always":
            return True
        chance = online_chance(choice, round_, self._uniforms("day", site)[0])
        return self._uniforms("online", site, round_)[0] < chance

    def train_seconds(self, site: str, round_: int) -> float | None:
        """Virtual seconds for which the site would train; None where nothing says how long."""
        choice = self.simulation.stragglers
        if choice is None or round_ > self.rounds:
            return None
        slowness = choice.sigma * _normal(self._uniforms("slowness", site)[0])
        if choice.jitter:
            slowness += choice.jitter * _normal(self._uniforms("jitter", site, round_)[0])
        work = choice.seconds_per_row_step * self.row_steps.get(site, 0.0)
        return (choice.base_seconds + work) * math.exp(slowness)

    def round_seconds(self, round_: int, survivors: Sequence[str]) -> float | None:
        """Virtual seconds of a training round; None where nothing says how long sites train.

        The slowest survivor's time; the deadline if any site missed it, for until then the
        coordinator waits. Who is lost otherwise is noticed at once.
        """
        choice = self.simulation.stragglers
        if choice is None or round_ > self.rounds:
            return None
        if choice.deadline_seconds is not None and self.missed_deadline(round_):
            return choice.deadline_seconds
        return max((self.train_seconds(site, round_) or 0.0 for site in survivors), default=0.0)

    def missed_deadline(self, round_: int) -> tuple[str, ...]:
        """Sites that were online in a round and would have trained past the deadline, sorted."""
        return tuple(
            site
            for site in sorted(self.row_steps)
            if self.is_online(site, round_) and self._late(site, round_) is not None
        )

    def _offline(self, site: str, round_: int) -> Loss | None:
        if self.is_online(site, round_):
            return None
        kind = self.simulation.availability.kind
        return Loss(Phase.ADVERTISE, "offline", f"the simulated site is offline (by {kind})")

    def _named(self, site: str, round_: int, attempt: int) -> Loss | None:
        """The earliest of `simulation.dropouts`."""
        phases = [
            Phase(drop.phase)
            for drop in self.simulation.dropouts
            if (drop.site, drop.round) == (site, round_) and attempt <= drop.attempts
        ]
        if not phases:
            return None
        reason = "the simulated site is down, as simulation.dropouts says"
        return Loss(min(phases, key=PHASES.index), "dropout", reason)

    def _drawn(self, site: str, round_: int, attempt: int) -> Loss | None:
        rates = self.simulation.faults.dropout_rate
        if rates == _NO_RATES:
            return None
        draws = self._uniforms("dropout", site, round_, attempt)
        for phase, draw in zip(PHASES, draws, strict=False):
            if draw < getattr(rates, str(phase)):
                reason = "the simulated site is down, as simulation.faults.dropout_rate has it"
                return Loss(phase, "dropout", reason)
        return None

    def _late(self, site: str, round_: int) -> Loss | None:
        choice = self.simulation.stragglers
        if choice is None or choice.deadline_seconds is None:
            return None
        seconds = self.train_seconds(site, round_)
        if seconds is None or seconds <= choice.deadline_seconds:
            return None
        reason = f"missed the deadline: {seconds:.4g} s of {choice.deadline_seconds:.4g} s"
        return Loss(Phase.TRAIN, "straggler", reason)

    def _crashed(self, site: str, round_: int, attempt: int) -> Loss | None:
        phases = [
            Phase(crash.phase)
            for crash in self.simulation.crashes
            if (crash.site, crash.round, 1) == (site, round_, attempt)
        ]
        if not phases:
            return None
        reason = "its process died, as simulation.crashes says"
        return Loss(min(phases, key=PHASES.index), "crash", reason)

    @cached_property
    def _key(self) -> bytes:
        return SeededEntropy(self.seed).child("faults").bytes(32)

    def _uniforms(self, purpose: str, *place: str | int) -> tuple[float, ...]:
        """Eight independent numbers in (0, 1) for a purpose and place."""
        asked = "\x00".join((purpose, *map(str, place))).encode()
        digest = hashlib.blake2b(asked, digest_size=64, key=self._key).digest()
        words = (digest[at : at + _BITS // 8] for at in range(0, len(digest), _BITS // 8))
        return tuple(
            min(int.from_bytes(word, "little") / 2**_BITS + _HALF_ULP, _LARGEST) for word in words
        )


def has_faults(simulation: Simulation) -> bool:
    """Whether a plan of these settings could lose any site at all."""
    return bool(
        simulation.dropouts
        or simulation.crashes
        or simulation.faults.dropout_rate != _NO_RATES
        or simulation.availability.kind != "always"
        or (simulation.stragglers and simulation.stragglers.deadline_seconds is not None)
    )


def fault_plan(
    config: FederationConfig, public_rows: Mapping[str, int], online: Online | None = None
) -> FaultPlan:
    """The plan of a run.

    Args:
        config: with the sites named.
        public_rows: per site, its train rows as it declares them.
        online: what the availability trace says; None if there is none.
    """
    training = config.training
    steps = training.local_steps * training.sampling_rate
    row_steps = {site: steps * rows for site, rows in public_rows.items()}
    return FaultPlan(config.simulation, config.run.seed, config.run.rounds, row_steps, online)


def online_chance(choice: Availability, round_: int, day: float) -> float:
    """Chance that a site is online in a round.

    Args:
        choice: of kind `rate` or `diurnal`.
        round_: from 1.
        day: where in its day the site stands, in [0, 1).
    """
    if choice.kind == "rate":
        return choice.rate
    angle = 2 * math.pi * (round_ / choice.period_rounds + day)
    return min(max(choice.rate + choice.amplitude * math.sin(angle), 0.0), 1.0)


def _normal(uniform: float) -> float:
    """The standard normal deviate of this rank."""
    return _NORMAL.inv_cdf(uniform)


_NO_RATES = DropoutRate()
_LARGEST = 1.0 - 2.0**-53
"""Below 1, so that a deviate is finite."""
