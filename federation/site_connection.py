"""`connection.toml`: where a site's node finds the coordinator, and with which software it speaks.

Written by `hedgerow site join` out of what the consortium signed.
"""

from pathlib import Path
from typing import Annotated, Self

import tomli_w
from pydantic import Field

from federation import settings_file
from federation.canonical import Digest
from federation.durable_file import write_atomically
from federation.network_address import Address, split_address
from federation.section import Name, Section

_COMMENT = """\
# Written by `hedgerow site join` from what the consortium signed; changed by joining with a newer
# package only. The CA that the coordinator's certificate must be of is in ca.pem beside this file.

"""


class SiteConnection(Section):
    """How this site reaches its coordinator."""

    site: Name
    """This site's name in the roster."""
    federation: Name
    """Whose runs it takes part in."""
    superlink: Address
    """The coordinator's public address, `host:port`: the one outbound connection of a site."""
    hedgerow: Annotated[str, Field(min_length=1, max_length=64)]
    """The coordinator's version of hedgerow."""
    flwr: Annotated[str, Field(min_length=1, max_length=64)]
    """The coordinator's version of Flower."""
    roster_version: Annotated[int, Field(ge=1)]
    """Of the release that this is from; it only rises."""
    bundle_sha256: Digest | None = None
    """Of the app bundle that the consortium named, if it did; a site approves bundles itself."""

    @property
    def host_and_port(self) -> tuple[str, int]:
        """Of the coordinator."""
        return split_address(self.superlink)

    def write(self, path: Path) -> None:
        """Write as TOML, atomically, readable by its owner alone."""
        text = _COMMENT + tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))
        write_atomically(path, text.encode(), mode=0o600)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read and check it.

        Raises:
            UsageError: the file cannot be read or is no TOML.
            ConfigError: a key or value is wrong.
        """
        return settings_file.read(cls, path, "the site's connection (hedgerow site join makes it)")
