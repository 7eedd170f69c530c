"""A site's node whose machine is odd: `python foreign_node.py HOME WHAT VALUE`.

WHAT is `flwr` or `hedgerow`, and VALUE the version of it that the node says it runs; or `clock`,
and VALUE the seconds that its clock is ahead.
"""

import sys
from datetime import timedelta
from pathlib import Path

from flwr.supernode import node_auth_http_interceptor

from client import fleet
from client.site_home import SiteHome
from client.site_processes import carry_messages
from federation.software import HEADERS


def main(home: Path, what: str, value: str) -> None:
    """As `hedgerow site node`, but for that."""
    if what == "clock":
        true = node_auth_http_interceptor.now
        node_auth_http_interceptor.now = lambda: true() + timedelta(seconds=float(value))
    else:
        tell = fleet._Versions.__init__

        def lie(self) -> None:
            tell(self)
            self._headers[HEADERS[what]] = value

        fleet._Versions.__init__ = lie
    carry_messages(SiteHome(home))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
