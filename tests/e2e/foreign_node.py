"""A site's node that says it runs another Flower: `python foreign_node.py HOME VERSION`."""

import sys
from dataclasses import replace
from pathlib import Path

from flwr.supercore.runtime_version_compatibility import RuntimeVersionMetadata

from client.site_home import SiteHome
from client.site_processes import carry_messages


def main(home: Path, version: str) -> None:
    """As `hedgerow site node`, but for the version that is told."""
    true = RuntimeVersionMetadata.from_local_component

    def false(component: str) -> RuntimeVersionMetadata:
        return replace(true(component), package_version=version)

    RuntimeVersionMetadata.from_local_component = staticmethod(false)
    carry_messages(SiteHome(home))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
