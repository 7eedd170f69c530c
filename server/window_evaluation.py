"""Which windows a model is judged on: the reference frozen first, each window counted once."""

from dataclasses import dataclass

from federation.errors import IntegrityError, UsageError
from federation.evaluation_record import EvaluationFolder, FrozenReference
from federation.task import CURRENT, REFERENCE
from server.evaluation_run import Evaluator


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user wants judged.

    Attributes:
        windows: in order of time; empty means the task's current window.
        reference: what they are compared with; None means the one that is frozen already, or the
            task's reference window.
    """

    windows: tuple[str, ...] = ()
    reference: str | None = None

    @property
    def named(self) -> tuple[str, ...]:
        """The windows, each once."""
        return tuple(dict.fromkeys(self.windows or (CURRENT,)))


def uncounted(folder: EvaluationFolder, asked: Asked) -> tuple[str, ...]:
    """The windows that are still to be counted, in the order they were asked in.

    Raises:
        UsageError: another reference is frozen already, or a window is the reference itself.
        IntegrityError: a kept sum is not what was written.
    """
    frozen = folder.read_reference()
    reference = frozen.record.window if frozen else asked.reference or REFERENCE
    if asked.reference not in (None, reference):
        raise UsageError(
            f"--reference {asked.reference}: this run's reference is frozen already, on the window "
            f"{reference}; later windows are compared with that one"
        )
    if reference in asked.named:
        raise UsageError(
            f"--window {reference}: it is the reference; choose another to compare with it"
        )
    counted = {record.window for record in folder.read_windows()}
    return tuple(window for window in asked.named if window not in counted)


def count_windows(evaluator: Evaluator, asked: Asked) -> None:
    """Count what was not counted yet.

    Raises:
        HedgerowError: what was summed stays, and is not asked again.
    """
    evaluator.folder.path.mkdir(exist_ok=True, mode=0o700)
    left = uncounted(evaluator.folder, asked)
    reference = _reference(evaluator, asked)
    for window in left:
        evaluator.window(reference, window)


def _reference(evaluator: Evaluator, asked: Asked) -> FrozenReference:
    frozen = evaluator.folder.read_reference()
    if frozen is None:
        return evaluator.freeze(asked.reference or REFERENCE)
    if frozen.record.spec_sha256 != evaluator.spec.digest():
        raise IntegrityError(
            f"{evaluator.folder.reference} was counted for another schema of the task; the task "
            "was changed since"
        )
    return frozen
