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
from federation.partition_choice import MOST_SITES, numbered_sites
from federation.section import FEWEST_SITES
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
    _count_the_sites(merged)
    for override in overrides:
        if override.partition("=")[0].strip() == "federation.sites":
            _partition_of(merged).pop("sites", None)  # the later word holds
        _apply(merged, override)
        _count_the_sites(merged)
    _name_the_sites(merged)
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


def _partition_of(table: Table) -> Table:
    """The table `simulation.partition`, or an empty one that is not part of `table`."""
    simulation = table.get("simulation")
    partition = simulation.get("partition") if isinstance(simulation, dict) else None
    return partition if isinstance(partition, dict) else {}


def _count_the_sites(table: Table) -> None:
    """Write `federation.sites = 12` as `simulation.partition.sites = 12`, which it is short for.

    Raises:
        ConfigError: too few, or both are there and differ; or it is neither a number nor names.
    """
    rules = table.get("federation")
    given = rules.get("sites") if isinstance(rules, dict) else None
    if isinstance(given, bool | float | str):
        raise ConfigError(
            "federation.sites", given, "a whole number, how many, or a list of names, which",
            "in a simulation; real sites are named",
        )  # fmt: skip
    if not isinstance(rules, dict) or not isinstance(given, int):
        return
    count = rules.pop("sites")
    if count < FEWEST_SITES:
        raise ConfigError(
            "federation.sites", count, f"at least {FEWEST_SITES} sites",
            "with fewer, the sum gives a single site away",
        )  # fmt: skip
    there = _partition_of(table).get("sites", count)
    if there != count:
        raise ConfigError(
            "federation.sites", count, f"simulation.partition.sites = {there}, which it is short "
            "for", "leave one of the two out",
        )  # fmt: skip
    simulation = table.setdefault("simulation", {})
    partition = simulation.setdefault("partition", {}) if isinstance(simulation, dict) else None
    if isinstance(partition, dict):
        partition["sites"] = count


def _name_the_sites(table: Table) -> None:
    """Name the sites that a partition makes, where it says how many and nothing names them."""
    partition = _partition_of(table)
    count, kind = partition.get("sites"), partition.get("kind", "natural")
    if kind == "natural" or type(count) is not int or not FEWEST_SITES <= count <= MOST_SITES:
        return
    rules = table.setdefault("federation", {})
    if isinstance(rules, dict) and not rules.get("sites"):
        rules["sites"] = list(numbered_sites(count))


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
