"""The files that a consortium hands to every site and to the coordinator.

consortium.pub  roster.json  run-rules.json  membership.json (all of it in one; not in simulations)
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from federation.consortium import Consortium
from federation.durable_file import write_atomically
from federation.errors import IntegrityError, UsageError
from federation.roster import Roster
from federation.run_rules import SignedRunRules

_COMPARE = "put back the key that the consortium told you by another way than the coordinator"
_ASK = "ask the consortium for the one in force"


@dataclass(frozen=True, slots=True)
class ConsortiumFiles:
    """The files of one folder, verified when they are read."""

    folder: Path

    @property
    def consortium(self) -> Path:
        """The pinned public key, as PEM."""
        return self.folder / "consortium.pub"

    @property
    def roster(self) -> Path:
        """The certificates of all sites."""
        return self.folder / "roster.json"

    @property
    def run_rules(self) -> Path:
        """What the consortium demands of every run."""
        return self.folder / "run-rules.json"

    @property
    def membership(self) -> Path:
        """Roster, rules and the release that names both (`federation.membership`)."""
        return self.folder / "membership.json"

    def write(self, roster: Roster, rules: SignedRunRules) -> None:
        """Write all three, each atomically; the pinned key is the roster's."""
        write_atomically(self.consortium, roster.consortium.to_pem())
        write_atomically(self.roster, roster.to_bytes())
        write_atomically(self.run_rules, rules.to_bytes())

    def read_roster(self, now: int) -> Roster:
        """The certificates under the pinned key, all of them good at `now`.

        Raises:
            UsageError: a file cannot be read.
            IntegrityError: the key or a certificate is not what was written, or has expired; one
                line that names the file and what to do.
        """
        return self._roster(lambda data, key: Roster.from_bytes(data, key, now))

    def read_roster_of_any_time(self) -> Roster:
        """The certificates under the pinned key, also if they have expired: to look at the past.

        Raises:
            UsageError: a file cannot be read.
            IntegrityError: the key or a certificate is not what was written.
        """
        return self._roster(Roster.of_any_time)

    def read_consortium(self) -> Consortium:
        """The pinned key.

        Raises:
            UsageError: the file cannot be read.
            IntegrityError: it holds something else.
        """
        data = _read(self.consortium, "the consortium's key")
        try:
            return Consortium.from_pem(data)
        except IntegrityError as error:
            raise IntegrityError(f"{self.consortium}: {error}; {_COMPARE}") from error

    def _roster(self, parsed: Callable[[bytes, Consortium], Roster]) -> Roster:
        consortium = self.read_consortium()
        data = _read(self.roster, "the roster")
        try:
            return parsed(data, consortium)
        except IntegrityError as error:
            raise IntegrityError(f"{self.roster}: {error}; {_ASK}") from error

    def read_run_rules(self, roster: Roster) -> SignedRunRules:
        """The rules that the roster's consortium signed for its federation.

        Raises:
            UsageError: the file cannot be read.
            IntegrityError: they are not that; one line that names the file and what to do.
        """
        data = _read(self.run_rules, "the run rules")
        try:
            return SignedRunRules.from_bytes(data, roster.consortium, roster.federation)
        except IntegrityError as error:
            raise IntegrityError(f"{self.run_rules}: {error}; {_ASK}") from error


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"cannot read {what} {path}: {error.strerror}; the consortium hands it out"
        ) from error
