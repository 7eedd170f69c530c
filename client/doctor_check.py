"""What a check of the doctor's returns: one line, and what to do."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from federation.errors import HedgerowError


class Verdict(StrEnum):
    """How a check ended."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor's.

    Attributes:
        name: what was looked at.
        verdict: whether it stops the site.
        finding: what was found.
        remedy: what to do; empty where nothing is to be done.
    """

    name: str
    verdict: Verdict
    finding: str
    remedy: str = ""

    @property
    def passed(self) -> bool:
        """Whether the site can take part as far as this goes."""
        return self.verdict is not Verdict.FAIL


def ok(name: str, finding: str) -> Check:
    """All is well."""
    return Check(name, Verdict.OK, finding)


def warn(name: str, finding: str, remedy: str) -> Check:
    """The site works, and something should be done."""
    return Check(name, Verdict.WARN, finding, remedy)


def fail(name: str, finding: str, remedy: str) -> Check:
    """The site cannot take part like this."""
    return Check(name, Verdict.FAIL, finding, remedy)


def from_error(name: str, error: Exception, remedy: str) -> Check:
    """What an error of ours says; of any other its type alone, for its text may hold a value."""
    if isinstance(error, HedgerowError):
        return fail(name, str(error), remedy)
    return fail(name, f"it failed with {type(error).__name__}", remedy)


def worst(checks: Iterable[Check]) -> Verdict:
    """FAIL if any failed, else WARN if any warned."""
    found = {check.verdict for check in checks}
    return next((v for v in (Verdict.FAIL, Verdict.WARN) if v in found), Verdict.OK)
