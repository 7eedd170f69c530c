"""One engine in a process of its own: `python simulation_engines.py ENGINE WORK.json OUT.json`.

Writes when each round ended, with the CPU time of the process and all below it and of the machine,
and which clients trained. Engines of Flower run the apps of `simulation_apps` unchanged.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import process_tree

Tick = Callable[[], None]

LARGEST_TOLD = 200_000
"""Parameters of a model that is handed back to be compared; growth curves go far beyond."""


def main(engine: str, asked: Path, out: Path) -> None:
    """Play and write."""
    if engine in STARTS_WORKERS:
        # As the product's own command does: workers import while this process imports the same.
        from simulations.backends.fork_server import start_fork_server  # noqa: PLC0415
        from simulations.backends.uncollected_imports import uncollected_imports  # noqa: PLC0415

        start_fork_server("simulation_preload")
        with uncollected_imports():
            import simulation_apps  # noqa: F401, PLC0415

            import simulations.backends.embedded  # noqa: F401, PLC0415
    import torch  # noqa: PLC0415
    from simulation_work import Work  # noqa: PLC0415

    torch.set_num_threads(1)
    table = json.loads(asked.read_text(encoding="utf-8"))
    work = Work(**table | {"hidden": tuple(table["hidden"])})
    marks: list[process_tree.Mark] = []
    memory = [0.0]

    def tick() -> None:
        marks.append(process_tree.mark())
        if len(marks) > work.rounds:
            # After the last mark: it costs no round anything.
            memory[0] = process_tree.proportional_set_size(os.getpid())

    participants, examples, model = ENGINES[engine](work, tick)
    told = {
        "marks": [asdict(mark) for mark in marks],
        "participants": participants,
        "examples": examples,
        "memory": memory[0],
        "model": [] if model is None or len(model) > LARGEST_TOLD else model.double().tolist(),
    }
    out.write_text(json.dumps(told), encoding="utf-8")


def _flower(run: Callable[..., None], **choice: object) -> Callable[..., tuple]:
    """An engine that runs the Flower apps."""

    def play(work, tick: Tick):  # noqa: ANN001, ANN202 - as all engines
        from simulation_apps import Course, server_app  # noqa: PLC0415

        course = Course()
        run(server_app(work, course, tick, **choice), work)
        return course.participants, course.examples, course.model

    return play


def _on_grid(app, grid) -> None:  # noqa: ANN001
    from flwr.app import Context, RecordDict  # noqa: PLC0415

    app(grid, Context(grid.run.run_id, 1, {}, RecordDict(), {}))


def _embedded(app, work) -> None:  # noqa: ANN001
    from simulation_apps import client_app  # noqa: PLC0415
    from simulation_work import row_count  # noqa: PLC0415

    from simulations.backends.embedded import EmbeddedGrid  # noqa: PLC0415
    from simulations.backends.placement import longest_first  # noqa: PLC0415

    # As the simulator does, which knows how many rows its sites have.
    rows = [row_count(client) for client in range(work.clients)]
    placement = longest_first(rows, min(work.workers, work.clients))
    with EmbeddedGrid(client_app, work.clients, {}, work.workers, placement=placement) as grid:
        _on_grid(app, grid)


def _batched(app, work, *, fused: bool) -> None:  # noqa: ANN001
    from batched_grid import BatchedGrid  # noqa: PLC0415

    _on_grid(app, BatchedGrid(work, fused=fused))


def _ray(app, work) -> None:  # noqa: ANN001
    import logging  # noqa: PLC0415

    from flwr.simulation import run_simulation  # noqa: PLC0415
    from simulation_apps import client_app  # noqa: PLC0415

    logging.getLogger("ray").setLevel(logging.WARNING)
    run_simulation(
        server_app=app,
        client_app=client_app(),
        num_supernodes=work.clients,
        backend_config={
            "init_args": {
                "address": "local", "num_cpus": work.workers, "log_to_driver": False
            },
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        },
    )  # fmt: skip


def _everybody(work) -> tuple[list[list[int]], list[int]]:  # noqa: ANN001
    from simulation_work import row_count  # noqa: PLC0415

    everybody = list(range(work.clients))
    rows = sum(row_count(client) for client in everybody)
    return [everybody] * work.rounds, [rows] * work.rounds


def _stock_loop(work, tick: Tick):  # noqa: ANN001, ANN202
    """The stock training loop, one client after the other, and a weighted mean; no framework."""
    import torch  # noqa: PLC0415
    from simulation_work import (  # noqa: PLC0415
        build_model,
        generator_of,
        initial_model,
        rows_of,
        train,
    )

    state = initial_model(work).state_dict()
    held = [rows_of(work.model, client) for client in range(work.clients)]
    tick()
    for round_ in range(1, work.rounds + 1):
        total, seen = {name: torch.zeros_like(value) for name, value in state.items()}, 0
        for client, rows in enumerate(held):
            model = build_model(work.model, work.hidden)
            model.load_state_dict(state)
            train(model, work.mode, rows, generator_of(round_, client))
            for name, value in model.state_dict().items():
                total[name] += len(rows[1]) * value
            seen += len(rows[1])
        state = {name: value / seen for name, value in total.items()}
        tick()
    return *_everybody(work), torch.cat([value.flatten() for value in state.values()])


def _together(work, tick: Tick):  # noqa: ANN001, ANN202
    """Our batched core and a weighted mean, without Flower."""
    from batched_cohort import Cohort  # noqa: PLC0415

    cohort = Cohort(work)
    tick()
    for round_ in range(1, work.rounds + 1):
        cohort.step(round_)
        tick()
    return *_everybody(work), cohort.parameters


def _pfl(work, tick: Tick):  # noqa: ANN001, ANN202
    """Apple's pfl: FedAvg over all users on its simulated backend, in one process."""
    # In a folder of its own, as it cannot be imported where pfl is not installed.
    sys.path.append(str(Path(__file__).parent / "peers"))
    from pfl_rounds import play  # noqa: PLC0415

    return play(work, tick)


def _make_streaming(clients: int, metrics):  # noqa: ANN001, ANN202
    from simulations.backends.streaming_fedavg import StreamingFedAvg  # noqa: PLC0415

    strategy = StreamingFedAvg(clients, fraction_evaluate=0.0)
    strategy.train_metrics_aggr_fn = metrics
    return strategy


ENGINES: dict[str, Callable[..., tuple]] = {
    "embedded": _flower(_embedded),
    "streaming": _flower(_embedded, make_strategy=_make_streaming),
    "batched": _flower(lambda app, work: _batched(app, work, fused=False)),
    "fused": _flower(lambda app, work: _batched(app, work, fused=True)),
    "together": _together,
    "ray": _flower(_ray),
    "loop": _stock_loop,
    "pfl": _pfl,
}
STARTS_WORKERS = {"embedded", "streaming"}

if __name__ == "__main__" and len(sys.argv) > 1:
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
