"""One canonical JSON encoding and its SHA-256, so that two sides agree on what they agreed to."""

import hashlib
import json


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
