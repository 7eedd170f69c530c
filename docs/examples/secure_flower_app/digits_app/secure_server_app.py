"""The ServerApp: federated averaging."""

import numpy as np
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from digits_app import task
from digits_app.sites import FEDERATION, ROSTER
from server.secure_strategy import SecureSumSettings, SecureSumStrategy

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the rounds."""
    settings = SecureSumSettings(
        FEDERATION, ROSTER, quorum=4, threshold=3, clip=20.0, largest_weight=400,
        train_metrics={"train_loss": 10.0}, evaluate_metrics={"eval_loss": 10.0, "eval_acc": 1.0},
    )  # fmt: skip
    strategy = SecureSumStrategy(FedAvg(), settings)
    result = strategy.start(
        grid, ArrayRecord(task.initial_arrays()), num_rounds=int(context.run_config["rounds"])
    )
    np.savez(str(context.run_config["model"]), *result.arrays.to_numpy_ndarrays())
