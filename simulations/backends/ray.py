"""Flower's own simulation engine on Ray: the extra `hedgerow[ray]`.

Ray gives a message to whichever actor is free, and a site's session must not wander: so every
site's agent lives in a named actor of its own, as a deployed agent lives in a process of its own,
and the ClientApp is the courier that it is everywhere.
"""

import logging
import sys
from functools import cache
from pathlib import Path

from flwr.app import ConfigRecordValues, Context
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

from client.courier import Answer, client_app
from federation.envelope import Request
from federation.run_folder import RunFolder
from federation.simulation_choice import Simulation
from simulations.backends.ray_cluster import cluster_address, join, require_machines, require_ray
from simulations.run_lookup import run_of


def run_on_ray(server_app: ServerApp, folder: RunFolder, nodes: int, choice: Simulation) -> None:
    """Run a ServerApp against simulated sites in Ray actors of one core each.

    Args:
        server_app: drives the run.
        folder: of the run; on several machines, one that all of them see under the same path.
        nodes: number of sites.
        choice: the cluster's address, or how many cores of this machine Ray may use.

    Raises:
        ConfigError: no cluster serves at the address.
        UsageError: Ray is not installed, or a machine of the cluster cannot hold sites.
    """
    require_ray()
    address = cluster_address(choice.ray_address)
    import ray  # noqa: PLC0415 - an extra
    from flwr.simulation import run_simulation  # noqa: PLC0415 - imports Ray where it is wanted

    logging.getLogger("flwr").setLevel(logging.WARNING)
    logging.getLogger("ray").setLevel(logging.WARNING)
    # Said outright: without an address, Ray would join a cluster that it once saw here.
    init: dict[str, ConfigRecordValues] = {
        "address": "local",
        "num_cpus": choice.workers,
        "log_to_driver": False,
    }
    try:
        if address:
            # Flower starts no Ray of its own where there is one.
            join(address)
            require_machines(folder)
        run_simulation(
            server_app=server_app,
            client_app=_client_app(folder.path.parent.resolve()),
            num_supernodes=nodes,
            backend_config={
                "init_args": init,
                "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
            },
        )
    finally:
        ray.shutdown()


def is_ray_worker() -> bool:
    """Whether this process belongs to a running Ray."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def site_on_ray(runs: Path, index: int) -> Answer:
    """The `index`-th site of whichever run of `runs` a request is for, in an actor of its own."""

    def answer(request: bytes) -> bytes:
        import ray  # noqa: PLC0415 - an extra

        host = _host(run_of(runs, Request.from_bytes(request).run), index)
        reply: bytes = ray.get(host.answer.remote(request))
        return reply

    return answer


class _SiteHost:
    """An actor that is one site's agent for the length of a run."""

    def __init__(self, path: Path, index: int) -> None:
        import torch  # noqa: PLC0415 - in the actor, not where this class is named

        from simulations.sites import simulated_site  # noqa: PLC0415 - imports this module

        # As in the embedded workers: the number of threads can change the order of a sum.
        torch.set_num_threads(1)
        self._answer = simulated_site(path, index)

    def answer(self, request: bytes) -> bytes:
        return self._answer(request)


@cache
def _host(path: Path, index: int):  # type: ignore[no-untyped-def]  # noqa: ANN202 - Ray's handle type is made at run time
    import ray  # noqa: PLC0415 - an extra

    # No core of its own: the courier that waits for it holds one, and would wait for ever. What
    # needs no core would be put where there are most couriers; sites do the work, so they spread.
    # One that dies, as simulation.crashes may have it, is started again and finds its files.
    options = {
        "name": f"{path.name}/{index}",
        "get_if_exists": True,
        "num_cpus": 0,
        "scheduling_strategy": "SPREAD",
        "max_restarts": -1,
    }
    return ray.remote(_SiteHost).options(**options).remote(path, index)


def _client_app(runs: Path) -> ClientApp:
    """The courier, tied to sites of `runs`; Ray's actors share none of this process's settings."""

    def connect(context: Context) -> Answer:
        return site_on_ray(runs, int(context.node_config["partition-id"]))

    return client_app(connect)
