"""Which versions of hedgerow and Flower speak with each other."""

from importlib.metadata import version
from typing import Annotated, Self

from pydantic import Field

from federation.errors import UsageError
from federation.section import Section

Version = Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]+[0-9A-Za-z.+-]{0,40}$")]


class Software(Section):
    """The versions of one machine."""

    hedgerow: Version
    flwr: Version

    @classmethod
    def installed(cls) -> Self:
        """Of this environment."""
        return cls(hedgerow=version("hedgerow"), flwr=version("flwr"))


NAMES = ("hedgerow", "flwr")
HEADERS = {"hedgerow": "hedgerow-version", "flwr": "flwr-package-version"}
"""In which a site's node tells its versions; the second is Flower's own."""


def require_compatible(here: Software, there: Software, whose: str) -> None:
    """Return if the first two numbers of both versions are the same on both sides.

    Flower refuses other series by itself, and hedgerow's messages are of one series.

    Args:
        here: of this machine.
        there: of the other one.
        whose: the other one is, for the error: `the coordinator`.

    Raises:
        UsageError: they differ; the text has both versions and what to install.
    """
    for name in NAMES:
        require_same_series(name, getattr(here, name), getattr(there, name), whose)


def require_same_series(name: str, ours: str, theirs: str, whose: str) -> None:
    """As `require_compatible`, of one of the two.

    Raises:
        UsageError: they differ.
    """
    if _series(ours) != _series(theirs):
        raise UsageError(
            f"{whose} runs {name} {theirs} and this machine {name} {ours}: both ends need the "
            f"same first two numbers; install {name} {'.'.join(_series(theirs))} here, or "
            f"{'.'.join(_series(ours))} there"
        )


def _series(text: str) -> list[str]:
    return text.split(".")[:2]
