"""The agreement: what coordinator and sites bind themselves to for one run, and its digest.

It is the configuration's shared half with everything resolved (sites named, noise solved, public
row counts declared); each site checks it once against its own policy, and its digest is part of
every message and every signature afterwards.
"""

import json
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from federation import canonical
from federation.canonical import Digest
from federation.client_sampling import ClientSampling
from federation.config import (
    EvaluationRules,
    FederationRules,
    Mitigation,
    Robustness,
    ServerOptimizer,
    TaskChoice,
)
from federation.errors import UsageError
from federation.section import Name, PublicRows, Section
from federation.training_choice import Training


class NoiseInTheSum(Section):
    """Noise in shares within the sum, with everything solved.

    Attributes:
        colluders: survivors whose noise does not count.
        meter_coordinates: without signal.
        dimension: parameters of the model and coordinates of the meter.
        granularity: of a rounded coordinate, a power of two.
        ring_bits: of the sum.
        largest_code: largest absolute integer of one site's signal.
        remove_surplus: whether survivors reveal what is more of their noise than is needed.
    """

    colluders: Annotated[int, Field(ge=0)]
    meter_coordinates: Annotated[int, Field(ge=1)]
    dimension: Annotated[int, Field(ge=1)]
    granularity: Annotated[float, Field(gt=0)]
    ring_bits: int
    largest_code: Annotated[int, Field(ge=1)]
    remove_surplus: bool = False


class RecordPrivacy(Section):
    """Record-level DP-SGD with the noise solved; the sampling rate stands in `Training`.

    Attributes:
        noise_multiplier: of each site's own noise; of that of quorum less colluders shares, where
            it is shared.
        shared: how, if sites share the noise; None if each adds the whole.
    """

    noise_multiplier: Annotated[float, Field(gt=0)]
    delta: Annotated[float, Field(gt=0, lt=1)]
    max_grad_norm: Annotated[float, Field(gt=0)]
    target_epsilon: float | None
    shared: NoiseInTheSum | None = None


class SiteLevelPrivacy(NoiseInTheSum):
    """Site-level noise.

    Attributes:
        noise_multiplier: of the noise of quorum less colluders shares.
    """

    noise_multiplier: Annotated[float, Field(gt=0)]
    delta: Annotated[float, Field(gt=0, lt=1)]
    target_epsilon: float | None


class SignedByAll(Section):
    """What coordinator and sites bind themselves to, whatever they do together.

    Attributes:
        federation: who takes part, and how many must.
    """

    federation: FederationRules

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical.encode(self.model_dump(mode="json"))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse and check.

        Raises:
            UsageError: not an agreement of this kind; names the first field that is wrong.
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise UsageError(f"agreement.{where}: {first['msg']}") from error

    def digest(self) -> bytes:
        """SHA-256 of `to_bytes`, 32 bytes."""
        return bytes.fromhex(canonical.digest(json.loads(self.to_bytes())))

    @property
    def sites(self) -> tuple[str, ...]:
        """The invited sites, sorted."""
        return tuple(sorted(self.federation.sites))


class ReadApart(SignedByAll):
    """An agreement under which the sums of some sets of sites are read apart.

    Attributes:
        cohorts: the sets, disjoint.
        evaluation: among others, how few sites such a set may be.
    """

    cohorts: dict[Name, tuple[Name, ...]] = Field(default_factory=dict)
    evaluation: EvaluationRules

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Disjoint sets of sites whose sums are read apart: the cohorts and what is outside them.

        Empty if there are no cohorts.
        """
        if not self.cohorts:
            return ()
        inside = {site for sites in self.cohorts.values() for site in sites}
        rest = tuple(site for site in self.sites if site not in inside)
        named = tuple(tuple(sorted(sites)) for _, sites in sorted(self.cohorts.items()))
        return (*named, rest) if rest else named

    @property
    def minimum_contributors(self) -> int:
        """Fewest sites of a group that is read apart."""
        return self.evaluation.minimum_contributors

    def scopes(self, site: str) -> tuple[str, ...]:
        """What a site's counts go into: `overall` and its cohort, if it is in one."""
        return (
            "overall",
            *(name for name, members in sorted(self.cohorts.items()) if site in members),
        )

    @property
    def all_scopes(self) -> tuple[str, ...]:
        """Every scope of the run."""
        return ("overall", *sorted(self.cohorts))


_NO_SAMPLING = ClientSampling().model_dump()


class Agreement(ReadApart):
    """One run, as every party signs it.

    Attributes:
        run: the run's id.
        rules_digest: of the consortium's run rules, so that all sites sign that they hold the same.
        rounds: rounds planned.
        seed: initial model parameters come from it on every side.
        public_rows: per site, the row count it declares in public; the weight of its update and
            the divisor of its noise come from here, never from a count of rows.
        privacy: None means `privacy.mode = "off"`.
        site_level: None means no site-level noise.
        sampling: which of the sites take part in a training round.
        mitigation: None means `mitigation.method = "none"`; reweighing has its weights resolved.
        spec_digest: SHA-256 of the groups, levels, ranges and bins that held-out rows are counted
            by, as each side resolves them from its own copy of the task.
    """

    run: str
    rules_digest: Digest
    rounds: Annotated[int, Field(ge=1)]
    seed: int
    task: TaskChoice
    public_rows: dict[Name, PublicRows]
    sampling: ClientSampling = ClientSampling()
    training: Training
    server: ServerOptimizer
    robustness: Robustness = Robustness()
    privacy: RecordPrivacy | None
    site_level: SiteLevelPrivacy | None
    mitigation: Mitigation | None = None
    spec_digest: Digest | Literal[""] = ""

    @model_serializer(mode="wrap")
    def _without_what_is_not_agreed(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """An agreement without one of these is, byte for byte, what it was before there were any.

        So its digest is, and what is drawn from it, such as random groups of sites.
        """
        fields: dict[str, Any] = dump(self)
        absent = (("mitigation", None), ("spec_digest", ""), ("sampling", _NO_SAMPLING))
        return {name: v for name, v in fields.items() if (name, v) not in absent}

    @property
    def counts_exactly(self) -> bool:
        """Whether held-out rows are counted in the run; else a noised evaluation follows it."""
        return self.evaluation.epsilon is None

    @property
    def counts_in_training(self) -> bool:
        """Whether training rounds carry outcome tallies: `federation.sum_groups` says why not."""
        return self.counts_exactly and not self.robustness.is_grouped

    @property
    def ring_bits(self) -> int:
        """Bits of the ring that updates are summed in."""
        noise = self.noise_in_the_sum
        return self.federation.update_bits if noise is None else noise.ring_bits

    @property
    def noise_in_the_sum(self) -> NoiseInTheSum | None:
        """The noise that the sum of updates carries, whichever unit of privacy it hides."""
        return self.privacy.shared if self.privacy and self.privacy.shared else self.site_level

    @property
    def steps(self) -> int:
        """Local steps of the whole run."""
        return self.rounds * self.training.local_steps
