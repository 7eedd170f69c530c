"""The agreements there are: of training, of queries, and of judging a model."""

import json

from federation.agreement import Agreement
from federation.analytics_agreement import AnalyticsAgreement
from federation.evaluation_agreement import EvaluationAgreement

AnyAgreement = Agreement | AnalyticsAgreement | EvaluationAgreement

_KINDS: dict[object, type[AnalyticsAgreement | EvaluationAgreement]] = {
    "analytics": AnalyticsAgreement,
    "evaluation": EvaluationAgreement,
}


def parse_agreement(data: bytes) -> AnyAgreement:
    """The agreement of a run of any sort.

    Raises:
        UsageError: none; names the first field that is wrong.
    """
    try:
        plain = json.loads(data)
    except (ValueError, RecursionError):
        plain = None
    kind = plain.get("kind") if isinstance(plain, dict) else None
    found = _KINDS.get(kind) if isinstance(kind, str) else None
    return Agreement.from_bytes(data) if found is None else found.from_bytes(data)
