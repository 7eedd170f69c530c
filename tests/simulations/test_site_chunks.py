"""Chunks of sites: of public numbers alone, and why an engine is refused or declines."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from federation import config_file
from federation.errors import ConfigError
from federation.task import SiteRequest
from federation.task_loading import load_task
from privacy.arithmetic import Arithmetic
from privacy.batchable import RowCost
from simulations.site_chunks import TrainingEngine, site_chunks, training_engine
from simulations.training_device import TrainingDevice

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


def test_chunks_for_a_gpu_are_as_large_as_its_memory_allows() -> None:
    batches = {f"s{number:03d}": 32.0 for number in range(300)}
    sizes = []
    for memory in (2**24, 2**26, 2**34):
        device = TrainingDevice(Arithmetic(torch.device("cuda")), memory, "a GPU")
        engine = replace(TOGETHER, device=device)
        chunks = site_chunks(engine, batches, sorted(batches))
        assert sorted(site for chunk in chunks for site in chunk) == sorted(batches)
        sizes.append(max(map(len, chunks)))
        # A client of 2,600 parameters, and 64 rows of 300 numbers.
        assert sizes[-1] == min(300, -(-300 // -(-300 // (memory // (48 * 2600 + 16 * 64 * 300)))))
    assert sizes == sorted(set(sizes))


def test_a_gpu_that_is_not_there_is_refused() -> None:
    asked = "simulation.device=cuda", "simulation.workers=1"
    if torch.cuda.is_available():
        assert engine_of("digits", *asked, model="resnet").device.is_gpu
        return
    with pytest.raises(ConfigError, match="'cuda': expected 'cpu' where torch sees no GPU"):
        engine_of("heart", *asked)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("simulation.workers=2", "workers = 2: expected 1 with simulation.device"),
        ("simulation.engine=per-site", "engine = 'per-site': expected 'batched'"),
        ("simulation.backend=ray", "backend = 'ray': expected 'embedded'"),
    ],
)
def test_one_process_has_the_gpu(setting: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        engine_of("heart", "simulation.device=cuda", "simulation.workers=1", setting)


def test_agents_keep_to_themselves_what_they_go_on_from() -> None:
    with pytest.raises(ConfigError, match="arithmetic"):
        engine_of("heart", "training.algorithm=scaffold")
    by_arithmetic = "simulation.secure_aggregation=arithmetic"
    assert engine_of("heart", "training.algorithm=scaffold", by_arithmetic).is_batched
