"""Settings that suit each built-in task; the built-in default federation is `heart`."""

from collections.abc import Iterable
from typing import Any

from federation import config_file
from federation.config import FederationConfig

DEFAULT_TASK = "heart"

# Found with `hedgerow simulate --task NAME` over a few learning rates, on the tasks' own data and
# without privacy for the search itself: yardsticks to start from, not private choices.
_TABLES: dict[str, dict[str, Any]] = {
    "heart": {
        "run": {"name": "heart", "rounds": 20},
        "task": {"name": "heart"},
        "training": {"local_steps": 3, "sampling_rate": 0.25, "learning_rate": 0.5},
        "privacy": {"epsilon": 2.0, "delta": 1e-3},
        "evaluation": {"intersections": [["sex", "age_group"]]},
    },
    "acs-employment": {
        "run": {"name": "acs-employment", "rounds": 20},
        "task": {"name": "acs-employment"},
        "training": {"local_steps": 10, "sampling_rate": 0.05, "learning_rate": 0.5},
        "privacy": {"epsilon": 4.0, "delta": 1e-5},
    },
    "digits": {
        "run": {"name": "digits", "rounds": 20},
        "task": {"name": "digits"},
        "training": {"local_steps": 5, "sampling_rate": 0.2, "learning_rate": 0.4},
        "privacy": {"epsilon": 8.0, "delta": 1e-3},
    },
    # Without clipping, which privacy brings, twice the learning rate makes the adapters diverge.
    "languages": {
        "run": {"name": "languages", "rounds": 20},
        "task": {"name": "languages"},
        "training": {"local_steps": 5, "sampling_rate": 0.05, "learning_rate": 1.0},
        "privacy": {"epsilon": 8.0, "delta": 1e-4},
    },
    "adult": {
        "run": {"name": "adult", "rounds": 20},
        "task": {"name": "adult"},
        "training": {"local_steps": 10, "sampling_rate": 0.05, "learning_rate": 0.5},
        "privacy": {"epsilon": 4.0, "delta": 1e-5},
        "evaluation": {"intersections": [["sex", "race"]]},
    },
    "mnist": {
        "run": {"name": "mnist", "rounds": 20},
        "task": {"name": "mnist"},
        "training": {"local_steps": 10, "sampling_rate": 0.02, "learning_rate": 0.5},
        "privacy": {"epsilon": 4.0, "delta": 1e-5},
    },
    "fashion-mnist": {
        "run": {"name": "fashion-mnist", "rounds": 20},
        "task": {"name": "fashion-mnist"},
        "training": {"local_steps": 10, "sampling_rate": 0.02, "learning_rate": 0.5},
        "privacy": {"epsilon": 4.0, "delta": 1e-5},
    },
}

BUILT_IN = tuple(_TABLES)


def built_in_table(task: str, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """The built-in federation of a task as a file would have it, for these overrides.

    The default target epsilon gives way where the overrides set the noise otherwise or switch
    privacy off; a target that a user wrote never does.

    Raises:
        ConfigError: no such built-in task.
    """
    config_file.require_known("--task", task, BUILT_IN)
    table = {section: dict(values) for section, values in _TABLES[task].items()}
    plain = [change.replace(" ", "").replace('"', "") for change in overrides]
    if any(c == "privacy.mode=off" or c.startswith("privacy.noise_multiplier=") for c in plain):
        del table["privacy"]["epsilon"]
    return table


def default_config(task: str, overrides: Iterable[str] = ()) -> FederationConfig:
    """The built-in federation of a task, with overrides applied; see `built_in_table`.

    Raises:
        ConfigError: no such built-in task, or an override is wrong.
    """
    changes = list(overrides)
    return config_file.parse(built_in_table(task, changes), changes)
