"""`coordinator.toml`: where one coordinator listens, and how long what it issues is good for."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from federation import settings_file
from federation.durable_file import write_atomically
from federation.errors import ConfigError
from federation.network_address import Host, Port, address
from federation.section import Name, Section

_TEMPLATE = """\
# The coordinator of the federation {name}. `hedgerow coordinator up` reads this file.

# The federation's name: every request, certificate and package is for this one alone.
name = "{name}"

# DNS names and IP addresses that sites reach the coordinator by: they stand in its certificate, and
# sites are told the first. After a change: `hedgerow coordinator certificate renew`.
hosts = [{hosts}]

# The one port that sites must reach, and the address it listens on.
port = {port}
bind = "{bind}"

# The following ports are for this machine alone; they are opened on 127.0.0.1 only.
superlink_port = {superlink_port}
health_port = {health_port}
metrics_port = {metrics_port}
console_port = {console_port}

# Days that the server's certificate and those of the sites' keys are good for, and how many days
# before their end you are warned.
server_certificate_days = {server_certificate_days}
site_certificate_days = {site_certificate_days}
warn_days = {warn_days}
"""


class CoordinatorConfig(Section):
    """One coordinator's settings."""

    name: Name
    """The federation's."""
    hosts: Annotated[tuple[Host, ...], Field(min_length=1, max_length=32)]
    """What its certificate is for; sites are told the first."""
    port: Port = 8443
    """Of the edge: the only one that sites must reach."""
    bind: Host = "0.0.0.0"  # noqa: S104 - sites come from elsewhere
    """Address that the edge listens on."""
    superlink_port: Port = 18443
    """Of Flower's SuperLink, on 127.0.0.1."""
    health_port: Port = 18444
    """Of Flower's gRPC health service, on 127.0.0.1."""
    metrics_port: Port = 18445
    """Of the Prometheus endpoint, on 127.0.0.1."""
    console_port: Port = 18446
    """Of the page that `hedgerow console` shows, on 127.0.0.1."""
    server_certificate_days: Annotated[int, Field(ge=1, le=397)] = 397
    """Of the server's certificate; TLS clients refuse longer ones."""
    site_certificate_days: Annotated[int, Field(ge=1, le=3650)] = 730
    """Of the certificates of sites' identity keys."""
    warn_days: Annotated[int, Field(ge=1, le=365)] = 30
    """How long before the end of a certificate the operator is warned."""

    @model_validator(mode="after")
    def _has_a_port_for_each(self) -> Self:
        names = ("port", "superlink_port", "health_port", "metrics_port", "console_port")
        seen: dict[int, str] = {}
        for name in names:
            port = getattr(self, name)
            if port in seen:
                raise ConfigError(name, port, f"another port than {seen[port]}")
            seen[port] = name
        return self

    @property
    def superlink(self) -> str:
        """The public address, `host:port`, that sites are told."""
        return address(self.hosts[0], self.port)

    def write(self, path: Path) -> None:
        """Write it with comments, atomically, readable by its owner alone."""
        values = self.model_dump() | {"hosts": ", ".join(f'"{host}"' for host in self.hosts)}
        write_atomically(path, _TEMPLATE.format(**values).encode(), mode=0o600)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read and check it.

        Raises:
            UsageError: the file cannot be read or is no TOML.
            ConfigError: a key or value is wrong; names it and the nearest that is known.
        """
        return settings_file.read(cls, path, "the coordinator's settings")
