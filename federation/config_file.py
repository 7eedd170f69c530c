"""Reading and writing `federation.toml`: one clear error for the first thing that is wrong."""

import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tomli_w

from federation.config import FederationConfig, usual_quorum, usual_threshold
from federation.errors import ConfigError, UsageError
from federation.settings_file import validated

Table = dict[str, Any]  # a TOML table before validation: whatever the user wrote


def read(path: Path, overrides: Iterable[str] = ()) -> FederationConfig:
    """The configuration in `path` with `--set section.key=value` overrides applied.

    Raises:
        UsageError: the file cannot be read or is no TOML; names line and column.
        ConfigError: a key or value is wrong; names it, the expectation and the nearest valid name.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
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
    return validated(FederationConfig, merged)


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
