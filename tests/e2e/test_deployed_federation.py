"""A federation on loopback, real processes all: SuperLink, edge, agents and nodes, over TLS."""

import json
from pathlib import Path

import pytest
from loopback_federation import SPLIT_SEED, LoopbackFederation

from federation import config_file
from simulations.example_config import example
from simulations.simulate import run
from simulations.sites import prepare

SITES = ("cleveland", "hungary", "va_long_beach")
SETTINGS = ["run.rounds=2", f"run.seed={SPLIT_SEED}", "simulation.baselines=false"]


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("settings") / "federation.toml"
    path.write_text(example("heart"))
    sites = f"federation.sites={json.dumps(list(SITES))}"
    config = config_file.read(path, [*SETTINGS, sites])
    path.write_text(config_file.write_text(config))
    return path


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_deployed_model_is_the_embedded_one_bit_for_bit(settings, tmp_path) -> None:
    config = config_file.read(settings)
    embedded = prepare(config, tmp_path / "embedded")
    run(embedded, config_file.read(embedded.config), lambda _: None)

    federation = LoopbackFederation(tmp_path, SITES)
    try:
        federation.start_coordinator()
        for site in SITES:
            federation.start_seeded_site(site, SPLIT_SEED)
        done = federation.run(settings)
        assert done.returncode == 0, done.stdout + done.stderr
    finally:
        federation.end()

    assert (federation.last_run / "model.safetensors").read_bytes() == embedded.model.read_bytes()
    assert federation.left() == []
