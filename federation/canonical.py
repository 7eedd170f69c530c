"""One canonical JSON encoding and its SHA-256, so that two sides agree on what they agreed to."""

import hashlib
import json
from typing import Annotated, TypeVar

from pydantic import BaseModel, Field, ValidationError

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""What `digest` returns."""
M = TypeVar("M", bound=BaseModel)


def encode(value: object) -> bytes:
    """Canonical JSON: keys sorted, no spaces, UTF-8.

    Raises:
        ValueError: `value` holds what the encoding cannot say: NaN, an infinity, or half a
            surrogate pair.
        TypeError: `value` holds something JSON has no word for.

    >>> encode({"b": 1, "a": [True, None]})
    b'{"a":[true,null],"b":1}'
    """
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def digest(value: object) -> str:
    """SHA-256 of the canonical encoding, 64 hexadecimal digits."""
    return hashlib.sha256(encode(value)).hexdigest()


def decode(model: type[M], data: bytes) -> M:
    """The value whose canonical encoding is `data`: no other spelling of it is taken.

    Args:
        model: a strict one, whose JSON dump is what was encoded.
        data: as `encode` returns it.

    Raises:
        ValueError: `data` is no such value, or another spelling; the text names the first field
            that is wrong.
    """
    try:
        value = model.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from error
    if encode(value.model_dump(mode="json")) != data:
        raise ValueError("not written in the one canonical way")
    return value


def decode_line(model: type[M], data: bytes) -> M:
    """As `decode`, of a file: the encoding and one newline.

    Raises:
        ValueError: as `decode`, or `data` does not end in a newline.
    """
    if not data.endswith(b"\n"):
        raise ValueError("it does not end in a newline; was it cut off?")
    return decode(model, data[:-1])
