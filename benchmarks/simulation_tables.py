"""Tables of the simulation benchmark that have no goal: per engine, growth, shares, a GPU."""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import hedgerow_round
import numpy as np
import peer_environments
import torch
from batched_cohort import Cohort
from paired_passes import Pass, Played, play, require_same_clients
from simulation_work import BATCH, Work, build_model, initial_model, pool
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from privacy.arithmetic import Arithmetic

OURS = Path(sys.executable)
ENGINE_HEAD = (
    "| case | engine | to the end of round 1, s | a round, s | a round, CPU s | of the GEMM peak "
    "| PSS, MiB | others' CPU |\n|---|---|---|---|---|---|---|---|"
)
PEAK_SIZE, PEAK_REPEATS = 1024, 12
MLP = Work("mlp", "plain", clients=100, rounds=3)


def engine_lines(case: str, passes: Sequence[Pass]) -> list[str]:
    """A line for each engine of a case: medians over the passes."""
    return [
        _line(case, engine, [one.played[engine] for one in passes]) for engine in passes[0].played
    ]


def _line(case: str, engine: str, runs: Sequence[Played]) -> str:
    middle = {
        name: statistics.median(getattr(run, name) for run in runs)
        for name in ("first_round", "memory", "foreign")
    }
    line = f"| {case} | {engine} | {middle['first_round']:.2f} "
    if runs[0].work.rounds == 1:
        line += "| | | "
    else:
        seconds = statistics.median(run.round_seconds for run in runs)
        cpu = statistics.median(run.round_cpu for run in runs)
        line += f"| {seconds:.3f} | {cpu:.3f} | {_share(runs[0], cpu)} "
    return f"{line}| {middle['memory']:.0f} | {middle['foreign']:.2f} |"


def _share(run: Played, cpu: float) -> str:
    """Of the peak of a processor in matrix products, what a round's training comes to."""
    if run.work.mode == "noop":
        return ""
    floor = run.examples[0] * row_flops(run.work.model, run.work.hidden) / gemm_peak()
    return f"{100 * floor / cpu:.2g} %"


@cache
def gemm_peak() -> float:
    """Floating-point operations per second of one thread in products of float32 matrices."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    left, right = torch.randn(2, PEAK_SIZE, PEAK_SIZE)
    best = float("inf")
    for _ in range(PEAK_REPEATS):
        began = time.thread_time()
        torch.mm(left, right)
        best = min(best, time.thread_time() - began)
    torch.set_num_threads(threads)
    return 2 * PEAK_SIZE**3 / best


@cache
def row_flops(kind: str, hidden: tuple[int, ...]) -> float:
    """Of the forward and backward pass, for one row; convolutions and products only."""
    inputs, targets = (side[:BATCH] for side in pool(kind))
    model = build_model(kind, hidden)
    with FlopCounterMode(display=False) as counter:
        cross_entropy(model(inputs), targets).backward()
    return counter.get_total_flops() / BATCH


def growth_clients(*, quick: bool) -> str:
    """Milliseconds a client and memory, as clients become more."""
    lines = [
        "| clients | engine | work | a client, wall ms | a client, CPU ms | PSS, MiB |",
        "|---|---|---|---|---|---|",
    ]
    counts = (10, 30) if quick else (10, 100, 1000, 10_000)
    for clients in counts:
        for mode in ("noop", "plain"):
            work = replace(MLP, mode=mode, clients=clients)
            lines += [_growth_line(clients, "streaming", work)]
            if clients <= 1000:
                # Its scan of all nodes for all messages takes minutes a round beyond.
                lines += [_growth_line(clients, "ray", work)]
        lines += [_growth_line(clients, "fused", replace(MLP, clients=clients, workers=1))]
    return "\n".join(lines)


def growth_parameters(*, quick: bool) -> str:
    """Milliseconds a client, as the model grows: one hidden layer, 8 clients, one thread."""
    lines = [
        "| parameters | engine | work | a client, wall ms | a client, CPU ms | PSS, MiB |",
        "|---|---|---|---|---|---|",
    ]
    for width in (10, 100) if quick else (10, 100, 1000, 10_000, 100_000):
        work = replace(MLP, clients=8, hidden=(width,), workers=1)
        size = sum(p.numel() for p in initial_model(work).parameters())
        for mode, engine in (
            ("noop", "streaming"),
            ("noop", "ray"),
            ("plain", "loop"),
            ("plain", "together"),
            ("dp", "loop"),
            ("ghost", "loop"),
            ("dp", "together"),
        ):
            lines += [_growth_line(size, engine, replace(work, mode=mode))]
    return "\n".join(lines)


def _growth_line(size: int, engine: str, work: Work) -> str:
    print(f"{size} {engine} {work.mode} ...", file=sys.stderr)
    python = peer_environments.flower_on_ray() if engine == "ray" else OURS
    run = play(python, engine, work)
    require_same_clients({engine: run})
    return (
        f"| {size:,} | {engine} | {work.mode} | {run.message_ms:.3g} | {run.client_cpu_ms:.3g} "
        f"| {run.memory:.0f} |"
    )


def secure_sum(*, quick: bool) -> str:
    """Of a round's CPU time, the share of the secure sum: real keys, shares and masks."""
    lines = [
        "| sites | training by | training, CPU ms a site | secure sum, CPU ms a site, both ends "
        "| its share |",
        "|---|---|---|---|---|",
    ]
    for sites in (4, 10) if quick else (10, 100):
        work = replace(MLP, mode="dp", clients=sites, workers=1)
        names = [f"site-{number:04}" for number in range(sites)]
        length = len(Cohort(work).parameters)
        vectors = {name: np.full(length, 0.01) for name in names}
        majority = sites // 2 + 1
        cost = hedgerow_round.round_cpu(names, vectors, None, majority, majority, ())
        secure = 1e3 * (cost.client_seconds + cost.server_seconds / sites)
        for engine in ("loop", "together"):
            training = play(OURS, engine, work).client_cpu_ms
            share = secure / (secure + training)
            told = "Opacus" if engine == "loop" else "the batched core"
            lines += [f"| {sites} | {told} | {training:.2f} | {secure:.2f} | {100 * share:.0f} % |"]
    return "\n".join(lines)


def gpu(*, quick: bool) -> str:
    """Client-steps per second of the batched core on a GPU, beside the processor's."""
    if not torch.cuda.is_available():
        return "no GPU is at hand: client-steps per second on one were not measured"
    lines = ["| device | work | chunk | client-steps per second |", "|---|---|---|---|"]
    clients = 100 if quick else 10_000
    for mode in ("plain", "dp"):
        for device, chunk in (("cpu", 64), ("cuda", 256), ("cuda", 1024), ("cuda", 4096)):
            work = replace(MLP, mode=mode, clients=clients)
            cohort = Cohort(work, Arithmetic(torch.device(device)), chunk)
            cohort.step(1)
            torch.cuda.synchronize()
            began = time.monotonic()
            cohort.step(2)
            torch.cuda.synchronize()
            rate = cohort.steps_per_round / (time.monotonic() - began)
            name = torch.cuda.get_device_name() if device == "cuda" else "one thread"
            lines += [f"| {name} | {mode} | {chunk} | {rate:,.0f} |"]
    return "\n".join(lines)


TABLES: dict[str, Callable[..., str]] = {
    "growth-clients": growth_clients,
    "growth-parameters": growth_parameters,
    "secure-sum": secure_sum,
    "gpu": gpu,
}
