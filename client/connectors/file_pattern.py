"""Files by a pattern, in the order of their names."""

import glob
from pathlib import Path

from federation.errors import DataError


def matching_files(pattern: str, home: Path) -> tuple[Path, ...]:
    """The files that a pattern means, seen from a site's home; sorted, at least one.

    Raises:
        DataError: there is none.
    """
    whole = home / pattern
    if whole.is_file():  # a name may hold what a pattern gives a meaning to
        return (whole,)
    # Not Path.glob: the pattern may be absolute.
    found = glob.glob(str(whole), recursive=True)  # noqa: PTH207
    files = tuple(sorted(path for path in map(Path, found) if path.is_file()))
    if not files:
        raise DataError(f"no data file {whole}; data.path in site.toml is seen from {home}")
    return files
