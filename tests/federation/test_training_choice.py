"""What sites may keep from round to round, and which settings that excludes."""

import pytest

from federation import config_file
from federation.config import FederationConfig
from federation.errors import ConfigError

SCAFFOLD = {"algorithm": "scaffold"}
LAYERS = {"local_layers": ["head.*"]}
SHARED = {"noise_multiplier": 1.0, "shared_noise": {}}
SITE_LEVEL = {"mode": "off", "site_level": {"epsilon": 8.0}}
GROUPED = {"aggregate": "median", "groups": 3}


def parsed(training: dict, **more: object) -> FederationConfig:
    return config_file.parse({"training": {"local_steps": 1} | training} | more)


@pytest.mark.parametrize(
    ("training", "more", "told"),
    [
        (SCAFFOLD, {"privacy": SHARED}, r"another one with privacy\.shared_noise"),
        (SCAFFOLD, {"privacy": SITE_LEVEL}, r"another one with privacy\.site_level"),
        (SCAFFOLD, {"robustness": GROUPED}, r"another one with robustness\.aggregate"),
        (SCAFFOLD | {"momentum": 0.5}, {}, r"another one with training\.momentum"),
        (SCAFFOLD | {"proximal_mu": 0.1}, {}, r"another one with training\.proximal_mu"),
        (LAYERS, {"privacy": SHARED}, r"local_layers.*none with privacy\.shared_noise"),
        (LAYERS, {"evaluation": {"epsilon": 1.0}}, r"local_layers.*none with evaluation\.epsilon"),
        (
            LAYERS,
            {"mitigation": {
                "method": "adversarial", "criterion": "equalized_odds", "attribute": "sex"
            }},
            r"local_layers.*adversarial",
        ),
    ],
)  # fmt: skip
def test_what_would_undo_a_guarantee_is_refused(training, more, told) -> None:
    with pytest.raises(ConfigError, match=told):
        parsed(training, **more)
    # It is the two together that do not go: each goes alone.
    keeping = {key: v for key, v in training.items() if key in {"algorithm", "local_layers"}}
    parsed({key: v for key, v in training.items() if key not in keeping}, **more)
    parsed(keeping)


@pytest.mark.parametrize(
    ("training", "more"),
    [
        (SCAFFOLD, {"privacy": {"epsilon": 2.0}}),
        (SCAFFOLD | LAYERS, {"privacy": {"mode": "off"}}),
        (LAYERS, {"privacy": SITE_LEVEL}),
        (LAYERS, {"robustness": GROUPED}),
        (LAYERS | {"momentum": 0.5, "proximal_mu": 0.1}, {}),
    ],
)
def test_what_goes_together_survives_a_round_trip(training, more) -> None:
    config = parsed(training, **more)
    text = config_file.write_text(config)
    assert config_file.parse(config.model_dump(mode="json", exclude_none=True)) == config
    assert ("algorithm" in text) == ("algorithm" in training)
    assert ("local_layers" in text) == ("local_layers" in training)
