"""Which run folder a request to a simulated site is about."""

from pathlib import Path


def run_of(runs: Path, asked: str) -> Path:
    """The folder of the run that a request is about: itself, or the one whose evaluation it is.

    An evaluation's sums are asked for under the run's name and, behind a dot, their own.
    """
    name = asked
    while not (runs / name).is_dir() and "." in name:
        name = name.rpartition(".")[0]
    return runs / name
