"""What a folder is to a coordinator's console: a federation directory, a run, or several runs."""

from collections.abc import Iterator
from pathlib import Path

from server.federation_home import FederationHome


def is_federation(path: Path) -> bool:
    """Whether a folder is a coordinator's federation directory."""
    return FederationHome(path).config_file.is_file()


def is_run(path: Path) -> bool:
    """Whether a folder is one run's."""
    return (path / "config.toml").is_file()


def has_something_to_show(path: Path) -> bool:
    """Whether a folder is a federation directory, a run, or holds runs."""
    return is_federation(path) or is_run(path) or bool(run_folders(path))


def run_folders(path: Path) -> list[Path]:
    """Those of a federation directory or a folder of runs, the latest first; or the run itself.

    Their names begin with the time.
    """
    if is_run(path):
        return [path]
    runs = FederationHome(path).runs if is_federation(path) else path
    return sorted(_within(runs), key=lambda one: one.name, reverse=True)


def _within(path: Path) -> Iterator[Path]:
    try:
        yield from (one for one in path.iterdir() if is_run(one))
    except OSError:
        return
