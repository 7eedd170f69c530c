"""The hash of a task's code, taken without running any of it.

What a task does to rows is decided by its code, so a site approves that and not a name. Hashed is
the whole package that the task is in, with its data; for a task in a module that is in no package,
that file. What the package imports from elsewhere is the site's own installation.
"""

import hashlib
import importlib.util
import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points
from pathlib import Path

from federation import canonical
from federation.errors import ConfigError, DataError
from federation.task_loading import GROUP, built_in_names

OWN_PACKAGE, OWN_TASKS = "simulations", "tasks"
"""Hedgerow's own tasks: of that package only this folder is tasks' code."""
CACHES = "__pycache__"
"""Left out, and not read by who calls `distrust_cached_bytecode`."""
LARGEST_PACKAGE = 2**32
"""Bytes; a package that holds more is a data set, which does not belong in one."""


@dataclass(frozen=True, slots=True)
class TaskCode:
    """What a task is made of.

    Attributes:
        module: full name of the task's module.
        root: the package's folder, or the module's file.
        files: SHA-256 by path, seen from the folder that `root` is in, with forward slashes.
    """

    module: str
    root: Path
    files: dict[str, str]

    @property
    def digest(self) -> str:
        """Of module and files, 64 hexadecimal digits."""
        return canonical.digest({"module": self.module, "files": self.files})


def task_code(name: str) -> TaskCode:
    """The code of the task called `name`, as it lies on the disk; nothing of it is imported.

    Args:
        name: a built-in name, or `package.module:attribute`.

    Raises:
        ConfigError: no such task.
        DataError: its code is not in files that can be read and hashed.
    """
    module = _module_of(name)
    root = _root(name, module)
    return TaskCode(module, root, dict(_hashed(root)))


def task_digest(name: str) -> str:
    """The hash that a site approves: `task_code(name).digest`.

    Raises:
        ConfigError, DataError: as `task_code`.
    """
    return task_code(name).digest


def distrust_cached_bytecode() -> None:
    """Have this process import from source alone.

    A compiled file can be made so that Python takes it without a look at the source beside it
    (PEP 552, unchecked), so hashes of sources say nothing of what such a file does.
    """
    sys.pycache_prefix = f"{os.devnull}/none"  # where nothing can be
    sys.dont_write_bytecode = True


def _module_of(name: str) -> str:
    if ":" in name:
        return name.partition(":")[0]
    for point in entry_points(group=GROUP, name=name):
        return point.module
    raise ConfigError(
        "task", name, f"one of {', '.join(built_in_names())}, or 'package.module:attribute'"
    )


def _root(name: str, module: str) -> Path:
    top = module.partition(".")[0]
    try:
        found = importlib.util.find_spec(top)
    except (ImportError, ValueError) as error:
        raise ConfigError("task", name, f"an importable module: {error}") from error
    if found is None:
        raise ConfigError(
            "task",
            name,
            f"an importable module, but there is no {top!r}",
            "run the command in the folder that holds it, or install it",
        )
    root = _location(name, found)
    return root / OWN_TASKS if top == OWN_PACKAGE else root


def _location(name: str, found: ModuleSpec) -> Path:
    folders = found.submodule_search_locations
    if folders is None:
        if not found.has_location or found.origin is None or not Path(found.origin).is_file():
            raise DataError(f"task {name}: its module is in no file of its own, so has no hash")
        return Path(found.origin)
    places = list(folders)
    if len(places) != 1 or not Path(places[0]).is_dir():
        raise DataError(
            f"task {name}: the package {found.name} lies in {len(places)} places or in no folder; "
            "its code has no one hash"
        )
    return Path(places[0])


def _hashed(root: Path) -> Iterator[tuple[str, str]]:
    total = 0
    for path in [root] if root.is_file() else sorted(_files(root)):
        total += path.stat().st_size
        if total > LARGEST_PACKAGE:
            raise DataError(f"{root} holds more than {LARGEST_PACKAGE} bytes; keep data elsewhere")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        yield path.relative_to(root.parent).as_posix(), digest


def _files(folder: Path) -> Iterator[Path]:
    """All files below, those behind a link to a file too.

    Raises:
        DataError: a link to a folder, which Python would import from, or something else.
    """
    for path in folder.iterdir():
        if path.name == CACHES:
            continue
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode):
            yield from _files(path)
        elif path.is_file():
            yield path
        else:
            raise DataError(f"{path} is a link to a folder or no file; a task's code has no such")
