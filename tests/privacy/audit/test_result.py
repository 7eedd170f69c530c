"""A result goes to JSON and back, and nothing else passes for one."""

import json
import math
from dataclasses import replace

import pytest

from federation import canonical
from federation.errors import IntegrityError
from privacy.audit.result import AuditResult, Finding, from_plain, to_plain

HELD = Finding("noise", 0.02, 2.0, 1.5, 3.5, 100)
RESULT = AuditResult(
    "mechanism", "PASS", 2.0, 1.5, 0.95, 0.02, {"steps": 3, "noise": "own"}, (HELD,), 100, 7, "0.1",
    {"auc": 0.5},
)  # fmt: skip


def test_it_round_trips_through_canonical_json() -> None:
    assert from_plain(json.loads(canonical.encode(to_plain(RESULT)))) == RESULT
    unbounded = replace(HELD, proven_epsilon=None, half_noise_epsilon=None)
    result = replace(RESULT, proven_epsilon=None, findings=(unbounded,))
    assert from_plain(json.loads(canonical.encode(to_plain(result)))) == result


def test_a_finding_is_violated_above_what_is_proven_only() -> None:
    assert not replace(HELD, empirical_epsilon=2.0).is_violated
    assert replace(HELD, empirical_epsilon=math.nextafter(2.0, 3)).is_violated
    assert not replace(HELD, empirical_epsilon=9.0, proven_epsilon=None).is_violated


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "hedgerow/audit/2"},
        {"verdict": "VIOLATION"},
        {"verdict": "FINE"},
        {"kind": "guess"},
        {"empirical_epsilon": "1.5"},
        {"empirical_epsilon": 1},
        {"empirical_epsilon": math.nan},
        {"empirical_epsilon": -1.0},
        {"trials": True},
        {"seed": 7.0},
        {"delta": 0.0},
        {"confidence": 1.0},
        {"parameters": {"steps": None}},
        {"findings": [{}]},
        {"findings": [7]},
        {"findings": ()},
        {"extra": 1},
        {"measures": {"auc": math.inf}},
        {"measures": {"auc": "0.5"}},
    ],
)
def test_anything_else_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(IntegrityError, match="audit"):
        from_plain(to_plain(RESULT) | change)


def test_a_missing_field_is_refused() -> None:
    for name in to_plain(RESULT):
        plain = to_plain(RESULT)
        del plain[name]
        with pytest.raises(IntegrityError, match="audit"):
            from_plain(plain)
    with pytest.raises(IntegrityError, match="schema"):
        from_plain([])
