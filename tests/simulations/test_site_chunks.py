"""Chunks of sites: of public numbers alone, and why an engine is refused or declines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation import config_file
from federation.errors import ConfigError
from federation.task import SiteRequest
from federation.task_loading import load_task
from privacy.batchable import RowCost
from simulations.site_chunks import TrainingEngine, site_chunks, training_engine

TOGETHER = TrainingEngine(is_batched=True, cost=RowCost(1000, 0, 300), parameters=2600)
ALONE = TrainingEngine(is_batched=False)


@given(
    rows=st.lists(st.integers(3, 5000), min_size=1, max_size=400),
    engine=st.sampled_from([TOGETHER, ALONE]),
)
def test_every_site_is_in_one_chunk(rows: list[int], engine: TrainingEngine) -> None:
    batches = {f"s{number:03d}": 0.1 * count for number, count in enumerate(rows)}
    chunks = site_chunks(engine, batches, sorted(batches))
    assert sorted(site for chunk in chunks for site in chunk) == sorted(batches)
    assert all(chunks)
    assert max(map(len, chunks)) <= 64


def engine_of(task: str, *settings: str, **options: object) -> TrainingEngine:
    table = {"task": {"name": task, "options": options}, "simulation": {"engine": "batched"}}
    config = config_file.parse(table, settings)
    loaded = load_task(task, options)
    return training_engine(config, loaded, loaded.load(SiteRequest(loaded.sites[0], 1)))


def test_a_small_model_is_trained_at_many_sites_at_once() -> None:
    assert engine_of("heart").is_batched


def test_large_convolutions_are_declined_with_the_reason_and_linear_layers_are_not() -> None:
    assert engine_of("languages").is_batched
    declined = engine_of("digits", model="resnet")
    assert not declined.is_batched
    assert "136,320 multiplications, 135,680 of them in convolutions" in declined.declined


def test_a_step_that_is_shared_is_refused_with_the_reason() -> None:
    shared = (
        "privacy.epsilon=2",
        "privacy.shared_noise.colluders=0",
        "training.local_steps=1",
    )
    with pytest.raises(ConfigError, match="shared_noise"):
        engine_of("heart", *shared)


def test_agents_keep_to_themselves_what_they_go_on_from() -> None:
    with pytest.raises(ConfigError, match="arithmetic"):
        engine_of("heart", "training.algorithm=scaffold")
    by_arithmetic = "simulation.secure_aggregation=arithmetic"
    assert engine_of("heart", "training.algorithm=scaffold", by_arithmetic).is_batched
