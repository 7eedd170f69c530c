"""Digests as people read them to each other by phone: 16 groups of four digits."""

import re

from federation.errors import UsageError

GROUP = 4


def grouped(digest: str) -> str:
    """A digest in groups of four digits.

    >>> grouped("0123abcd")
    '0123 abcd'
    """
    return " ".join(digest[i : i + GROUP] for i in range(0, len(digest), GROUP))


def parse_digest(text: str) -> str:
    """Undo `grouped`; spaces, dashes, colons and capitals do not matter.

    Raises:
        UsageError: these are not 64 hexadecimal digits.

    >>> parse_digest("AB-cd " * 16) == "abcd" * 16
    True
    """
    plain = re.sub(r"[\s:-]", "", text).lower()
    if re.fullmatch(r"[0-9a-f]{64}", plain) is None:
        raise UsageError(
            f"a digest is 64 digits of 0-9 and a-f, in 16 groups of four; this has {len(plain)} "
            "characters" + ("" if len(plain) != 64 else ", and not all of them are such digits")
        )
    return plain
