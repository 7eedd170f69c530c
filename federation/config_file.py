"""Reading and writing `federation.toml`: one clear error for the first thing that is wrong."""

import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import tomli_w
from pydantic import BaseModel, ValidationError

from federation.config import FederationConfig, usual_quorum, usual_threshold
from federation.errors import ConfigError, UsageError

_WORDING = {
    "a valid integer": "a whole number",
    "an object": "a table",
    "a valid tuple": "a list",
    "greater than or equal to": "a number >=",
    "greater than": "a number >",
    "less than or equal to": "a number <=",
    "less than": "a number <",
}

Table = dict[str, Any]  # a TOML table before validation: whatever the user wrote


def read(path: Path, overrides: Iterable[str] = ()) -> FederationConfig:
    """The configuration in `path` with `--set section.key=value` overrides applied.

    Raises:
        UsageError: the file cannot be read or is no TOML; names line and column.
        ConfigError: a key or value is wrong; names it, the expectation and the nearest valid name.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from error
    return parse(table, overrides)


def parse(table: Mapping[str, Any], overrides: Iterable[str] = ()) -> FederationConfig:
    """The configuration in a parsed TOML table, with overrides applied.

    Raises:
        ConfigError: as `read`.
    """
    merged = json.loads(json.dumps(table, default=str))
    for override in overrides:
        _apply(merged, override)
    _suit_to_the_sites(merged)
    try:
        return FederationConfig.model_validate_json(json.dumps(merged))
    except ValidationError as error:
        raise _first_error(error) from error


def write_text(config: FederationConfig) -> str:
    """The configuration as TOML, every setting spelled out; `read` gives the same back."""
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True), multiline_strings=True)


def require_known(key: str, value: str, known: Iterable[str]) -> None:
    """Return if `value` is one of `known`.

    Raises:
        ConfigError: it is not; names the nearest that is.
    """
    names = list(known)
    if value in names:
        return
    near = difflib.get_close_matches(value, names, n=1, cutoff=0.4)
    remedy = f"did you mean {near[0]}?" if near else ""
    raise ConfigError(key, value, f"one of {', '.join(names)}", remedy)


def _suit_to_the_sites(table: Table) -> None:
    """Give quorum and threshold, where left out, what suits the sites that are named."""
    rules = table.get("federation")
    if not isinstance(rules, dict):
        return
    sites = rules.get("sites")
    if isinstance(sites, list) and sites:
        rules.setdefault("quorum", usual_quorum(len(sites)))
        rules.setdefault("threshold", usual_threshold(len(sites)))


def _apply(table: Table, override: str) -> None:
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError("--set", override, "section.key=value", "for instance run.rounds=5")
    target = table
    for key in keys[:-1]:
        inner = target.setdefault(key, {})
        if not isinstance(inner, dict):
            raise ConfigError("--set", override, f"{key} to be a section")
        target = inner
    target[keys[-1]] = _toml_value(text.strip())


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word is meant as a string: --set task.name=digits


def _first_error(error: ValidationError) -> ConfigError:
    details = error.errors()
    # An unknown key is the likelier cause of what else seems wrong or missing beside it.
    first = next((d for d in details if d["type"] == "extra_forbidden"), details[0])
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, ConfigError):
        return cause
    location = [str(part) for part in first["loc"] if part != "[key]"]
    if location[:2] == ["task", "options"] and len(location) > 2:
        # A union of kinds: pydantic's own text speaks of the first kind only.
        return ConfigError(
            ".".join(location[:3]),
            first["input"],
            "true, false, a number, a text, or a list of whole numbers, of numbers or of texts",
        )
    key = ".".join(location)
    if first["type"] == "extra_forbidden":
        known = _known_keys(location[:-1])
        near = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
        remedy = f"did you mean {'.'.join([*location[:-1], near[0]])}?" if near else ""
        return ConfigError(
            key, first["input"], f"no such key; known here: {', '.join(known)}", remedy
        )
    return ConfigError(key, first["input"], _expectation(first["type"], first["msg"], first))


def _expectation(kind: str, message: str, detail: Any) -> str:
    context = detail.get("ctx", {})
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


def _known_keys(location: list[str]) -> list[str]:
    model: Any = FederationConfig
    for part in location:
        field = getattr(model, "model_fields", {}).get(part)
        if field is None:
            continue  # an index of a list: the element's keys are wanted
        model = field.annotation
        for inner in get_args(model):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                model = inner
    return sorted(getattr(model, "model_fields", {}))
