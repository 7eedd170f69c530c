"""The folder a coordinator keeps for one federation.

coordinator.toml  consortium.pub  roster.json  run-rules.json  release.json  run-rules.toml
revoked.json  ca/  tls/  consortium/  sites/  countersignatures/  packages/  app/  superlink/  runs/
audit.jsonl  log/
"""

from dataclasses import dataclass
from pathlib import Path

from federation.consortium_files import ConsortiumFiles
from federation.errors import UsageError
from server.coordinator_config import CoordinatorConfig


@dataclass(frozen=True, slots=True)
class FederationHome:
    """Paths of one federation's folder at its coordinator."""

    path: Path

    @property
    def config_file(self) -> Path:
        """Ports, host names, validities."""
        return self.path / "coordinator.toml"

    @property
    def given(self) -> ConsortiumFiles:
        """What the consortium signed: its key, the roster, the run rules, the release."""
        return ConsortiumFiles(self.path)

    @property
    def rules_draft(self) -> Path:
        """The run rules as people edit them; `roster sign` signs them."""
        return self.path / "run-rules.toml"

    @property
    def revoked(self) -> Path:
        """Whom the operator revoked; the next release says so under the consortium's signature."""
        return self.path / "revoked.json"

    @property
    def consortium_key(self) -> Path:
        """The consortium's private key, unless it is kept elsewhere, as it should be."""
        return self.path / "consortium" / "consortium.key"

    @property
    def ca(self) -> Path:
        """The CA that the server's certificate is of; sites pin it."""
        return self.path / "ca" / "ca.pem"

    @property
    def ca_key(self) -> Path:
        """Its private key; not there with an existing CA."""
        return self.path / "ca" / "ca.key"

    @property
    def server_certificate(self) -> Path:
        """What the public port shows; with an existing CA followed by its intermediates."""
        return self.path / "tls" / "server.pem"

    @property
    def server_key(self) -> Path:
        """Private key of the server's certificate."""
        return self.path / "tls" / "server.key"

    @property
    def server_request(self) -> Path:
        """Certificate signing request for an existing CA."""
        return self.path / "tls" / "server.csr"

    @property
    def loopback_ca(self) -> Path:
        """What processes of this machine verify the SuperLink by; its key was thrown away."""
        return self.path / "tls" / "loopback-ca.pem"

    @property
    def loopback_certificate(self) -> Path:
        """Of the SuperLink behind the edge: for localhost, 127.0.0.1 and ::1 alone."""
        return self.path / "tls" / "loopback.pem"

    @property
    def loopback_key(self) -> Path:
        """Its private key."""
        return self.path / "tls" / "loopback.key"

    @property
    def sites(self) -> Path:
        """One accepted request per site."""
        return self.path / "sites"

    def request(self, site: str) -> Path:
        """The request that a site was enrolled with."""
        return self.sites / f"{site}.request"

    def countersignature(self, site: str) -> Path:
        """A site's signature on roster and rules."""
        return self.path / "countersignatures" / f"{site}.json"

    def package(self, site: str) -> Path:
        """What a site installs."""
        return self.path / "packages" / f"{site}.hedgerow"

    def bundle(self, version: str) -> Path:
        """The app bundle of one version of hedgerow."""
        return self.path / "app" / f"hedgerow-{version}.fab"

    @property
    def superlink(self) -> Path:
        """Flower's database, secrets and home; holds updates in transit: masked, and 0700."""
        return self.path / "superlink"

    @property
    def database(self) -> Path:
        """Of the SuperLink."""
        return self.superlink / "state.db"

    @property
    def superexec_secret(self) -> Path:
        """Shared by the SuperLink and its SuperExec."""
        return self.superlink / "superexec.secret"

    @property
    def flwr_home(self) -> Path:
        """FLWR_HOME of the coordinator's Flower processes."""
        return self.superlink / "flwr"

    @property
    def runs(self) -> Path:
        """Run folders."""
        return self.path / "runs"

    @property
    def audit(self) -> Path:
        """Hash-chained log of what was done here."""
        return self.path / "audit.jsonl"

    @property
    def log(self) -> Path:
        """Folder of structured logs."""
        return self.path / "log"

    @property
    def lock(self) -> Path:
        """Held while a command changes this folder."""
        return self.path / ".lock"

    def config(self) -> CoordinatorConfig:
        """The settings.

        Raises:
            UsageError: this is no federation's folder, or the file cannot be read.
            ConfigError: a setting is wrong.
        """
        if not self.config_file.is_file():
            raise UsageError(
                f"{self.path} is no federation's folder: it holds no coordinator.toml; "
                "hedgerow coordinator init makes one"
            )
        return CoordinatorConfig.read(self.config_file)

    def create(self, config: CoordinatorConfig) -> None:
        """Make the folders, for their owner alone, and the settings.

        Raises:
            UsageError: there is something at the path already.
        """
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise UsageError(f"{self.path} exists and is not empty; a federation gets a new folder")
        folders = (
            "ca", "tls", "consortium", "sites", "countersignatures", "packages", "app",
            "superlink", "superlink/flwr", "runs", "log",
        )  # fmt: skip
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path.chmod(0o700)
        for folder in folders:
            (self.path / folder).mkdir(mode=0o700)
        config.write(self.config_file)
