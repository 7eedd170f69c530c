"""Flower's own FedAvg, its defaults, with the moment at which each round ended."""

import json
import time
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """All rounds; the file that `times` names then holds seconds since the epoch, one a round."""
    config = context.run_config
    sites, ended = int(config["sites"]), []

    def note(number: int, arrays: ArrayRecord) -> MetricRecord:
        del number, arrays
        ended.append(time.time())
        return MetricRecord()

    strategy = FedAvg(
        min_train_nodes=sites,
        min_evaluate_nodes=sites,
        min_available_nodes=sites,
        fraction_evaluate=1.0 if config["evaluate"] else 0.0,
    )
    strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord([np.zeros(int(config["parameters"]), np.float32)]),
        num_rounds=int(config["rounds"]),
        evaluate_fn=note,
    )
    Path(str(config["times"])).write_text(json.dumps(ended), encoding="utf-8")
