"""A whole federation in this process: the real server loop and real agents, a direct transport."""

import gc
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from federation import config_file
from federation.config import FederationConfig
from federation.envelope import Phase, Request, parse_reply
from federation.run_folder import RunFolder
from federation.task_loading import load_task
from server.coordination import Outcome, coordinate
from server.rounds import Progress  # noqa: TC001 - a type that readers look up here
from server.run_preparation import search_task_folder
from server.run_summary import write_outputs
from server.transport import Lost
from simulations import sites
from simulations.sites import prepare, read_config, simulated_site

SMALL = {
    "run": {"name": "test", "rounds": 3},
    "task": {"name": "heart"},
    "privacy": {"epsilon": 2.0, "delta": 1e-3},
    "simulation": {"baselines": False},
}


Moment = Callable[[int, Request], bool]
"""Whether a node is asked something just then."""


class Killed(BaseException):
    """The coordinator dies here."""


def asked(round_: int, phase: Phase, node: int | None = None) -> Moment:
    """When a node, any if none is given, is asked for a phase of a round, or that rides along."""

    def is_asked(here: int, request: Request) -> bool:
        both = [request] if request.rider is None else [request, request.rider]
        return node in (None, here) and (round_, phase) in [(one.round, one.phase) for one in both]

    return is_asked


class DirectTransport:
    """Calls each site's agent; keeps every byte that crossed, in order."""

    def __init__(self, folder: RunFolder, count: int) -> None:
        self._folder, self._count = folder, count
        self.wire: list[tuple[int, Request, bytes | None]] = []
        self.before: Callable[[int, Request], None] = lambda _node, _request: None
        self.alter: Callable[[int, Request, bytes], bytes] = lambda _node, _request, reply: reply

    def nodes(self) -> list[int]:
        return list(range(self._count))

    def exchange(
        self, requests: Mapping[int, Request], timeout: float
    ) -> Iterator[tuple[int, bytes | Lost]]:
        for node, given in requests.items():
            # As the site reads it: what many requests share is in one piece with the rest.
            request = Request.from_bytes(given.to_bytes())
            sent: bytes | Lost
            try:
                self.before(node, request)
                answer = simulated_site(self._folder.path, node)(request.to_bytes())
                sent = self.alter(node, request, answer)
            except ConnectionError as error:
                sent = Lost(str(error))
            reply = sent if isinstance(sent, bytes) else None
            self.wire.append((node, replace(request, rider=None), reply))
            if request.rider is not None:
                riding = parse_reply(reply)[0].rider if reply else None
                self.wire.append((node, request.rider, riding or None))
            yield node, sent


class Federation:
    """A prepared run and what it takes to play it, again and again if it must."""

    def __init__(self, runs: Path, table: Mapping[str, object] | None = None, *overrides: str):
        config = config_file.parse(SMALL | dict(table or {}), overrides)
        self.folder = prepare(config, runs)
        self.progress: list[Progress] = []

    @property
    def config(self) -> FederationConfig:
        return read_config(self.folder.path)

    def transport(self) -> DirectTransport:
        return DirectTransport(self.folder, len(self.config.federation.sites))

    def play(self, transport: DirectTransport | None = None) -> Outcome:
        search_task_folder(self.folder)
        config = self.config
        task = load_task(config.task.name, config.task.options)
        line = transport or self.transport()
        outcome = coordinate(line, self.folder, config, task, self.progress.append)
        write_outputs(self.folder, config, task, outcome, "in process")
        return outcome

    def play_until_killed(self, moment: Moment) -> None:
        """Until that is asked, which nobody hears any more; it has to come to that."""
        line = self.transport()

        def kill(node: int, request: Request) -> None:
            if moment(node, request):
                raise Killed

        line.before = kill
        with pytest.raises(Killed):
            self.play(line)

    def restart_agents(self) -> None:
        """What a kill does to every site: whatever is not on its disk is gone."""
        sites.simulated_site.cache_clear()
        gc.collect()  # an agent holds its home's lock until it is gone

    @property
    def model(self) -> bytes:
        return self.folder.model.read_bytes()
