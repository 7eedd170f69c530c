"""The secure sum beside Flower's SecAgg+, NVFlare's CKKS, and the floors that none can pass.

    python benchmarks/secure_sum.py [--quick] [--growth] [--cases n10-complete ...] [--repeats 5]
                                    [--peer-repeats 1] [--json FILE]

CPU seconds of one process, turn about on the same vectors with the same dropouts; medians. A ratio
above 1 means that we are ahead; beside a floor it is the share of it that we reach. Ours are second
rounds of a run, and all later ones are like them; `client_first_round` is the client's time in the
first, where no site can vouch for its keys yet. All cases take a quarter of an hour, nearly all of
it Flower's.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import flower_secagg_plus
import hedgerow_round
import numpy as np
import tenseal_ckks
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from round_cost import Floats, RoundCost

Row = dict[str, str | float | bool | None]

FLOWER = "Flower SecAgg+"
CKKS = "CKKS (TenSEAL)"
UPLOAD_GOAL = 1 / 1.01
"""At most 1 % on top of the packed vector."""
FLOWER_UPLOAD_GOAL = 1 / 0.51
MASK_RATE_GOAL = 0.75
PLAIN_SUM_GOAL = 1 / 6
PLAIN_SUM_DROPOUTS_GOAL = 1 / 15
CKKS_UPLOAD_GOAL = 14.0
SERVER_VECTORS = 3
"""What the server may hold whatever the number of sites: sum, message, and one copy."""
CHUNK = 256 * 1024


@dataclass(frozen=True, slots=True)
class Case:
    """One federation, and by how much we want to be ahead in it.

    Attributes:
        sites: n.
        length: d.
        degree: peers of a site; None for the complete graph.
        threshold: fewest shares that give a secret back.
        lost: sites that fail when they should send their masked vector.
        client_goal: least ratio to Flower's client.
        server_goal: least ratio to Flower's server.
        ckks_goal: least ratio to CKKS at the client; 0 where it is not compared.
    """

    sites: int
    length: int
    degree: int | None
    threshold: int
    lost: int
    client_goal: float
    server_goal: float
    ckks_goal: float = 0.0

    @property
    def quorum(self) -> int:
        """Two thirds of the sites."""
        return -(-2 * self.sites // 3)


CASES = {
    "n10-small": Case(10, 100_000, None, 7, 1, 6, 50),
    "n10-complete": Case(10, 1_000_000, None, 7, 1, 6, 20, ckks_goal=10),
    "n50-complete": Case(50, 1_000_000, None, 34, 5, 14, 110, ckks_goal=10),
    "n100-k20": Case(100, 1_000_000, 20, 11, 10, 6, 55, ckks_goal=20),
    "n100-complete": Case(100, 1_000_000, None, 67, 10, 25, 170, ckks_goal=10),
    "n100-small": Case(100, 100_000, None, 67, 10, 40, 700),
}
WARM_UP = Case(5, 1000, None, 4, 1, 0, 0)
"""Played first, so that no figure holds what a library does once."""
QUICK = ("n10-small", "n10-complete")


def main() -> None:
    """Measure, print, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--repeats", type=int, default=5, help="rounds of ours")
    parser.add_argument("--peer-repeats", type=int, default=1, help="rounds of Flower's, n > 10")
    parser.add_argument("--quick", action="store_true", help=f"{' and '.join(QUICK)} only, no CKKS")
    parser.add_argument("--growth", action="store_true", help="with more sites, longer vectors")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows: list[Row] = []
    play(WARM_UP, 1, 1)
    ckks = "not asked for" if given.quick else tenseal_ckks.measure(1_000_000)
    if isinstance(ckks, str):
        print(f"{CKKS}: {ckks}\n")
    for name in QUICK if given.quick else given.cases:
        case = CASES[name]
        # At n = 10 Flower is quick enough to be played as often as we are.
        peer_repeats = given.repeats if case.sites <= 10 else given.peer_repeats
        ours, flower = play(case, given.repeats, peer_repeats)
        rows += rows_beside_flower(name, case, ours, flower)
        if case.ckks_goal and not isinstance(ckks, str):
            rows += rows_beside_ckks(name, case, ours, ckks)
        print_stages(name, {"ours": ours, FLOWER: flower})
    rows += mask_rates(given.repeats)
    rows += beside_plain_sum(10 if given.quick else 50, given.repeats)
    rows += [server_memory(sites) for sites in ((10,) if given.quick else (10, 100))]
    print_rows(rows)
    if given.growth:
        print_growth_in_sites()
        print_growth_in_length()
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def play(case: Case, repeats: int, peer_repeats: int) -> tuple[RoundCost, RoundCost]:
    """Median rounds of ours and of Flower's, turn about.

    Raises:
        SystemExit: they do not give the same mean.
    """
    rng = np.random.default_rng(0)
    names = site_names(case.sites)
    vectors = {name: rng.standard_normal(case.length) for name in names}
    lost = spread(case.sites, case.lost)
    ours: list[RoundCost] = []
    flower: list[RoundCost] = []
    for repeat in range(max(repeats, peer_repeats)):
        if repeat < repeats:
            ours.append(
                hedgerow_round.round_cpu(
                    names, vectors, case.degree, case.threshold, case.quorum,
                    [names[index] for index in lost],
                )
            )  # fmt: skip
        if repeat < peer_repeats:
            shares = case.sites if case.degree is None else case.degree + 1
            flower.append(
                flower_secagg_plus.round_cost(list(vectors.values()), shares, case.threshold, lost)
            )
    if np.max(np.abs(ours[0].mean - flower[0].mean)) > 1e-4:
        raise SystemExit("the two sums are not of the same vectors")
    return median_round(ours), median_round(flower)


