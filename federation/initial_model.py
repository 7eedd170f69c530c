"""The model before round 1, the same on every machine, its frozen parts included."""

import torch
from torch import nn

from federation.task import Task


def initial_model(task: Task, seed: int) -> nn.Module:
    """A fresh model whose parameters come from the seed alone; torch's generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return task.build_model()
