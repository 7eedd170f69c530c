"""The model before round 1, the same on every machine, its frozen parts included."""

import torch
from torch import nn

from federation.task import Task
from federation.torch_seed import seed_torch


def initial_model(task: Task, seed: int) -> nn.Module:
    """A fresh model whose parameters come from the seed alone; torch's generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        seed_torch(seed)
        return task.build_model()


def parameter_count(task: Task, seed: int) -> int:
    """How many parameters training may change: the length of an update."""
    return trainable_count(initial_model(task, seed))


def trainable_count(model: nn.Module) -> int:
    """How many parameters of a model training may change."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
