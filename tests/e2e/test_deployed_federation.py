"""A federation on loopback, real processes all: SuperLink, edge, agents and nodes, over TLS."""

import json
from pathlib import Path

import pytest
from loopback_federation import SPLIT_SEED, LoopbackFederation

from federation import config_file
from federation.analytics_config import read_analytics
from federation.evaluation_record import EvaluationFolder
from federation.run_folder import RunFolder
from server.analytics_folder import read_analysis
from server.window_evaluation import Asked
from simulations import analytics
from simulations.evaluation import evaluate
from simulations.example_config import example
from simulations.simulate import run
from simulations.sites import prepare

SITES = ("cleveland", "hungary", "va_long_beach")
QUERIES = f"""
seed = {SPLIT_SEED}
[task]
name = "heart"
[federation]
sites = {json.dumps(list(SITES))}
[[queries]]
name = "patients"
kind = "count"
epsilon = 0.5
[[queries]]
name = "age"
kind = "mean"
column = "age"
epsilon = 0.5
"""
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


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_evaluations_and_queries_over_processes_give_the_embedded_numbers(
    settings, tmp_path
) -> None:
    config = config_file.read(settings, ["run.rounds=1"])
    settings = tmp_path / "federation.toml"
    settings.write_text(config_file.write_text(config))
    queries = tmp_path / "queries.toml"
    queries.write_text(QUERIES)
    embedded = prepare(config, tmp_path / "embedded")
    run(embedded, config_file.read(embedded.config), lambda _: None)
    evaluate(embedded.path, Asked())
    asked = analytics.prepare(read_analytics(queries), tmp_path / "embedded")
    answered = analytics.run(asked)

    federation = LoopbackFederation(tmp_path, SITES)
    try:
        for site in SITES:
            federation.set_policy(site, analytics_columns=("age",))
        federation.start_coordinator()
        for site in SITES:
            federation.start_seeded_site(site, SPLIT_SEED)
        done = federation.run(settings)
        assert done.returncode == 0, done.stdout + done.stderr
        deployed = RunFolder(federation.last_run)
        for words in (
            ("evaluate", federation.fed, deployed.id),
            ("analytics", federation.fed, queries),
        ):
            done = federation.coordinator(*words)
            assert done.returncode == 0, done.stdout + done.stderr
    finally:
        federation.end()

    ours, theirs = EvaluationFolder.of(deployed), EvaluationFolder.of(embedded)
    for mine, other in zip(ours.read_windows(), theirs.read_windows(), strict=True):
        assert (mine.survivors, mine.sums) == (other.survivors, other.sums)
        assert mine.model_sha256 == other.model_sha256
    mine, other = ours.read_reference(), theirs.read_reference()
    assert (mine.grids, mine.record.sums) == (other.grids, other.record.sums)
    told = read_analysis(RunFolder(federation.last_run))
    assert (told.answers, told.survivors) == (answered.answers, answered.survivors)
    assert federation.left() == []
