"""Who is excluded and why: a malformed or forged message costs its sender, not the round.

Too few senders end the round, with every reason told.
"""

from collections.abc import Callable, Mapping, Sized
from typing import TypeVar

from federation.errors import ProtocolViolation, RoundFailed
from privacy.secure_sum.terms import SessionTerms

Reasons = Mapping[str, str]
"""Per excluded site, the first check that one of its messages failed."""

T = TypeVar("T")


def admit(
    messages: Mapping[str, bytes], check: Callable[[str, bytes], T], excluded: Reasons
) -> tuple[dict[str, T], dict[str, str]]:
    """What `check` makes of the messages that pass it, and the reasons, with those of the others.

    Args:
        messages: per sender.
        check: given sender and message, raises `ProtocolViolation` to refuse it.
        excluded: earlier reasons; a sender's first one stands.
    """
    admitted: dict[str, T] = {}
    reasons = dict(excluded)
    for site, data in sorted(messages.items()):
        try:
            admitted[site] = check(site, data)
        except ProtocolViolation as error:
            reasons.setdefault(site, str(error))
    return admitted, reasons


def require_quorum(terms: SessionTerms, phase: str, sites: Sized, excluded: Reasons) -> None:
    """Go on only with enough sites.

    Raises:
        RoundFailed: fewer than the quorum are left in this phase.
    """
    if len(sites) < terms.quorum:
        raise RoundFailed(
            f"{phase}: {len(sites)} of {len(terms.sites)} sites gave a valid answer and the quorum "
            f"is {terms.quorum}{told(excluded)}"
        )


def told(excluded: Reasons) -> str:
    """The reasons as the tail of a sentence; empty if there are none."""
    return "".join(f"; {site}: {reason}" for site, reason in sorted(excluded.items()))
