"""The built-in tasks and their models: how large they are, and where the rows come from."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KnownTask:
    """A built-in task.

    Attributes:
        name: in `[task]`.
        rows: how many it has, over all sites.
        models: values of `options.model`, the one that is used if it is left out first.
        source: where they come from, and their licence.
        fetched: whether `hedgerow data fetch` has to bring them first.
    """

    name: str
    rows: int
    models: tuple[str, ...]
    source: str
    fetched: bool = False


TABULAR = ("logistic", "mlp", "boosted_trees", "embedding")
IMAGES = ("cnn", "resnet")

TASKS = (
    KnownTask("heart", 920, TABULAR, "UCI Heart Disease, CC BY 4.0"),
    KnownTask(
        "acs-employment", 24_000, ("mlp", "logistic", "boosted_trees", "embedding"),
        "US Census Bureau, ACS PUMS, public domain",
    ),
    KnownTask("digits", 1_797, IMAGES, "scikit-learn's digits, CC BY 4.0"),
    KnownTask(
        "languages", 15_019, ("transformer", "lora"),
        "Unicode CLDR by way of Babel, Unicode License v3",
    ),
    KnownTask("adult", 48_842, TABULAR, "UCI Adult, CC BY 4.0", fetched=True),
    KnownTask("mnist", 70_000, IMAGES, "MNIST, CC BY-SA 3.0", fetched=True),
    KnownTask(
        "fashion-mnist", 70_000, IMAGES, "Fashion-MNIST, MIT", fetched=True
    ),
)  # fmt: skip

COLUMNS = ("task", "model", "trained", "frozen", "rows", "sites", "source")


def table() -> Iterator[tuple[str, ...]]:
    """A line per task and model, as COLUMNS has it; needs no rows."""
    from federation.initial_model import initial_model  # noqa: PLC0415 - imports torch: seconds
    from federation.task_loading import load_task  # noqa: PLC0415 - with it

    for known in TASKS:
        for model in known.models:
            task = load_task(known.name, {"model": model})
            sizes = [(p.numel(), p.requires_grad) for p in initial_model(task, 0).parameters()]
            trained = sum(size for size, is_trained in sizes if is_trained)
            frozen = sum(size for size, _ in sizes) - trained
            yield (
                known.name, model, f"{trained:,}", f"{frozen:,}", f"{known.rows:,}",
                str(len(task.sites)), known.source + (" (fetched)" if known.fetched else ""),
            )  # fmt: skip
