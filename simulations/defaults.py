"""Settings that suit each built-in task; the built-in default federation is `heart`.

The figures behind them are printed by `hedgerow simulate` with each of these configurations.
"""

from federation import config_file

HEART = config_file.parse(
    {
        "run": {"name": "heart", "rounds": 20},
        "task": {"name": "heart"},
        "training": {"local_steps": 3, "sampling_rate": 0.25, "learning_rate": 2.0},
        "privacy": {"epsilon": 2.0, "delta": 1e-3},
        "evaluation": {"intersections": [["sex", "age_group"]]},
    }
)

ACS_EMPLOYMENT = config_file.parse(
    {
        "run": {"name": "acs-employment", "rounds": 20},
        "task": {"name": "acs-employment"},
        "federation": {"quorum": 9, "threshold": 6},
        "training": {"local_steps": 10, "sampling_rate": 0.05, "learning_rate": 1.0},
        "privacy": {"epsilon": 4.0, "delta": 1e-5},
    }
)

DIGITS = config_file.parse(
    {
        "run": {"name": "digits", "rounds": 20},
        "task": {"name": "digits"},
        "federation": {"quorum": 6, "threshold": 4},
        "training": {"local_steps": 5, "sampling_rate": 0.2, "learning_rate": 1.0},
        "privacy": {"epsilon": 8.0, "delta": 1e-3},
    }
)

BUILT_IN = {"heart": HEART, "acs-employment": ACS_EMPLOYMENT, "digits": DIGITS}
