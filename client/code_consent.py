"""Does the site run this task's code? By hash, before any of it is imported."""

from collections.abc import Callable
from pathlib import Path

from client.consent import Refusal
from federation.approvals import Approvals
from federation.site_policy import SitePolicy
from federation.task_digest import distrust_cached_bytecode, task_code

CheckCode = Callable[[str], None]
"""Takes a task's name; raises Refusal."""


def approves_code(policy: SitePolicy, approvals: Path) -> bool:
    """Whether the site runs approved code only: its policy says so, or it began to approve any."""
    return policy.approved_code_only or approvals.exists()


def check_code(policy: SitePolicy, approvals: Path) -> CheckCode:
    """A check of a task's code against a site's approvals, which are read anew each time.

    The check raises:
        Refusal: `task_not_approved`: other code than what was approved, or none was.
        HedgerowError: the approvals or the code cannot be read.
    """

    def check(task: str) -> None:
        if not approves_code(policy, approvals):
            return
        if not Approvals.read(approvals).is_task_approved(task, task_code(task).digest):
            raise Refusal(
                "task_not_approved", f"this site has not approved the code that it has of {task}"
            )
        distrust_cached_bytecode()

    return check
