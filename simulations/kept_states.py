"""What simulated sites without homes keep from round to round, in one file that all workers map.

A round that fails leaves its sites where they were, so each site has two places: a new state goes
where the one that is still needed is not. The file is as long as all states, and sparse until they
are written; nobody holds more of it in memory than is at work.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from federation.site_state import SiteState


class KeptStates:
    """The states of a run's sites, by the round that they are of."""

    def __init__(self, path: Path, sites: int, control: int, local: int) -> None:
        """Open the file, or make it.

        Args:
            path: of the file; its rounds stand beside it, in `PATH.rounds`.
            sites: how many there are.
            control: numbers of a site's SCAFFOLD control.
            local: parameters that stay at a site.
        """
        self._control = control
        shape = (sites, 2, control + local)
        self._values = _mapped(path, "<f8", shape)
        self._rounds = _mapped(path.with_name(path.name + ".rounds"), "<i8", (sites, 2))

    def state(self, site: int, round_: int) -> SiteState | None:
        """What a site kept of a round; None if that is gone, or was never there.

        Args:
            site: its place among the run's sites.
            round_: number of the round, >= 1.
        """
        for place in (0, 1):
            if self._rounds[site, place] == round_:
                return self._at(site, place)
        return None

    def latest(self, site: int) -> SiteState | None:
        """What a site kept of the last round that it trained in; None if there is none."""
        place = int(np.argmax(self._rounds[site]))
        return self._at(site, place) if self._rounds[site, place] else None

    def _at(self, site: int, place: int) -> SiteState:
        numbers = np.array(self._values[site, place])
        return SiteState(numbers[: self._control], numbers[self._control :])

    def keep(self, site: int, round_: int, state: SiteState, needed: int) -> None:
        """Keep a site's state of a round, and that of the round that is still needed.

        Args:
            site: its place among the run's sites.
            round_: number of the round, >= 1.
            state: after its training.
            needed: the round that the site's last update in the model is of; 0 if there is none.
        """
        place = 1 if self._rounds[site, 0] == needed else 0
        self._rounds[site, place] = 0
        self._values[site, place] = np.concatenate([state.control, state.local])
        self._rounds[site, place] = round_


def _mapped(path: Path, kind: str, shape: tuple[int, ...]) -> npt.NDArray[np.generic]:
    """A file of zeros, mapped into memory; made if it is not there, at once and whole."""
    length = int(np.prod(shape)) * np.dtype(kind).itemsize
    with path.open("ab") as file:
        if file.tell() < length:
            file.truncate(length)
    return np.memmap(path, dtype=kind, mode="r+", shape=shape)
