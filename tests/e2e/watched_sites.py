"""Simulated sites under watch: every byte is kept; a test may silence a site, or stop the world."""

from collections.abc import Iterator, Mapping

from federation.envelope import Phase, Request
from server.transport import Lost
from simulations.in_process import InProcess


class WatchedSites(InProcess):
    """Keeps every byte; a test may silence a site or stop the world before a question."""

    def __init__(self, folder, sites, seed) -> None:
        super().__init__(folder, sites, seed)
        self.wire: list[tuple[int, Request, bytes]] = []
        self.before = lambda _node, _request: None
        self.after = lambda _node, _request: None

    def exchange(
        self, requests: Mapping[int, Request], timeout: float
    ) -> Iterator[tuple[int, bytes | Lost]]:
        for node, request in requests.items():
            try:
                self.before(node, request)
            except ConnectionError as error:
                yield node, Lost(str(error))
                continue
            reply = self._agents[node](request.to_bytes())
            self.wire.append((node, request, reply))
            self.after(node, request)
            yield node, reply

    def sent(self, phase: Phase) -> list[bytes]:
        return [reply for _, request, reply in self.wire if request.phase is phase]
