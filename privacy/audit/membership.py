"""Membership inference: was this row trained on? By its loss, and by shadow models.

Every model is trained on a random half of the same rows. By loss: rows that are fitted well were
trained on (Yeom et al. 2018, arXiv:1709.01604). By shadow models: the likelihood ratio of a row's
confidence among models that had it and models that had not (Carlini et al. 2022, arXiv:2112.03570:
LiRA, with one variance per side for all rows, as section VI-C advises for few models).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats
from torch import Tensor, nn

from federation.entropy import Entropy
from federation.initial_model import initial_model
from federation.task import Task
from privacy.flat_parameters import flat_parameters, load_flat_parameters

Floats = npt.NDArray[np.float64]
Coins = npt.NDArray[np.bool_]
Rows = tuple[Tensor, Tensor]
Train = Callable[[nn.Module, Rows, Entropy], Floats]
"""From a model, rows and entropy to the update."""

FALSE_ALARMS = 0.01
LEAST_CHANCE = 1e-6
"""A probability nearer to 0 or 1 is taken for this near, before its logit."""


@dataclass(frozen=True, slots=True)
class Attacked:
    """What the models say about the rows.

    Attributes:
        members: whether each model was trained on each row, shape (models, rows).
        confidence: logit of the probability of the true class, same shape.
    """

    members: Coins
    confidence: Floats


@dataclass(frozen=True, slots=True)
class Success:
    """Of an attack.

    Attributes:
        auc: area under the ROC curve; 0.5 is a guess.
        power: true positives at FALSE_ALARMS false ones.
    """

    auc: float
    power: float


def attacked_models(
    task: Task, seed: int, rows: Rows, train: Train, models: int, entropy: Entropy
) -> Attacked:
    """Train models on random halves and ask each about all rows.

    Args:
        task: model and probabilities.
        seed: of the initial model.
        rows: n of them.
        train: how.
        models: how many, >= 4.
        entropy: of the halves and of training.
    """
    members, confidence = [], []
    for number in range(models):
        own = entropy.child(number)
        coins = (np.frombuffer(own.child("coins").bytes(len(rows[1])), np.uint8) & 1).astype(bool)
        index = torch.from_numpy(np.flatnonzero(coins))
        model = initial_model(task, seed)
        update = train(model, (rows[0][index], rows[1][index]), own.child("training"))
        load_flat_parameters(model, flat_parameters(model) + update)
        members.append(coins)
        confidence.append(_confidence(task, model, rows))
    return Attacked(np.stack(members), np.stack(confidence))


def _confidence(task: Task, model: nn.Module, rows: Rows) -> Floats:
    with torch.no_grad():
        probabilities = task.probabilities(model.eval()(rows[0])).double()
    own = probabilities[torch.arange(len(rows[1])), rows[1]].numpy()
    bounded = np.clip(own, LEAST_CHANCE, 1 - LEAST_CHANCE)
    logit: Floats = np.log(bounded) - np.log1p(-bounded)
    return logit


def likelihood_ratios(attacked: Attacked, target: int) -> Floats:
    """LiRA's score of each row for one model, by all the others, shape (rows,)."""
    others = np.arange(len(attacked.members)) != target
    members, seen = attacked.members[others], attacked.confidence[others]
    inside, outside = _moments(seen, members), _moments(seen, ~members)
    asked = attacked.confidence[target]
    return _log_density(asked, *inside) - _log_density(asked, *outside)


def _log_density(seen: Floats, means: Floats, deviation: float) -> Floats:
    """Of a normal distribution, but for a constant."""
    density: Floats = -0.5 * ((seen - means) / deviation) ** 2 - np.log(deviation)
    return density


def _moments(seen: Floats, chosen: Coins) -> tuple[Floats, float]:
    """Mean per row of the chosen models, shape (rows,), and one deviation for all rows.

    A row that no model was chosen for has the mean of all its models.
    """
    count = chosen.sum(axis=0)
    total = np.where(chosen, seen, 0.0).sum(axis=0)
    means: Floats = np.where(count > 0, total / np.maximum(count, 1), seen.mean(axis=0))
    freedom = max(1, int(chosen.sum() - (count > 0).sum()))
    squares = float(np.sum(np.where(chosen, seen - means, 0.0) ** 2))
    return means, max((squares / freedom) ** 0.5, 1e-9)


def by_loss(attacked: Attacked) -> Success:
    """All models together, one threshold for all."""
    return success(attacked.confidence.ravel(), attacked.members.ravel())


def by_shadow_models(attacked: Attacked) -> Success:
    """All models together, each attacked by the others."""
    scores = [likelihood_ratios(attacked, target) for target in range(len(attacked.members))]
    return success(np.concatenate(scores), attacked.members.ravel())


def success(scores: Floats, members: Coins) -> Success:
    """AUC and power of scores that are higher for members; ties count half.

    Raises:
        ValueError: there are no members, or only members.
    """
    inside, outside = scores[members], scores[~members]
    if not len(inside) or not len(outside):
        raise ValueError("expected members and others")
    ranks = stats.rankdata(scores)
    wins = ranks[members].sum() - len(inside) * (len(inside) + 1) / 2
    threshold = np.sort(outside)[len(outside) - 1 - int(FALSE_ALARMS * len(outside))]
    return Success(float(wins / (len(inside) * len(outside))), float(np.mean(inside > threshold)))
