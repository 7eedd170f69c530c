"""Out-of-sample probabilities of a site's rows: by a model that is given, or by k-fold training.

What is trained here has no privacy at all and never leaves: it serves to ask which labels look
wrong, and is forgotten when the audit is written.
"""

import hashlib
import math
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from client.observation import probabilities
from evaluation.audit.folds import fold_of
from evaluation.audit.predicted_labels import RowPredictions
from evaluation.audit.repeated_rows import row_identities
from evaluation.audit.rows import HELD_OUT, SPLITS, AuditData, Split
from federation.boosted_trees import BoostedTrees, boosted_trees_of
from federation.entropy import SeededEntropy
from federation.errors import DataError, UsageError
from federation.initial_model import initial_model
from federation.task import Floats, Rows, SiteData, Task
from federation.torch_seed import seed_torch
from privacy.dp_sgd import Descent, train_without_privacy
from privacy.plan import NonPrivatePlan
from privacy.tree_growing import grow

FOLDS = 5
BATCH = 64
EPOCHS = 30
FEWEST_STEPS, MOST_STEPS = 300, 4000
LEARNING_RATE = 0.01
TREE_LEARNING_RATE = 0.3
"""Of boosted trees, which take all rows at once: nothing is drawn."""


def by_model(task: Task, data: SiteData, file: Path) -> RowPredictions:
    """Of the held-out rows, by a run's `model.safetensors`; training rows it may have seen.

    Raises:
        UsageError: the file cannot be read.
        DataError: it holds no tensors, or those of another model; names the first that differs.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read the model {file}: {error.strerror}") from error
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise DataError(
            f"{file} is no safetensors file: {error}; give the model.safetensors of a run folder"
        ) from error
    model = initial_model(task, seed=0)
    _require_same_tensors(file, model, tensors)
    model.load_state_dict(tensors, strict=True)
    rows = {"reference": data.reference, "current": data.current}
    return RowPredictions(
        "model",
        {split: probabilities(task, model, rows[split]) for split in HELD_OUT},
        model_sha256=hashlib.sha256(content).hexdigest(),
    )


def out_of_fold(task: Task, data: SiteData, rows: AuditData, seed: int) -> RowPredictions:
    """Of all rows, each by a model of the task's own that was trained on the other folds.

    Args:
        task: whose model is trained, with Adam (trees are grown), without privacy.
        data: the rows.
        rows: the same, to find those that are alike: they share a fold.
        seed: of folds, initial parameters and batches.
    """
    identities = row_identities(task.schema, [rows.split(split) for split in SPLITS])
    alike, labels = np.concatenate(identities), rows.pooled(SPLITS).targets
    distinct = len(np.unique(alike))
    if distinct < FOLDS:
        return RowPredictions(
            "none", {}, reason=f"Too few rows to train on: {distinct} distinct, {FOLDS} needed."
        )
    parts: tuple[Rows, ...] = (data.train, data.reference, data.current)
    inputs = torch.cat([part.inputs for part in parts])
    targets = torch.cat([part.targets for part in parts])
    folds = torch.from_numpy(fold_of(alike, labels, FOLDS, seed))
    found = np.zeros((len(labels), len(task.schema.classes)))
    for fold in range(FOLDS):
        left_out = folds == fold
        model = _trained(task, inputs[~left_out], targets[~left_out], seed + fold)
        asked = Rows(inputs[left_out], targets[left_out], {}, {})
        found[left_out.numpy()] = probabilities(task, model, asked)
    ends = np.cumsum([len(part) for part in parts])[:-1]
    by_split: dict[Split, Floats] = dict(zip(SPLITS, np.split(found, ends), strict=True))
    return RowPredictions("out-of-fold", by_split, folds=FOLDS)


def _trained(task: Task, inputs: Tensor, targets: Tensor, seed: int) -> nn.Module:
    model = initial_model(task, seed)
    trees = boosted_trees_of(model)
    if trees is not None:
        return _all_grown(task, model, trees, (inputs, targets))
    steps = min(max(math.ceil(EPOCHS * len(targets) / BATCH), FEWEST_STEPS), MOST_STEPS)
    with torch.random.fork_rng(devices=[]):
        seed_torch(seed)
        optimizer = torch.optim.Adam(
            [p for p in model.parameters() if p.requires_grad], lr=LEARNING_RATE
        )
        model.train()
        order = torch.empty(0, dtype=torch.int64)
        for _ in range(steps):
            if not len(order):
                order = torch.randperm(len(targets))
            batch, order = order[:BATCH], order[BATCH:]
            optimizer.zero_grad()
            task.loss(model(inputs[batch]), targets[batch]).mean().backward()  # type: ignore[no-untyped-call]  # torch has no type here
            optimizer.step()
    return model


def _all_grown(
    task: Task, model: nn.Module, trees: BoostedTrees, rows: tuple[Tensor, Tensor]
) -> nn.Module:
    """Boosted trees, all that there is room for, each level from the histogram of all rows."""
    count, most_rounds = len(rows[1]), trees.shape.settings.most_rounds
    plan, descent = NonPrivatePlan(1.0, 1, count), Descent(TREE_LEARNING_RATE)

    def update(_: int) -> Floats:
        return train_without_privacy(model, rows, task.loss, plan, descent, SeededEntropy(0)).delta

    grow(model, trees, update, most_rounds, count, TREE_LEARNING_RATE)
    return model


def _require_same_tensors(file: Path, model: nn.Module, tensors: dict[str, Tensor]) -> None:
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    for name in sorted(expected | found):
        if expected.get(name) != found.get(name):
            raise DataError(
                f"{file} is of another model: tensor {name} has "
                f"{_shape(found, name)}, the task's model {_shape(expected, name)}; give a model "
                "of this task, trained with the same options"
            )


def _shape(shapes: dict[str, tuple[int, ...]], name: str) -> str:
    return f"shape {list(shapes[name])}" if name in shapes else "none of this name"