def site_names(sites: int) -> list[str]:
    """Sorted."""
    return [f"site-{number:04d}" for number in range(sites)]


def spread(sites: int, lost: int) -> list[int]:
    """Indices of the lost sites, evenly spread."""
    return [index * sites // lost for index in range(lost)]


def median_round(rounds: Sequence[RoundCost]) -> RoundCost:
    """The median of every stage."""
    first = rounds[0]
    return RoundCost(
        client={s: statistics.median(each.client[s] for each in rounds) for s in first.client},
        first_client={
            s: statistics.median(each.first_client[s] for each in rounds)
            for s in first.first_client
        },
        server={s: statistics.median(each.server[s] for each in rounds) for s in first.server},
        upload=first.upload,
        vector_message=first.vector_message,
        word_bits=first.word_bits,
        mean=first.mean,
    )


def rows_beside_flower(name: str, case: Case, ours: RoundCost, flower: RoundCost) -> list[Row]:
    """Both ends' CPU time, and the upload beside the packed vector's and Flower's."""
    packed = case.length * ours.word_bits / 8
    client, server = ours.client_seconds, ours.server_seconds
    return [
        row(name, "client", client, FLOWER, flower.client_seconds, "s", case.client_goal),
        row(name, "client_first_round", ours.first_client_seconds, FLOWER,
            flower.first_client_seconds, "s", 0),
        row(name, "server", server, FLOWER, flower.server_seconds, "s", case.server_goal),
        row(name, "upload", ours.vector_message, "packed vector alone", packed, "B", UPLOAD_GOAL),
        row(name, "upload_whole_round", ours.upload, "packed vector alone", packed, "B",
            UPLOAD_GOAL),
        row(name, "upload_vs_flower", ours.upload, FLOWER, flower.upload, "B", FLOWER_UPLOAD_GOAL),
    ]  # fmt: skip


def rows_beside_ckks(
    name: str, case: Case, ours: RoundCost, ckks: Mapping[str, float]
) -> list[Row]:
    """The client's CPU time and upload."""
    client = ckks["encrypt"] + ckks["serialise"]
    return [
        row(name, "client_vs_ckks", ours.client_seconds, CKKS, client, "s", case.ckks_goal),
        row(name, "upload_vs_ckks", ours.upload, CKKS, ckks["bytes"], "B", CKKS_UPLOAD_GOAL),
    ]


def mask_rates(repeats: int) -> list[Row]:
    """Expanding masks and adding them, as a share of the cipher's bare rate.

    One thread by CPU time, medians; all cores by the clock, the best of several, because the clock
    counts whatever else the machine does.
    """
    masks, vector = 16, hedgerow_round.zero_vector(1_000_000)
    keys = [os.urandom(hedgerow_round.KEY_BYTES) for _ in range(masks)]
    size = masks * vector.buffer.nbytes
    cores = len(os.sched_getaffinity(0))
    rows = []
    for threads, clock, reduce in (
        (1, time.process_time, statistics.median),
        (cores, time.perf_counter, min),
    ):
        works = [
            partial(hedgerow_round.expand_masks, vector, keys, threads),
            partial(bare_keystream, size, threads),
        ]
        ours, bare = map(reduce, turn_about(works, 4 * repeats, clock))
        rate = size / ours / 1e9
        rows.append(
            row(f"{threads} cores" if threads > 1 else "1 core", "mask_rate", rate,
                "bare AES-128-CTR", size / bare / 1e9, "GB/s", MASK_RATE_GOAL,
                ratio=bare / ours)
        )  # fmt: skip
    return rows


def bare_keystream(size: int, threads: int) -> None:
    """AES-128-CTR over a buffer that stays in the cache, `size` bytes in all."""

    def stretch(size: int) -> None:
        stream = Cipher(algorithms.AES128(bytes(16)), modes.CTR(bytes(16))).encryptor()
        zeros, buffer = bytes(CHUNK), bytearray(CHUNK + 15)
        for _ in range(size // CHUNK):
            stream.update_into(zeros, buffer)
        stream.update_into(zeros[: size % CHUNK], buffer)

    if threads == 1:
        stretch(size)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(stretch, [size // threads] * threads))


def beside_plain_sum(sites: int, repeats: int) -> list[Row]:
    """Our server beside one that adds up float32 vectors in the clear, d = 1e6."""
    length = 1_000_000
    rng = np.random.default_rng(0)
    names, vector = site_names(sites), rng.standard_normal(length)
    clear = [rng.standard_normal(length, dtype=np.float32) for _ in names]

    def plain_sum(vectors: Sequence[np.ndarray]) -> None:
        total = np.zeros(length, np.float32)
        for each in vectors:
            total += each

    rows = []
    threshold, quorum = sites // 2 + 1, -(-2 * sites // 3)
    for metric, lost, goal in (
        ("server_vs_plain_sum", 0, PLAIN_SUM_GOAL),
        ("server_vs_plain_sum_dropouts", sites // 10, PLAIN_SUM_DROPOUTS_GOAL),
    ):
        gone = [names[index] for index in spread(sites, lost)]
        ours = median_round([
            hedgerow_round.round_cpu(
                names, dict.fromkeys(names, vector), None, threshold, quorum, gone
            )
            for _ in range(repeats)
        ]).server_seconds  # fmt: skip
        (plain,) = turn_about([partial(plain_sum, clear[lost:])], 2 * repeats)
        case = f"n={sites}, d=1e6, {lost} lost"
        rows.append(
            row(case, metric, ours, "plain float32 sum", statistics.median(plain), "s", goal)
        )
    return rows


def server_memory(sites: int) -> Row:
    """The server's peak beside what it needs whatever the number of sites, d = 1e6."""
    vector = np.random.default_rng(0).standard_normal(1_000_000)
    threshold, quorum = sites // 2 + 1, -(-2 * sites // 3)
    peak = hedgerow_round.server_peak_bytes(site_names(sites), vector, threshold, quorum)
    return row(
        f"n={sites}, d=1e6", "server_memory", peak / len(vector),
        f"{SERVER_VECTORS} vectors of words", SERVER_VECTORS * 4, "B/coordinate", 1.0,
    )  # fmt: skip


def turn_about(
    works: Sequence[Callable[[], None]],
    repeats: int,
    clock: Callable[[], float] = time.process_time,
) -> list[list[float]]:
    """Seconds of each, `repeats` times."""
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(repeats):
        for seconds, work in zip(taken, works, strict=True):
            began = clock()
            work()
            seconds.append(clock() - began)
    return taken


def row(  # noqa: PLR0913, PLR0917 - the columns of the table
    case: str,
    metric: str,
    ours: float,
    peer: str,
    peer_value: float,
    unit: str,
    goal: float,
    ratio: float | None = None,
) -> Row:
    """One line; less of the metric is better, unless a ratio is given."""
    ratio = peer_value / ours if ratio is None else ratio
    return {
        "case": case, "metric": metric, "ours": float(f"{ours:.4g}"), "peer": peer,
        "peer_value": float(f"{peer_value:.4g}"), "unit": unit, "ratio": float(f"{ratio:.4g}"),
        "goal": float(f"{goal:.4g}"), "met": ratio >= goal,
    }  # fmt: skip


def print_rows(rows: Sequence[Row]) -> None:
    """The table."""
    print("| case | metric | ours | peer | peer's | unit | ratio | goal | met |")
    print("|---|---|---|---|---|---|---|---|---|")
    for each in rows:
        print(
            f"| {each['case']} | {each['metric']} | {each['ours']:g} | {each['peer']} "
            f"| {each['peer_value']:g} | {each['unit']} | {each['ratio']:g} | {each['goal']:g} "
            f"| {'yes' if each['met'] else 'no'} |"
        )
    print()


def print_stages(name: str, rounds: Mapping[str, RoundCost]) -> None:
    """Where the time of a round goes."""
    print(f"{name}: milliseconds and share of an end's time, by stage")
    for whose, cost in rounds.items():
        for end, stages in (("client", cost.client), ("server", cost.server)):
            total = sum(stages.values())
            listed = ", ".join(
                f"{stage} {seconds * 1e3:.4g} ({seconds / total:.0%})"
                for stage, seconds in stages.items()
            )
            print(f"  {whose}, {end}: {total * 1e3:.4g} = {listed}")
    print(flush=True)


def print_growth_in_sites() -> None:
    """One round each at d = 1e4 with a tenth lost: complete up to 200 sites, then 40 peers."""
    length = 10_000
    vector: Floats = np.random.default_rng(0).standard_normal(length)
    print("| n | peers | client ms | server ms | upload beyond the vector, KB |")
    print("|---|---|---|---|---|")
    for sites in (10, 20, 50, 100, 200, 500, 1000):
        degree = None if sites <= 200 else 40
        names, peers = site_names(sites), degree or sites - 1
        lost = [names[index] for index in spread(sites, sites // 10)]
        cost = hedgerow_round.round_cpu(
            names, dict.fromkeys(names, vector), degree, peers // 2 + 1, -(-2 * sites // 3), lost
        )
        beyond = cost.upload - length * cost.word_bits / 8
        print(
            f"| {sites} | {peers} | {cost.client_seconds * 1e3:.4g} "
            f"| {cost.server_seconds * 1e3:.4g} | {beyond / 1e3:.4g} |",
            flush=True,
        )
    print()


def print_growth_in_length() -> None:
    """Nanoseconds a coordinate: a client's 10 masks, and the server's sum of one message."""
    keys = [os.urandom(hedgerow_round.KEY_BYTES) for _ in range(10)]
    print("| d | 10 masks, ns | server's add, ns |\n|---|---|---|")
    for exponent in range(4, 9):
        length = 10**exponent
        vector, total = hedgerow_round.zero_vector(length), hedgerow_round.zero_vector(length)
        message = hedgerow_round.masked_message(vector)
        works = [
            partial(hedgerow_round.expand_masks, vector, keys),
            partial(hedgerow_round.add_message, total, message),
        ]
        masks, add = map(statistics.median, turn_about(works, 3 + 10**6 // length))
        print(f"| 1e{exponent} | {masks / length * 1e9:.3g} | {add / length * 1e9:.3g} |")
    print()


if __name__ == "__main__":
    main()
