"""What is wrong with a settings file, in the words of a person: one error, the first."""

import difflib
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from federation.errors import ConfigError

_WORDING = {
    "a valid integer": "a whole number",
    "an object": "a table",
    "a valid tuple": "a list",
    "a valid array": "a list",
    "a valid number": "a number",
    "a valid string": "a text",
    "a valid boolean": "true or false",
    "String should have at least 1 character": "a text that is not empty",
    "greater than or equal to": "a number >=",
    "greater than": "a number >",
    "less than or equal to": "a number <=",
    "less than": "a number <",
}

SLIP, GUESS = 0.8, 0.5
"""Likeness of two names: from the first on one is the other misspelt; below the second, unlike."""


def first_error(error: ValidationError, model: type[BaseModel]) -> ConfigError:
    """The first thing that is wrong, with the expectation and the nearest valid name.

    Args:
        error: of validating a whole file.
        model: that the file was validated against.
    """
    details = error.errors()
    # An unknown key is the likelier cause of what else seems wrong or missing beside it.
    first = next((d for d in details if d["type"] == "extra_forbidden"), details[0])
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, ConfigError):
        return cause
    location = [str(part) for part in first["loc"]]
    if location[-1] == "[key]":  # the name itself is wrong, not what it stands for
        key = f"a name in {'.'.join(location[:-2])}"
        return ConfigError(key, first["input"], _expectation(first["type"], first["msg"], first))
    if location[:2] == ["task", "options"] and len(location) > 2:
        # A union of kinds: pydantic's own text speaks of the first kind only.
        return ConfigError(
            ".".join(location[:3]),
            first["input"],
            "true, false, a number, a text, or a list of whole numbers, of numbers or of texts",
        )
    key = ".".join(location)
    if first["type"] == "extra_forbidden":
        known = _known_keys(model, location[:-1])
        remedy = _where_it_belongs(model, location, known)
        return ConfigError(
            key, first["input"], f"no such key; known here: {', '.join(known)}", remedy
        )
    given = None if first["type"] == "missing" else first["input"]
    return ConfigError(key, given, _expectation(first["type"], first["msg"], first))


def option_error(name: str, error: ValidationError) -> ConfigError:
    """The first thing that is wrong with an option of a task.

    Args:
        name: of the option.
        error: of validating its value against its annotation.
    """
    first = error.errors()[0]
    # Of a union, pydantic's location also says which kind it was tried as; an index says which one
    # of a list is meant.
    places = [str(part) for part in first["loc"] if isinstance(part, int)]
    key = ".".join(["task.options", name, *places])
    return ConfigError(key, first["input"], _expectation(first["type"], first["msg"], first))


def _where_it_belongs(model: type[BaseModel], location: list[str], known: list[str]) -> str:
    """The nearest name beside an unknown key, or the section that the key is really of."""
    *section, name = location
    sections = sorted(model.model_fields)
    if section and name in sections:
        return f"[{name}] is a section of its own"
    elsewhere = [f"{other}.{name}" for other in sections if name in _known_keys(model, [other])]
    near = [".".join([*section, match]) for match in _nearest(name, known, SLIP)]
    likely = [".".join([*section, match]) for match in _nearest(name, known, GUESS)]
    longer = [".".join([*section, other]) for other in known if name in other.split("_")]
    meant = " or ".join(near or [*longer, *elsewhere] or likely)
    return f"did you mean {meant}?" if meant else ""


def _nearest(name: str, known: list[str], likeness: float) -> list[str]:
    return difflib.get_close_matches(name, known, n=1, cutoff=likeness)


def _expectation(kind: str, message: str, detail: Any) -> str:
    context = detail.get("ctx", {})
    if kind == "missing":
        return "it to be set"
    if kind == "literal_error":
        near = difflib.get_close_matches(
            str(detail["input"]), _quoted(context["expected"]), n=1, cutoff=0.5
        )
        return str(context["expected"]) + (f"; did you mean '{near[0]}'?" if near else "")
    if kind == "string_pattern_mismatch":
        return "a name of lower-case letters, digits, '-' and '_', 63 at most"
    plain = message.removeprefix("Input should be ").removeprefix("Value error, ")
    for pydantic_says, we_say in _WORDING.items():
        plain = plain.replace(pydantic_says, we_say)
    return plain


def _quoted(expected: str) -> list[str]:
    return [part.strip(" '") for part in expected.replace(" or ", ",").split(",")]


def _known_keys(whole: type[BaseModel], location: list[str]) -> list[str]:
    model: Any = whole
    for part in location:
        field = getattr(model, "model_fields", {}).get(part)
        if field is None:
            continue  # an index of a list: the element's keys are wanted
        model = field.annotation
        for inner in get_args(model):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                model = inner
    return sorted(getattr(model, "model_fields", {}))
