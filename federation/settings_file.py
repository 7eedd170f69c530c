"""Reading a TOML file of settings into a strict model: one clear error for what is wrong."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from federation.bounded_file import read_bounded
from federation.errors import ConfigError, UsageError
from federation.setting_error import first_error

LARGEST_BYTES = 2**20
"""No settings file is longer: a larger one is something else."""

M = TypeVar("M", bound=BaseModel)


def read_table(path: Path, what: str) -> dict[str, object]:
    """The TOML table in a file.

    Raises:
        UsageError: the file cannot be read, is too long or is no TOML; the text names it.
    """
    data = read_bounded(path, LARGEST_BYTES, what)
    try:
        return tomllib.loads(data.decode("utf-8-sig"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from error


def validated(model: type[M], table: Mapping[str, object]) -> M:
    """The settings that a table states.

    Raises:
        ConfigError: names key, value, expectation and the nearest name that is known.
    """
    try:
        # Through JSON, where a list may stand for a tuple and nothing else is converted.
        return model.model_validate_json(json.dumps(table, default=str))
    except ValidationError as error:
        raise first_error(error, model) from error


def validated_of(path: Path, model: type[M], table: Mapping[str, object]) -> M:
    """The settings that a file's table states.

    Raises:
        ConfigError: as `validated`; names the file, too.
    """
    try:
        return validated(model, table)
    except ConfigError as wrong:
        key = f"{path}: {wrong.key}"
        raise ConfigError(key, wrong.value, wrong.expected, wrong.remedy) from wrong


def as_typed(wrong: ConfigError, options: Mapping[str, str]) -> ConfigError:
    """The error under the name of the option that the value was given by, if it was by one.

    >>> str(as_typed(ConfigError("hosts.0", "x y", "a host name"), {"hosts": "--host"}))
    "--host = 'x y': expected a host name"
    """
    option = options.get(wrong.key.split(".", 1)[0], wrong.key)
    return ConfigError(option, wrong.value, wrong.expected, wrong.remedy)


def read(model: type[M], path: Path, what: str) -> M:
    """The settings in a file.

    Args:
        model: strict.
        path: of the file.
        what: it is, for errors: `the settings of the coordinator`.

    Raises:
        UsageError, ConfigError: as `read_table` and `validated_of`.
    """
    return validated_of(path, model, read_table(path, what))
