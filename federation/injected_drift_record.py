"""`injected-drift.json`: which held-out rows a simulation changed, and how; detectors' truth."""

from typing import Literal

from pydantic import ValidationError

from federation.durable_file import write_atomically
from federation.errors import IntegrityError
from federation.run_folder import RunFolder
from federation.summary import Part

FILE = "injected-drift.json"
InjectedKind = Literal["covariate", "label", "concept"]


class InjectedChange(Part):
    """One change of one window.

    Attributes:
        strength: in effect in this window, as in `[[simulation.drift]]`.
        sites: whose rows.
    """

    window: str
    kind: InjectedKind
    how: Literal["resample", "shift"]
    feature: str
    level: str
    above: float | None
    strength: float
    sites: tuple[str, ...]


class InjectedDriftRecord(Part):
    """All changes of a run.

    Attributes:
        windows: that can be evaluated, in order of time.
        changes: none of a window that was left alone.
    """

    schema_id: Literal["hedgerow/injected-drift/1"] = "hedgerow/injected-drift/1"
    windows: tuple[str, ...]
    changes: tuple[InjectedChange, ...]

    def kinds_in(self, window: str) -> frozenset[InjectedKind]:
        """What was injected into a window, at any site."""
        return frozenset(change.kind for change in self.changes if change.window == window)


def write_injected(folder: RunFolder, record: InjectedDriftRecord) -> None:
    """Write the truth into a run's folder."""
    write_atomically(folder.path / FILE, record.model_dump_json(indent=1).encode() + b"\n")


def read_injected(folder: RunFolder) -> InjectedDriftRecord | None:
    """The truth that stands in a run's folder; None if nothing was injected.

    Raises:
        IntegrityError: it is not what was written.
    """
    path = folder.path / FILE
    try:
        return InjectedDriftRecord.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise IntegrityError(f"{path} is not what was written") from error
