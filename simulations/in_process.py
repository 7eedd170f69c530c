"""Simulated sites that answer within this process: every byte is made and checked as deployed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property

from federation.envelope import Request
from federation.run_folder import RunFolder
from federation.task import Task
from server.transport import Lost
from simulations.sites import simulated_agent


class InProcess:
    """A transport to agents of this process; node k speaks for the k-th site."""

    def __init__(
        self,
        folder: RunFolder,
        sites: Sequence[str],
        seed: int,
        change: Callable[[Task], Task] = lambda task: task,
    ) -> None:
        """Sites that have their homes in `folder`.

        Args:
            folder: of the run.
            sites: in the order of their nodes.
            seed: of their noise.
            change: what the simulation does to the rows that they load.
        """
        self._folder, self._sites, self._seed, self._change = folder, sites, seed, change

    def nodes(self) -> list[int]:
        """All sites, always online."""
        return list(range(len(self._sites)))

    def exchange(
        self,
        requests: Mapping[int, Request],
        timeout: float,  # noqa: ARG002 - nothing takes long
    ) -> Iterator[tuple[int, bytes | Lost]]:
        """Ask one after the other."""
        for node, request in requests.items():
            yield node, self._agents[node](request.to_bytes())

    @cached_property
    def _agents(self) -> list[Callable[[bytes], bytes]]:
        return [
            simulated_agent(self._folder, site, self._seed, self._change).answer
            for site in self._sites
        ]
