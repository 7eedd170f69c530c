"""Finding a task by name: built in, or `package.module:attribute` of the user's own."""

import difflib
import importlib
import sys
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path

from federation.errors import ConfigError, HedgerowError, UsageError
from federation.task import Task
from federation.task_options import require_options

GROUP = "hedgerow.tasks"


def load_task(name: str, options: Mapping[str, object]) -> Task:
    """The task called `name`, constructed with `options`.

    Args:
        name: a built-in name, or `package.module:attribute` where the attribute is a class or
            function to call with the options, or a ready task that takes none.
        options: keyword arguments.

    Raises:
        ConfigError: no such task, or it does not take these options.
        UsageError: the user's module fails to import or to construct the task.
    """
    found = _user_attribute(name) if ":" in name else _built_in(name)
    if not callable(found):
        if options:
            raise ConfigError(
                "task.options", dict(options), f"none: {name} is a ready task, not a class"
            )
        return _checked(name, found)
    return _checked(name, _construct(name, found, options))


def add_search_folder(folder: Path) -> None:
    """Let tasks be imported from `folder`, after everything else.

    At the end, so that a user's `client.py` cannot shadow a package of ours.
    """
    entry = str(folder.resolve())
    if entry not in sys.path:
        sys.path.append(entry)


def built_in_names() -> list[str]:
    """Names of the installed built-in tasks."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def require_task_name(name: str) -> None:
    """Return if `name` is that of a built-in task, or could be one of the user's; imports nothing.

    Raises:
        ConfigError: it is neither.
    """
    if ":" not in name and name not in built_in_names():
        raise _unknown(name)


def _built_in(name: str) -> object:
    for point in entry_points(group=GROUP, name=name):
        return point.load()
    raise _unknown(name)


def _unknown(name: str) -> ConfigError:
    known = built_in_names()
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    return ConfigError(
        "task.name",
        name,
        f"one of {', '.join(known)}, or 'package.module:attribute'",
        f"did you mean {near[0]}?" if near else "",
    )


def _user_attribute(name: str) -> object:
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and not module_name.startswith(error.name):
            raise UsageError(f"task {name}: importing {module_name} needs {error.name}") from error
        raise ConfigError(
            "task.name",
            name,
            f"an importable module, but there is no {module_name!r}",
            "run the command in the folder that holds it, or install it",
        ) from error
    except HedgerowError:
        raise
    except (Exception, SystemExit) as error:
        raise UsageError(f"task {name}: importing it failed: {_brief(error)}") from error
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        near = difflib.get_close_matches(attribute, dir(module), n=1, cutoff=0.4)
        raise ConfigError(
            "task.name",
            name,
            f"an attribute of {module_name}, which has no {attribute!r}",
            f"did you mean {module_name}:{near[0]}?" if near else "",
        ) from error


def _construct(name: str, factory: object, options: Mapping[str, object]) -> object:
    assert callable(factory)
    require_options(name, factory, options)
    try:
        return factory(**options)
    except HedgerowError:
        raise
    except (Exception, SystemExit) as error:
        raise UsageError(f"task {name}: constructing it failed: {_brief(error)}") from error


def _checked(name: str, candidate: object) -> Task:
    if isinstance(candidate, Task):
        return candidate
    wanted = [word for word in ("schema", "sites", "build_model", "loss", "probabilities", "load")
              if not hasattr(candidate, word)]  # fmt: skip
    raise ConfigError("task.name", name, "a federation.task.Task", f"it has no {', '.join(wanted)}")


def _brief(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
