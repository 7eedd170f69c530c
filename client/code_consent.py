"""Does the site run this task's code? By hash, before any of it is imported."""

from collections.abc import Callable
from pathlib import Path

from client.consent import Refusal
from federation.approvals import Approvals
from federation.task_digest import distrust_cached_bytecode, task_digest

CheckCode = Callable[[str], None]
"""Takes a task's name; raises Refusal."""


def check_code(approvals: Path) -> CheckCode:
    """A check of a task's code against a site's approvals, which are read anew each time.

    Without a file of approvals nothing is approved.

    The check raises:
        Refusal: `task_code_not_approved`: other code than what was approved, or none was.
        HedgerowError: the approvals or the code cannot be read.
    """

    def check(task: str) -> None:
        if not Approvals.read(approvals).is_task_approved(task, task_digest(task)):
            raise Refusal(
                "task_code_not_approved",
                f"this site has not approved the code that it has of {task}",
            )
        distrust_cached_bytecode()

    return check
