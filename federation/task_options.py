"""What `[task.options]` may hold: what the task's own signature says, held to its annotations."""

import difflib
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any, Unpack, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from federation.errors import ConfigError
from federation.setting_error import option_error


def require_options(
    task: str, factory: Callable[..., object], options: Mapping[str, object]
) -> None:
    """Return if the factory takes these options, as far as its signature tells.

    An annotation that says nothing to pydantic, or that cannot be resolved, is not held against a
    value; neither is a value that no settings file could hold.

    Args:
        task: its name, for the error.
        factory: the class or function that is called with the options.
        options: keyword arguments, as a settings file holds them.

    Raises:
        ConfigError: an unknown option, one of the wrong type, or one that has to be given.
    """
    try:
        parameters = inspect.signature(factory).parameters
    except ValueError:  # of some built-in callables
        return
    named = {
        name: parameter
        for name, parameter in parameters.items()
        if parameter.kind in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}
    }
    hints = _hints(factory)
    spelled_out = _of_unpacked_dict(parameters, hints)
    named |= spelled_out
    takes_any = not spelled_out and any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name, value in options.items():
        if name not in named and not takes_any:
            raise _unknown(task, name, value, named)
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name in named and name not in options:
            raise ConfigError(f"task.options.{name}", None, f"it to be set: {task} needs it")
    hints |= {name: parameter.annotation for name, parameter in spelled_out.items()}
    for name, value in options.items():
        if name in hints:
            _require_type(name, value, hints[name])


def _of_unpacked_dict(
    parameters: Mapping[str, inspect.Parameter], hints: Mapping[str, Any]
) -> dict[str, inspect.Parameter]:
    """What `**options: Unpack[SomeTypedDict]` spells out; nothing of other keyword arguments."""
    for name, parameter in parameters.items():
        hint = hints.get(name)
        if parameter.kind is parameter.VAR_KEYWORD and get_origin(hint) is Unpack:
            (spelled_out,) = get_args(hint)
            return {
                key: inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, annotation=of)
                for key, of in get_type_hints(spelled_out).items()
            }
    return {}


def _unknown(
    task: str, name: str, value: object, named: Mapping[str, inspect.Parameter]
) -> ConfigError:
    known = ", ".join(
        option if p.default is p.empty else f"{option}={p.default!r}" for option, p in named.items()
    )
    near = difflib.get_close_matches(name, named, n=1, cutoff=0.5)
    return ConfigError(
        f"task.options.{name}",
        value,
        f"no such option; {task} takes {known}" if named else f"none: {task} takes no options",
        f"did you mean {near[0]}?" if near else "",
    )


def _hints(factory: Callable[..., object]) -> dict[str, Any]:
    try:
        return get_type_hints(factory.__init__ if inspect.isclass(factory) else factory)
    except (NameError, TypeError, AttributeError):
        return {}


def _require_type(name: str, value: object, hint: Any) -> None:
    # By way of JSON: its lists may become tuples and its texts paths; nothing else is converted.
    try:
        TypeAdapter(hint).validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        raise option_error(name, error) from error
    except (PydanticUserError, TypeError):
        return
