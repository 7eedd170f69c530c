"""The task of a simulated run, as its sites serve it: the one place where that is put together.

Whoever plays a site, judges a model on its rows or puts a yardstick beside it asks here. The
coordinator does not: model, loss and schema are the task's own.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from federation import canonical
from federation.config import FederationConfig, TaskChoice
from federation.errors import IntegrityError
from federation.partition_choice import DrawnPartition, FeaturePartition, NaturalPartition
from federation.run_folder import RunFolder
from federation.summary import PartitionFacts
from federation.task import Task
from federation.task_loading import load_task
from simulations.injection import injected
from simulations.partition.drawing import draw
from simulations.partition.partition_file import SavedPartition, read_partition, sha256
from simulations.partition.partitioned_task import PartitionedTask
from simulations.partition.row_pool import RowPool, row_pool


@dataclass(frozen=True, slots=True)
class DrawnTask:
    """A task whose rows were just shared out, and what a run folder keeps of that.

    Attributes:
        task: it serves the sites of the partition.
        content: of `partition.npz`.
        facts: the partition in short, with the digest of the content.
    """

    task: Task
    content: bytes
    facts: PartitionFacts


def simulated_task(folder: RunFolder, config: FederationConfig) -> Task:
    """The task of a run, with the rows that its simulated sites have.

    The rows are in memory once per process, whatever the number of sites.

    Args:
        folder: of a run that was prepared on this machine.
        config: of the folder.

    Raises:
        IntegrityError: the partition is not the one that the run began with, or is one of other
            rows.
        HedgerowError: as `load_task` and `Task.load`.
    """
    choice = config.simulation.partition
    served = _served(folder.path, canonical.encode(config.task.model_dump(mode="json")), choice)
    return injected(served, config)


@lru_cache(maxsize=4)
def _served(path: Path, chosen: bytes, choice: NaturalPartition | DrawnPartition) -> Task:
    task_choice = TaskChoice.model_validate_json(chosen)
    task = load_task(task_choice.name, task_choice.options)
    saved = saved_partition(RunFolder(path), choice)
    if saved is None:
        return task
    pool = row_pool(task)
    if (len(pool), pool.digest()) != (saved.pool_rows, saved.pool_digest):
        raise IntegrityError(
            f"{RunFolder(path).partition} is a partition of other rows than the task has now: "
            "their number, labels or groups were changed since the run began"
        )
    return PartitionedTask(task, pool, saved.partition, _input_noise(choice))


def saved_partition(
    folder: RunFolder, choice: NaturalPartition | DrawnPartition
) -> SavedPartition | None:
    """The partition in a run folder; None where the sites are the task's own.

    Raises:
        IntegrityError: it is not the one that the run began with.
    """
    facts = folder.read_environment().partition
    if (facts is None) != isinstance(choice, NaturalPartition):
        raise IntegrityError(f"{folder.environment} and {folder.config} name different partitions")
    return None if facts is None else read_partition(folder.partition, facts.sha256)


def drawn_task(task: Task, config: FederationConfig) -> DrawnTask | None:
    """The task with its rows shared out as the configuration says; None if they are not.

    Args:
        task: as it is loaded.
        config: with its sites named.

    Raises:
        ConfigError: there are too few rows for the sites, or no such feature.
        DataError: as `Task.load`.
    """
    choice = config.simulation.partition
    if isinstance(choice, NaturalPartition):
        return None
    pool = row_pool(task)
    partition = draw(choice, pool, config.federation.sites, config.run.seed)
    saved = SavedPartition(partition, len(pool), pool.digest())
    content = saved.to_bytes()
    return DrawnTask(
        PartitionedTask(task, pool, partition, _input_noise(choice)),
        content,
        _facts(choice, pool, saved, sha256(content)),
    )


def _facts(
    choice: DrawnPartition, pool: RowPool, saved: SavedPartition, digest: str
) -> PartitionFacts:
    parameters = choice.model_dump(
        mode="json", exclude_none=True, exclude={"kind", "sites", "resample"}
    )
    return PartitionFacts(
        kind=choice.kind,
        parameters=parameters,
        sites=len(saved.partition.sites),
        rows=len(saved.partition.rows),
        pool_rows=len(pool),
        resampled="rows_per_site" in parameters,
        ordered_by=pool.ordered_by,
        sha256=digest,
    )


def _input_noise(choice: NaturalPartition | DrawnPartition) -> float:
    return choice.input_noise if isinstance(choice, FeaturePartition) else 0.0
