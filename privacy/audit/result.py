"""What an audit found, as values that a ledger can keep."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Literal, get_args

from federation.errors import IntegrityError

Kind = Literal["mechanism", "training", "attack"]
Verdict = Literal["PASS", "VIOLATION"]
Scalar = bool | int | float | str

SCHEMA = "hedgerow/audit/1"
VIOLATION_EXIT_CODE = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """One claim that was tested.

    Attributes:
        name: what was run.
        delta: of the claim.
        proven_epsilon: what the accountant says; None where nothing bounds it.
        empirical_epsilon: what epsilon is at least, at the audit's confidence.
        half_noise_epsilon: what the same test would show of half the noise, at least; None where
            that is not known.
        trials: independent runs, or canaries.
    """

    name: str
    delta: float
    proven_epsilon: float | None
    empirical_epsilon: float
    half_noise_epsilon: float | None
    trials: int

    @property
    def is_violated(self) -> bool:
        """Whether more leaks than is proven possible."""
        return self.proven_epsilon is not None and self.empirical_epsilon > self.proven_epsilon


@dataclass(frozen=True, slots=True)
class AuditResult:
    """What an audit found.

    Attributes:
        kind: which audit.
        verdict: `VIOLATION` if any finding is violated.
        proven_epsilon: of the configured plan, None where nothing bounds it.
        empirical_epsilon: of the configured plan, at least.
        confidence: of all findings together.
        delta: of the configured plan.
        parameters: of the plan and of the audit.
        findings: everything that was tested.
        trials: in all.
        seed: fixes the whole result.
        version: of hedgerow.
        measures: what was measured besides, by name; no claim is tested by it.

    Raises:
        ValueError: a number is NaN or out of range, or the verdict is not the findings'.
    """

    kind: Kind
    verdict: Verdict
    proven_epsilon: float | None
    empirical_epsilon: float
    confidence: float
    delta: float
    parameters: Mapping[str, Scalar]
    findings: tuple[Finding, ...]
    trials: int
    seed: int
    version: str
    measures: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        numbers = [self.empirical_epsilon, self.proven_epsilon or 0.0]
        if not all(math.isfinite(value) for value in self.measures.values()):
            raise ValueError("audit.measures: expected finite numbers")
        for finding in self.findings:
            numbers += [finding.empirical_epsilon, finding.proven_epsilon or 0.0, finding.delta]
        if not all(math.isfinite(number) and number >= 0 for number in numbers):
            raise ValueError("audit: expected finite epsilons >= 0")
        if not (0 < self.confidence < 1 and 0 < self.delta < 1 and self.trials >= 0):
            raise ValueError("audit: expected confidence and delta in (0, 1), trials >= 0")
        if self.verdict != verdict_of(self.findings):
            raise ValueError(f"audit: the verdict {self.verdict} is not the findings'")


def verdict_of(findings: tuple[Finding, ...]) -> Verdict:
    """Whether any claim was refuted."""
    return "VIOLATION" if any(finding.is_violated for finding in findings) else "PASS"


def to_plain(result: AuditResult) -> dict[str, object]:
    """The result as JSON values; floats round-trip exactly."""
    plain = {each.name: getattr(result, each.name) for each in fields(result)}
    plain["parameters"] = dict(result.parameters)
    plain["measures"] = dict(result.measures)
    plain["findings"] = [asdict(finding) for finding in result.findings]
    return {"schema": SCHEMA, **plain}


def from_plain(plain: object) -> AuditResult:
    """Undo `to_plain`.

    Raises:
        IntegrityError: another schema, a field too many or missing, a value of another type or out
            of range.
    """
    if not isinstance(plain, dict) or plain.get("schema") != SCHEMA:
        raise IntegrityError(f"audit.schema: expected {SCHEMA!r}")
    body = {key: value for key, value in plain.items() if key != "schema"}
    _require_types("audit", body, _RESULT)
    if body["kind"] not in get_args(Kind) or body["verdict"] not in get_args(Verdict):
        raise IntegrityError(f"audit.kind, audit.verdict: unknown {body['kind']!r}")
    for name, value in body["parameters"].items():
        if not isinstance(name, str) or type(value) not in {bool, int, float, str}:
            raise IntegrityError(f"audit.parameters.{name}: expected a number or text")
    for name, value in body["measures"].items():
        if not isinstance(name, str) or type(value) is not float:
            raise IntegrityError(f"audit.measures.{name}: expected a number")
    findings = []
    for number, part in enumerate(body["findings"]):
        if not isinstance(part, dict):
            raise IntegrityError(f"audit.findings[{number}]: expected an object")
        _require_types(f"audit.findings[{number}]", part, _FINDING)
        findings.append(Finding(**part))
    try:
        return AuditResult(**{**body, "findings": tuple(findings)})
    except ValueError as error:
        raise IntegrityError(str(error)) from error


_NUMBER = (float,)
_NUMBER_OR_NONE = (float, type(None))
_RESULT: dict[str, tuple[type, ...]] = {
    "kind": (str,),
    "verdict": (str,),
    "proven_epsilon": _NUMBER_OR_NONE,
    "empirical_epsilon": _NUMBER,
    "confidence": _NUMBER,
    "delta": _NUMBER,
    "parameters": (dict,),
    "findings": (list,),
    "trials": (int,),
    "seed": (int,),
    "version": (str,),
    "measures": (dict,),
}
_FINDING: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "delta": _NUMBER,
    "proven_epsilon": _NUMBER_OR_NONE,
    "empirical_epsilon": _NUMBER,
    "half_noise_epsilon": _NUMBER_OR_NONE,
    "trials": (int,),
}


def _require_types(
    where: str, part: Mapping[str, object], types: Mapping[str, tuple[type, ...]]
) -> None:
    if set(part) != set(types):
        raise IntegrityError(f"{where}: fields {sorted(set(part) ^ set(types))} missing or unknown")
    for name, allowed in types.items():
        if type(part[name]) not in allowed:
            expected = " or ".join(kind.__name__ for kind in allowed)
            raise IntegrityError(f"{where}.{name}: expected {expected}")
