"""A running Ray cluster as a place for sites: reachable, of our versions, and over one folder.

Ray itself tries an address that nobody answers at for minutes, and a site whose machine lacks the
run's folder would only be heard of as lost. Both are told here, before the first message.
"""

import importlib.util
import os
import re
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import grpc

from federation.errors import ConfigError, UsageError
from federation.run_folder import RunFolder
from server.run_preparation import VERSIONED

HOST_AND_PORT = re.compile(r"[A-Za-z0-9._-]+:[0-9]{1,5}")
EXPECTED = "host:port of a running cluster's head node, as `ray start --head` prints it"
REACHING_SECONDS, STARTING_SECONDS = 5.0, 60.0
"""To answer whether it serves; to start a worker process on each machine and hear from it."""

EVERY_SERVICE, SERVING = b"", b"\x08\x01"
"""An empty HealthCheckRequest, and a HealthCheckResponse whose field 1, status, is 1."""

Machine = dict[str, str | None]
"""What a machine of the cluster says of itself: versions by package, and of the run's folder."""


def require_ray() -> None:
    """Return if Ray is installed.

    Raises:
        UsageError: it is not.
    """
    if importlib.util.find_spec("ray") is None:
        raise UsageError(
            "simulation.backend = 'ray' needs Ray, which is not installed: pip install '.[ray]'"
        )


def cluster_address(setting: str) -> str:
    """Where a running cluster is, host:port; empty: Ray is to be started on this machine.

    Args:
        setting: `simulation.ray_address`; left empty, the environment's RAY_ADDRESS stands in.

    Raises:
        ConfigError: it is no host:port, or no cluster serves there.
    """
    key = "simulation.ray_address" if setting else "RAY_ADDRESS"
    address = setting or os.environ.get("RAY_ADDRESS", "")
    if not address:
        return ""
    if not HOST_AND_PORT.fullmatch(address):
        raise ConfigError(key, address, EXPECTED, "for instance 10.0.0.5:6379")
    trouble = _not_serving(address)
    if trouble:
        raise ConfigError(key, address, EXPECTED, trouble)
    return address


def _not_serving(address: str) -> str:
    """Why no head node can be talked to; empty if one can.

    A head node answers gRPC's standard health checks (grpc.health.v1). A proxy of the environment
    is not asked: Ray does not use one either.
    """
    direct = [("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(address, direct) as channel:  # type: ignore[no-untyped-call]  # has no types
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        answer = check.future(EVERY_SERVICE, timeout=REACHING_SECONDS)
        code = answer.code()  # waits
        if code is grpc.StatusCode.UNIMPLEMENTED:
            return "what answers there is not Ray"
        if code is not grpc.StatusCode.OK:
            return f"nothing answers there within {REACHING_SECONDS:g} s as Ray does"
        return "" if answer.result() == SERVING else "it says that it is not serving"


def join(address: str) -> None:
    """Connect this process to a running cluster.

    Raises:
        UsageError: the cluster does not take us: other versions of Python or Ray, for instance.
    """
    import ray  # noqa: PLC0415 - an extra

    try:
        ray.init(address=address, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"the Ray cluster at {address} does not take us: {reason}") from error


def require_machines(folder: RunFolder) -> None:
    """Return if sites of a run can live on every machine of the cluster that we joined.

    Args:
        folder: of the run; the homes of its sites lie in it.

    Raises:
        UsageError: a machine lacks the folder or the task's, may not write there, runs other
            versions than this one, or does not answer.
    """
    import ray  # noqa: PLC0415 - an extra
    from ray.util.scheduling_strategies import (  # noqa: PLC0415
        NodeAffinitySchedulingStrategy,
    )

    path = str(folder.path.resolve())
    look = look_around(path, folder.read_environment().task_folder or path)
    ours = look()
    nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    asked = {}
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node, soft=False)
        asked[ray.remote(look).options(num_cpus=0, scheduling_strategy=there).remote()] = node
    ready, late = ray.wait(list(asked), num_returns=len(asked), timeout=STARTING_SECONDS)
    for reference in late:
        raise UsageError(
            f"machine {nodes[asked[reference]]} of the Ray cluster did not answer within "
            f"{STARTING_SECONDS:g} s"
        )
    for reference in ready:
        machine = nodes[asked[reference]]
        try:
            said = ray.get(reference)
        except ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[-1]
            raise UsageError(f"machine {machine} of the Ray cluster failed: {reason}") from error
        require_like_ours(machine, said, ours)


def require_like_ours(name: str, machine: Machine, ours: Machine) -> None:
    """Return if a machine can stand in for this one.

    Raises:
        UsageError: it cannot; names the first difference.
    """
    for what, here in ours.items():
        there = machine[what]
        if there == here:
            continue
        if what.startswith("/"):
            raise UsageError(
                f"machine {name} of the Ray cluster cannot use {what}: {there}; the homes of "
                "the sites lie in the run's folder, so every machine has to see it, writable, "
                "under the same path: keep runs in a shared folder (--out)"
            )
        raise UsageError(
            f"machine {name} of the Ray cluster has {what} {there or '(none)'}, this one has "
            f"{here or '(none)'}: the same is needed on all, or models would differ"
        )


def look_around(run_folder: str, task_folder: str) -> Callable[[], Machine]:
    """What is run on each machine.

    A function within a function travels by value, so that it runs, and tells, where hedgerow is
    not installed at all. For the same reason it imports the standard library only.
    """
    packages = VERSIONED

    def look() -> Machine:
        import hashlib  # noqa: PLC0415 - on the other machine
        import platform  # noqa: PLC0415

        found: Machine = {"Python": platform.python_version()}
        for package in packages:
            try:
                found[package] = version(package)
            except PackageNotFoundError:
                found[package] = None
        try:
            # Names the run's keys, so that a folder of the same name is not taken for it.
            with open(f"{run_folder}/environment.json", "rb") as file:  # noqa: PTH123
                digest = hashlib.sha256(file.read()).hexdigest()
            writable = os.access(run_folder, os.W_OK)
            found[run_folder] = digest if writable else "it is not writable there"
        except OSError as error:
            found[run_folder] = error.strerror
        if task_folder != run_folder:
            found[task_folder] = "there" if os.path.isdir(task_folder) else "it is not there"  # noqa: PTH112
        return found

    return look
