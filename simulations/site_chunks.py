"""Which sites of a round are trained and summed together, as every process derives it alone.

The last bits of what a chunk trains at once depend on who is in it. So chunks follow from the
agreement, the round and the task's model, never from how many workers there are or who was lost.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from federation.agreement import Agreement
from federation.config import FederationConfig
from federation.errors import ConfigError
from federation.initial_model import initial_model, trainable_count
from federation.local_layers import thawed
from federation.mitigated_task import at_its_strongest
from federation.task import SiteData, Task
from privacy.batchable import RowCost, cannot_batch, is_worth_batching, row_cost
from privacy.client_chunks import LARGEST_CHUNK, chunk_size, client_chunks
from simulations.training_device import PROCESSOR, TrainingDevice, training_device

SITES_ALONE = 16
"""Of a chunk whose sites are trained one by one: what a crash costs at most."""
FEWEST_CHUNKS = 4
"""Of a round with sites enough: so that a few workers all have something to do."""


@dataclass(frozen=True, slots=True)
class TrainingEngine:
    """How a simulation trains its sites.

    Attributes:
        is_batched: many at once.
        declined: why they are not, where that was asked for; else empty.
        cost: of a row, where they are.
        parameters: of the model, where they are.
        device: that they are trained on.
    """

    is_batched: bool
    declined: str = ""
    cost: RowCost | None = None
    parameters: int = 0
    device: TrainingDevice = PROCESSOR


def training_engine(config: FederationConfig, task: Task, data: SiteData) -> TrainingEngine:
    """The engine that was chosen, unless it would be the slower one.

    Args:
        config: of the run.
        task: as it is trained.
        data: of any site, of which a few rows are passed through the model.

    Raises:
        ConfigError: many sites cannot be trained at once with this model, or there is no GPU where
            one is asked for; says why.
    """
    if config.simulation.engine == "per-site":
        return TrainingEngine(is_batched=False)
    if config.training.keeps_state and config.simulation.secure_aggregation == "real":
        raise ConfigError(
            "simulation.engine",
            "batched",
            "'per-site', or simulation.secure_aggregation = 'arithmetic', for this strategy",
            "agents keep to themselves what they go on from",
        )
    device = training_device(config.simulation.device)
    model = thawed(initial_model(task, config.run.seed), config.training.local_layers)
    rows = data.train.inputs, data.train.targets
    why = _refused(config, task, model, rows)
    if why is not None:
        raise ConfigError("simulation.engine", "batched", "'per-site' for this run", why)
    cost, parameters = row_cost(model, rows), trainable_count(model)
    if device.is_gpu or is_worth_batching(cost):
        return TrainingEngine(is_batched=True, cost=cost, parameters=parameters, device=device)
    return TrainingEngine(
        is_batched=False,
        declined=f"a row costs {cost.multiplications:,} multiplications, {cost.convolved:,} of "
        "them in convolutions, so that training many sites at once would be slower: each was "
        "trained by itself",
    )


def _refused(
    config: FederationConfig, task: Task, model: nn.Module, rows: tuple[Tensor, Tensor]
) -> str | None:
    if config.privacy.shared_noise is not None:
        return "with privacy.shared_noise a round has one step, which is taken site by site"
    loss = at_its_strongest(task).loss
    why = cannot_batch(model, rows, loss, private=config.privacy.mode == "record")
    return None if why is None else f"the model {why}"


def site_chunks(
    engine: TrainingEngine, batches: Mapping[str, float], sites: Sequence[str]
) -> list[tuple[str, ...]]:
    """Sites that sum together, in chunks; every site is in one.

    Args:
        engine: how they are trained.
        batches: per site, the rows of a batch that are expected by what it declares in public.
        sites: of one sum, in order.
    """
    if not engine.is_batched or engine.cost is None or not sites:
        return [tuple(sites[at : at + SITES_ALONE]) for at in range(0, len(sites), SITES_ALONE)]
    expected = [batches[site] for site in sites]
    longest = max(1, round(2 * max(expected)))
    memory = engine.device.memory
    fitting = chunk_size(engine.parameters, longest, engine.cost.numbers, memory)
    if engine.device.is_gpu:
        return [tuple(sites[at] for at in chunk) for chunk in client_chunks(expected, fitting)]
    even = max(-(-len(sites) // FEWEST_CHUNKS), FEWEST_CHUNKS)
    size = min(fitting, LARGEST_CHUNK, even)
    return [tuple(sites[at] for at in chunk) for chunk in client_chunks(expected, size)]


def expected_batches(agreement: Agreement) -> dict[str, float]:
    """Per site, the rows of a batch that are expected by what it declares in public."""
    rate = agreement.training.sampling_rate
    return {site: rate * rows for site, rows in agreement.public_rows.items()}
