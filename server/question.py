"""What a ServerApp is asked, as one setting of its run: JSON of a frozen dataclass."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeVar

from pydantic import TypeAdapter, ValidationError

from federation.errors import UsageError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Question = TypeVar("Question", bound="DataclassInstance")


def question_text(question: "DataclassInstance") -> str:
    """JSON, the same for the same question."""
    return json.dumps(asdict(question), sort_keys=True)


def read_question(kind: type[Question], text: str) -> Question:
    """What `question_text` wrote.

    Raises:
        UsageError: it is something else.
    """
    try:
        return TypeAdapter(kind).validate_json(text)
    except ValidationError as error:
        raise UsageError(f"asked = {text[:80]!r}: expected JSON of a {kind.__name__}") from error
