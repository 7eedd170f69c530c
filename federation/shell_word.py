"""A path as it is typed in a command that a text tells people to run."""

import shlex
from pathlib import Path


def quoted(path: Path) -> str:
    """One word of a shell, whatever the path holds.

    >>> quoted(Path("ward 3/site")), quoted(Path("site"))
    ("'ward 3/site'", 'site')
    """
    return shlex.quote(str(path))
