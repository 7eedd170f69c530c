"""Drift findings in the order in which a reader should look at them."""

from dataclasses import dataclass

from federation.summary import Drift, Summary

_ORDER = {"act": 0, "watch": 1, "window too small": 2, "ok": 3}


@dataclass(frozen=True, slots=True)
class DriftTable:
    """The features of one scope: `act` first, then by falling PSI."""

    scope: str
    features: tuple[Drift, ...]


def drift_tables(summary: Summary) -> tuple[DriftTable, ...]:
    """One table per scope, in the order in which the summary names them."""
    scopes = dict.fromkeys(one.scope for one in summary.drift)
    return tuple(
        DriftTable(scope, tuple(sorted(_of(summary, scope), key=_urgency))) for scope in scopes
    )


def _of(summary: Summary, scope: str) -> tuple[Drift, ...]:
    return tuple(one for one in summary.drift if one.scope == scope)


def _urgency(one: Drift) -> tuple[int, float, str]:
    return _ORDER[one.verdict], -(one.psi or 0.0), one.feature
