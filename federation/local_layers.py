"""Layers that stay at each site: the others are federated, and each site has a model of its own.

FedPer: Arivazhagan et al. 2019, "Federated Learning with Personalization Layers", arXiv:1912.00818.
All parameters are trained together at a site; an update has the shared ones only. To everybody who
speaks of the model that travels, the layers that stay are frozen ones: the same on every side, as
initialised, and in no vector. Only the site itself thaws them and puts its own values in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from federation.errors import ConfigError
from federation.initial_model import initial_model
from federation.task import Floats, Task
from federation.wrapped_task import WrappedTask

Mask = npt.NDArray[np.bool_]


def personalised(task: Task, patterns: Sequence[str]) -> Task:
    """The task with the layers that stay at the sites frozen; itself without any.

    Args:
        task: as the user wrote it.
        patterns: names of parameters, or patterns of shells (`head.*`), as `fnmatch` has them.

    Raises:
        ConfigError: a pattern matches no parameter, or a frozen one; or nothing is left to share.
    """
    if not patterns:
        return task
    _require_fitting(initial_model(task, seed=0), patterns)
    return _Personalised(task, tuple(patterns))


def thawed(model: nn.Module, patterns: Sequence[str]) -> nn.Module:
    """The same model, with its local parameters to be trained like the others."""
    for name, parameter in model.named_parameters():
        if _is_local(name, patterns):
            parameter.requires_grad = True
    return model


def local_mask(model: nn.Module, patterns: Sequence[str]) -> Mask:
    """Which numbers of `flat_parameters` of a thawed model stay at the site, shape (d,), bool."""
    parts = [
        np.full(parameter.numel(), _is_local(name, patterns))
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    ]
    return np.concatenate(parts)


def shared_of(whole: Floats, mask: Mask) -> Floats:
    """The numbers that are shared, of all that are trained; the same array if all are."""
    return whole[~mask] if mask.any() else whole


def joined(shared: Floats, local: Floats, mask: Mask) -> Floats:
    """All numbers that are trained, in the model's order; the same array if all are shared."""
    if not mask.any():
        return shared
    whole = np.empty(len(mask))
    whole[~mask], whole[mask] = shared, local
    return whole


def local_tensors(model: nn.Module, patterns: Sequence[str]) -> dict[str, Tensor]:
    """The parameters that stay at the site, by name."""
    return {
        name: parameter.detach().clone()
        for name, parameter in model.named_parameters()
        if _is_local(name, patterns)
    }


def local_names(model: nn.Module, patterns: Sequence[str]) -> tuple[str, ...]:
    """Names of the parameters that stay at the site, in the model's order."""
    return tuple(name for name, _ in model.named_parameters() if _is_local(name, patterns))


def _is_local(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _require_fitting(model: nn.Module, patterns: Sequence[str]) -> None:
    named = dict(model.named_parameters())
    trained = [name for name, parameter in named.items() if parameter.requires_grad]
    known = f"trained parameters of the model: {', '.join(trained)}"
    for pattern in patterns:
        matched = [name for name in named if fnmatchcase(name, pattern)]
        frozen = [name for name in matched if name not in trained]
        if not matched or frozen:
            raise ConfigError(
                "training.local_layers",
                pattern,
                f"names or patterns of {known}",
                f"the task keeps {', '.join(frozen)} frozen" if frozen else "",
            )
    if all(_is_local(name, patterns) for name in trained):
        raise ConfigError(
            "training.local_layers",
            list(patterns),
            f"some but not all of the {known}",
            "what every site keeps to itself is not federated",
        )


@dataclass(frozen=True)
class _Personalised(WrappedTask):
    """A task of whose model some layers stay at the sites.

    Attributes:
        patterns: of the names of these layers' parameters.
    """

    patterns: tuple[str, ...]

    def build_model(self) -> nn.Module:
        """The task's, with the same initial parameters; those that stay at the sites are frozen."""
        model = self.task.build_model()
        for name, parameter in model.named_parameters():
            if _is_local(name, self.patterns):
                parameter.requires_grad = False
        return model
