"""Flower's own simulation engine on Ray: the extra `hedgerow[ray]`."""

import importlib.util
import os
from pathlib import Path

from flwr.app import Context
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

from client.courier import Answer, client_app
from federation.envelope import Request
from federation.errors import UsageError


def run_on_ray(server_app: ServerApp, runs: Path, nodes: int, workers: int) -> None:
    """Run a ServerApp against `nodes` simulated sites in Ray actors of one core each.

    Raises:
        UsageError: Ray is not installed.
    """
    if importlib.util.find_spec("ray") is None:
        raise UsageError(
            "simulation.backend = 'ray' needs Ray, which is not installed: pip install '.[ray]'"
        )
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    from flwr.simulation import run_simulation  # noqa: PLC0415 - imports Ray where it is wanted

    run_simulation(
        server_app=server_app,
        client_app=_client_app(runs.resolve()),
        num_supernodes=nodes,
        backend_config={
            "init_args": {"num_cpus": workers, "include_dashboard": False, "log_to_driver": False},
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        },
    )


def _client_app(runs: Path) -> ClientApp:
    """The courier, tied to sites of `runs`; Ray's actors share none of this process's settings."""

    def connect(context: Context) -> Answer:
        import torch  # noqa: PLC0415 - in the actor, not where this function is made

        from simulations.sites import simulated_site  # noqa: PLC0415

        # As in the embedded workers: the number of threads can change the order of a sum.
        torch.set_num_threads(1)
        index = int(context.node_config["partition-id"])

        def answer(request: bytes) -> bytes:
            return simulated_site(runs / Request.from_bytes(request).run, index)(request)

        return answer

    return client_app(connect)
