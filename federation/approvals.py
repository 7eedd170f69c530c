"""`approvals.json`: the app bundles and the code of tasks that a site approved, by hash."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError

from federation.canonical import Digest
from federation.durable_file import write_atomically
from federation.errors import IntegrityError, StorageError, UsageError
from federation.file_lock import hold
from federation.section import Section

LARGEST_BYTES = 2**20
"""The file is never longer."""
PATIENCE_SECONDS = 10.0
"""For another command that is writing."""


class BundleApproval(Section):
    """That the site approved an app bundle."""

    version: Annotated[str, Field(max_length=64)]
    """What the bundle says its version is."""
    approved: str
    """When, UTC, ISO 8601."""
    note: Annotated[str, Field(max_length=500)] = ""
    """Who and why, in the site's own words."""


class TaskApproval(Section):
    """That the site approved the code of a task."""

    sha256: Digest
    """`federation.task_digest.TaskCode.digest`."""
    approved: str
    """When, UTC, ISO 8601."""


class Approvals(Section):
    """What one site approved."""

    schema_: Literal["hedgerow/approvals/v1"] = Field("hedgerow/approvals/v1", alias="schema")
    """Of this file."""
    bundles: dict[Digest, BundleApproval] = Field(default_factory=dict)
    """By SHA-256 of the bundle's file."""
    tasks: dict[str, TaskApproval] = Field(default_factory=dict)
    """By the task's name."""

    def is_approved(self, bundle: str) -> bool:
        """Whether the site approved the bundle with this SHA-256, hexadecimal."""
        return bundle in self.bundles

    def is_task_approved(self, name: str, digest: str) -> bool:
        """Whether the site approved this task with this code."""
        return name in self.tasks and self.tasks[name].sha256 == digest

    @property
    def latest_bundle(self) -> str | None:
        """SHA-256 of the bundle that was approved last."""
        return max(self.bundles, key=lambda digest: self.bundles[digest].approved, default=None)

    def with_bundle(self, digest: str, approval: BundleApproval) -> Self:
        """These and one bundle more."""
        return self.model_copy(update={"bundles": self.bundles | {digest: approval}})

    def without_bundle(self, digest: str) -> Self:
        """These but for one bundle.

        Raises:
            UsageError: it is not among them.
        """
        if digest not in self.bundles:
            raise UsageError(f"the bundle {digest} is not approved, so nothing was withdrawn")
        rest = {key: value for key, value in self.bundles.items() if key != digest}
        return self.model_copy(update={"bundles": rest})

    def with_task(self, name: str, approval: TaskApproval) -> Self:
        """These, and the task with this code instead of any other."""
        return self.model_copy(update={"tasks": self.tasks | {name: approval}})

    def without_task(self, name: str) -> Self:
        """These but for one task.

        Raises:
            UsageError: it is not among them.
        """
        if name not in self.tasks:
            raise UsageError(f"the task {name} is not approved, so nothing was withdrawn")
        rest = {key: value for key, value in self.tasks.items() if key != name}
        return self.model_copy(update={"tasks": rest})

    def to_bytes(self) -> bytes:
        """JSON for people to read, too."""
        plain = self.model_dump(mode="json", by_alias=True)
        return json.dumps(plain, indent=1, sort_keys=True).encode() + b"\n"

    @classmethod
    def read(cls, path: Path) -> Self:
        """What is approved now; nothing, if there is no file.

        Raises:
            UsageError: the file cannot be read.
            IntegrityError: it holds something else; nothing may be taken to be approved.
        """
        try:
            with path.open("rb") as file:
                data = file.read(LARGEST_BYTES + 1)
        except FileNotFoundError:
            return cls()
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from error
        if len(data) > LARGEST_BYTES:
            raise IntegrityError(f"{path} is longer than {LARGEST_BYTES} bytes; it is no approvals")
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise IntegrityError(f"{path}: {where}: {first['msg']}") from error


def change_approvals(path: Path, change: Callable[[Approvals], Approvals]) -> Approvals:
    """Read, change and replace the file, alone among those who do so; returns what it holds now.

    Raises:
        UsageError, IntegrityError: as `Approvals.read`, or as `change` raises.
        StorageError: another command is writing.
    """
    try:
        lock = hold(path.parent / f".{path.name}.lock", PATIENCE_SECONDS)
    except BlockingIOError as error:
        raise StorageError(f"another command is writing {path}; try again") from error
    try:
        changed = change(Approvals.read(path))
        write_atomically(path, changed.to_bytes(), mode=0o600)
    finally:
        os.close(lock)
    return changed
