"""What a coordinator asks of a site, in order: the names that stand on the wire beside a message.

`ENLIST` comes before any session: the site says which name of the roster it answers to.
"""

from enum import StrEnum


class Stage(StrEnum):
    """One exchange with a site."""

    ENLIST = "enlist"
    ADVERTISE = "advertise"
    SHARE = "share"
    MASK = "mask"
    SIGN = "sign"
    OPEN = "open"


RECORD = "secure-sum"
"""The record of a Flower message that holds an exchange."""
NONCE_BYTES = 32
"""What a site signs when it enlists, so that an old answer is worth nothing."""
