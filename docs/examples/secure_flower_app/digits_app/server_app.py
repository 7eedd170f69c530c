"""The ServerApp: federated averaging."""

import numpy as np
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from digits_app import task

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the rounds."""
    strategy = FedAvg()
    result = strategy.start(
        grid, ArrayRecord(task.initial_arrays()), num_rounds=int(context.run_config["rounds"])
    )
    np.savez(str(context.run_config["model"]), *result.arrays.to_numpy_ndarrays())
