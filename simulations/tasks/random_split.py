"""A site's rows split at random into those to train on and the two held-out parts."""

from federation.errors import ConfigError
from federation.table_columns import split_generator
from federation.task import Codes, SiteRequest


def require_share(held_out_fraction: float) -> None:
    """Return if it is a share of rows that leaves some on either side.

    Raises:
        ConfigError: it is not.
    """
    if not 0 < held_out_fraction < 1:
        raise ConfigError("task.options.held_out_fraction", held_out_fraction, "a number in (0, 1)")


def split(
    chosen: Codes, request: SiteRequest, held_out_fraction: float
) -> tuple[Codes, Codes, Codes]:
    """Rows to train on, and those held out as reference and as current.

    Args:
        chosen: the site's rows, shape (N,), N >= 2.
        request: whose name and seed decide.
        held_out_fraction: share of them that is never trained on; one row at least, on either side.
    """
    shuffled = split_generator(request.site, request.split_seed).permutation(chosen)
    held_out = min(max(round(held_out_fraction * len(chosen)), 1), len(chosen) - 1)
    return shuffled[held_out:], shuffled[1:held_out:2], shuffled[:held_out:2]
