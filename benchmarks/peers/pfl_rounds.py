"""FedAvg rounds of Apple's pfl over the clients of the simulation benchmark, in one process."""

from collections.abc import Callable

import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam.base import NNTrainHyperParams
from pfl.metrics import Metrics
from pfl.model.pytorch import PyTorchModel
from simulation_work import BATCH, LEARNING_RATE, Work, initial_model, rows_of
from torch import Tensor, nn
from torch.nn.functional import cross_entropy


class _WithLoss(nn.Module):
    """A model as pfl wants it: it computes its loss itself."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def loss(self, inputs: Tensor, targets: Tensor, eval: bool = False) -> Tensor:  # noqa: A002, FBT001, FBT002 - pfl's
        self.eval() if eval else self.train()
        return cross_entropy(self.model(inputs), targets)

    def metrics(self, inputs: Tensor, targets: Tensor, eval: bool = True) -> dict[str, float]:  # noqa: A002, FBT001, FBT002 - pfl's
        return {"loss": float(self.loss(inputs, targets, eval))}


class _Ticking(TrainingProcessCallback):
    def __init__(self, tick: Callable[[], None]) -> None:
        self._tick = tick

    def after_central_iteration(self, *_: object, **__: object) -> tuple[bool, Metrics]:
        self._tick()
        return False, Metrics()


def play(
    work: Work, tick: Callable[[], None]
) -> tuple[list[list[int]], list[int], torch.Tensor | None]:
    """Run the rounds; participants and rows per round, and no model: pfl does not shuffle."""
    trained: list[int] = []
    rows: list[int] = []

    held = [
        Dataset(raw_data=list(rows_of(work.model, client)), user_id=str(client))
        for client in range(work.clients)
    ]

    def user(client: int) -> Dataset:
        trained.append(client)
        rows.append(len(held[client]))
        return held[client]

    sampler = get_user_sampler("minimize_reuse", list(range(work.clients)))
    users = FederatedDataset(user, sampler)
    wrapped = _WithLoss(initial_model(work))
    model = PyTorchModel(wrapped, torch.optim.SGD, torch.optim.SGD(wrapped.parameters(), lr=1.0))
    tick()
    FederatedAveraging().run(
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=work.rounds,
            # After the first round only, which no figure counts.
            evaluation_frequency=work.rounds + 1,
            train_cohort_size=work.clients,
            val_cohort_size=None,
        ),
        backend=SimulatedBackend(training_data=users, val_data=users),
        model=model,
        model_train_params=NNTrainHyperParams(
            local_num_epochs=1, local_learning_rate=LEARNING_RATE, local_batch_size=BATCH
        ),
        callbacks=[_Ticking(tick)],
    )
    cuts = range(0, len(trained), work.clients)
    return (
        [sorted(trained[cut : cut + work.clients]) for cut in cuts],
        [sum(rows[cut : cut + work.clients]) for cut in cuts],
        None,
    )
