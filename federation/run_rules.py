"""`run-rules.json`: what the consortium demands of every run, signed, installed at each site.

A coordinator proposes a run; no site agrees to one that these rules do not allow. They stand beside
the site's own policy, and the stricter of the two holds.
"""

from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import Field, field_validator

from federation import canonical
from federation.consortium import Consortium, ConsortiumKey, PublicKey, Signature
from federation.errors import IntegrityError
from federation.ring_vector import RING_BITS
from federation.section import FEWEST_SITES, Name, Positive, Section

_RULES = b"hedgerow/run-rules/v1\x00"


class RunRules(Section):
    """The floors and ceilings of every run of a federation."""

    federation: Name
    """Which federation's runs they are for."""
    version: Annotated[int, Field(ge=1, lt=2**63)]
    """Rises with each set of rules that the consortium signs."""
    minimum_quorum: Annotated[int, Field(ge=FEWEST_SITES)]
    """Fewest survivors whose sum any site helps to open."""
    minimum_threshold: Annotated[int, Field(ge=2)]
    """Fewest sites that together can open anything."""
    minimum_contributors: Annotated[int, Field(ge=FEWEST_SITES)]
    """Fewest sites in a cohort whose sum is read apart."""
    largest_update_clip: Positive
    """Largest L2 norm that a site's update may be clipped to."""
    ring_bits: Annotated[tuple[int, ...], Field(min_length=1)]
    """Bits of the rings that updates may be summed in: some of 16, 20, 24 and 32, rising."""
    least_noise_multiplier: Annotated[float, Field(ge=0, le=1e6)]
    """Least noise of a run that trains with differential privacy; 0 demands none by itself."""
    least_site_level_noise_multiplier: Annotated[float, Field(ge=0, le=1e6)]
    """Least noise that hides whole sites; 0 allows runs without any."""
    allow_without_privacy: bool
    """Whether a run may train without record-level differential privacy."""
    most_rounds: Annotated[int, Field(ge=1)]
    """Most training rounds that one run may have."""

    @field_validator("ring_bits")
    @classmethod
    def _are_rings(cls, bits: tuple[int, ...]) -> tuple[int, ...]:
        if list(bits) != sorted(set(bits) & set(RING_BITS)):
            raise ValueError("expected some of 16, 20, 24 and 32, rising, none twice")
        return bits


class _File(Section):
    issuer: PublicKey
    rules: RunRules
    signature: Signature


@dataclass(frozen=True, slots=True)
class SignedRunRules:
    """Rules that their consortium signed: there is no such object with a wrong signature.

    Attributes:
        consortium: whose rules they are.
        rules: what they say.
        signature: 128 hexadecimal digits.

    Raises:
        IntegrityError: the signature is not the consortium's on these rules.
    """

    consortium: Consortium
    rules: RunRules
    signature: str

    def __post_init__(self) -> None:
        content = self.rules.model_dump(mode="json")
        self.consortium.require_signed("the set of run rules", _RULES, content, self.signature)

    @classmethod
    def sign(cls, key: ConsortiumKey, rules: RunRules) -> Self:
        """The rules under the consortium's signature."""
        return cls(key.public, rules, key.sign(_RULES, rules.model_dump(mode="json")))

    def digest(self) -> str:
        """What sites compare and every agreement names: SHA-256 over consortium and rules."""
        return canonical.digest(
            {"issuer": self.consortium.key.hex(), "rules": self.rules.model_dump(mode="json")}
        )

    def to_bytes(self) -> bytes:
        """Canonical JSON and a newline."""
        file = _File(issuer=self.consortium.key.hex(), rules=self.rules, signature=self.signature)
        return canonical.encode(file.model_dump(mode="json")) + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes, consortium: Consortium, federation: str) -> Self:
        """Parse and verify what `to_bytes` wrote.

        Raises:
            IntegrityError: no run rules, of another consortium or federation, or altered.
        """
        try:
            file = canonical.decode_line(_File, data)
        except ValueError as error:
            raise IntegrityError(f"it is no set of run rules: {error}") from error
        consortium.require_issuer("the rules are", file.issuer)
        signed = cls(consortium, file.rules, file.signature)
        if file.rules.federation != federation:
            raise IntegrityError(
                f"the rules are for the federation {file.rules.federation}, not {federation}"
            )
        return signed
