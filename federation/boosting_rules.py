"""What a run may be where the model is boosted trees: each round is one step, and grows a level."""

from torch import nn

from federation.boosted_trees import BoostedTrees, boosted_trees_of
from federation.config import FederationConfig
from federation.errors import ConfigError


def require_growable(config: FederationConfig, model: nn.Module) -> None:
    """Return if trees can be grown by such a run; of any other model nothing is asked.

    Args:
        config: of the run.
        model: as it is trained.

    Raises:
        ConfigError: they cannot; names the setting.
    """
    trees = boosted_trees_of(model)
    if trees is not None:
        _require_one_step(config)
        _require_plain(config)
        _require_room(config, trees)


def _require_one_step(config: FederationConfig) -> None:
    steps = config.training.local_steps
    if steps != 1:
        raise ConfigError(
            "training.local_steps", steps, "1 with model = 'boosted_trees'",
            "a round sums one histogram; raise run.rounds and task.options.trees for more trees",
        )  # fmt: skip


def _require_plain(config: FederationConfig) -> None:
    training, server, method = config.training, config.server, config.mitigation.method
    allowed: tuple[tuple[str, object, tuple[object, ...]], ...] = (
        ("training.algorithm", training.algorithm, ("sgd",)),
        ("training.local_layers", list(training.local_layers), ([],)),
        ("training.momentum", training.momentum, (0.0,)),
        ("training.proximal_mu", training.proximal_mu, (0.0,)),
        ("server.optimizer", server.optimizer, ("fedavg",)),
        ("server.learning_rate", server.learning_rate, (1.0,)),
        ("mitigation.method", method, ("none", "reweighing")),
    )
    for key, value, fine in allowed:
        if value not in fine:
            named = " or ".join(repr(one) for one in fine)
            raise ConfigError(
                key, value, f"{named} with model = 'boosted_trees'",
                "the coordinator grows trees from the summed histogram and makes no other step",
            )  # fmt: skip


def _require_room(config: FederationConfig, trees: BoostedTrees) -> None:
    settings = trees.shape.settings
    if config.run.rounds > settings.most_rounds:
        needed = -(-config.run.rounds // settings.rounds_per_tree)
        raise ConfigError(
            "run.rounds", config.run.rounds,
            f"at most {settings.most_rounds}, of task.options.trees = {settings.trees} trees, "
            f"{settings.rounds_per_tree} each",
            f"or set task.options.trees = {needed}",
        )  # fmt: skip
