"""A partitioned task serves the rows that its partition names, and all of a task's rows."""

import numpy as np
import pandas as pd
import pytest
import torch

from federation.errors import ConfigError, DataError, IntegrityError
from federation.partition_choice import numbered_sites, parse_partition_choice
from federation.schema import Numeric, SensitiveAttribute
from federation.tabular import TabularTask
from federation.task import AnnotatedTask, OrderedTask, SiteRequest, WindowedTask, held_out_rows
from federation.task_loading import load_task
from simulations.partition.drawing import draw
from simulations.partition.label_skew import label_skew
from simulations.partition.partition import Partition
from simulations.partition.partition_file import SavedPartition, read_partition, sha256
from simulations.partition.partitioned_task import PartitionedTask
from simulations.partition.row_pool import row_pool
from simulations.partition.site_profiles import site_profiles

ROWS = 240


def table() -> pd.DataFrame:
    """Rows whose feature is their number, so that each can be told; sites and years interleave."""
    numbers = range(ROWS)
    return pd.DataFrame(
        {
            "site": [f"s{number % 4}" for number in numbers],
            "label": [("no", "yes")[number % 3 == 0] for number in numbers],
            "value": [str(number) for number in numbers],
            "sex": [("f", "m")[number % 2] for number in numbers],
            "year": [str(2015 + (number // 5) % 4) for number in numbers],
        }
    )


def tabular(*, windows: bool) -> TabularTask:
    return TabularTask(
        table,
        label_column="label",
        classes=("no", "yes"),
        features=(Numeric("value", 0, ROWS),),
        attributes=(SensitiveAttribute("sex", ("f", "m")),),
        window_column="year" if windows else None,
        current_windows=("2018",) if windows else (),
    )


def partitioned(task: TabularTask, **partition: object) -> PartitionedTask:
    pool = row_pool(task)
    chosen = parse_partition_choice({"kind": "iid", **partition})
    assert chosen.kind != "natural"
    noise = float(partition.get("input_noise", 0.0))
    return PartitionedTask(task, pool, draw(chosen, pool, numbered_sites(5), 7), noise)


def values(rows) -> list[int]:
    return rows.features["value"].astype(int).tolist()


@pytest.mark.parametrize("windows", [False, True])
def test_a_pool_has_every_row_once_in_the_order_of_the_table(windows: bool) -> None:
    pool = row_pool(tabular(windows=windows))
    rows = pool.rows
    assert values(rows) == list(range(ROWS))
    assert pool.labels.tolist() == [number % 3 == 0 for number in range(ROWS)]
    assert rows.groups["sex"].tolist() == [number % 2 for number in range(ROWS)]
    if windows:
        assert pool.ordered_by == "windows"
        assert pool.windows.tolist() == [(number // 5) % 4 for number in range(ROWS)]
        assert pool.in_time.tolist() == sorted(range(ROWS), key=lambda n: ((n // 5) % 4, n))
    else:
        assert (pool.ordered_by, pool.windows) == ("table", None)
        assert pool.in_time.tolist() == list(range(ROWS))


def test_a_task_without_an_order_is_pooled_site_by_site() -> None:
    whole = tabular(windows=False)

    class Plain:
        schema, sites = whole.schema, whole.sites
        build_model, loss, probabilities = whole.build_model, whole.loss, whole.probabilities
        load = staticmethod(whole.load)

    assert not isinstance(Plain(), OrderedTask)
    pool = row_pool(Plain())
    assert pool.ordered_by == "sites"
    assert sorted(values(pool.rows)) == list(range(ROWS))
    assert {number % 4 for number in values(pool.rows)[: ROWS // 4]} == {0}


@pytest.mark.parametrize("name", ["heart", "digits", "acs-employment"])
def test_built_in_tasks_know_the_order_of_their_rows(name: str) -> None:
    task = load_task(name, {})
    assert isinstance(task, OrderedTask)
    request = SiteRequest(task.sites[0], 3)
    data, order = task.load(request), task.order(request)
    for part in ("train", "reference", "current"):
        assert len(getattr(order, part).numbers) == len(getattr(data, part))
    if isinstance(task, AnnotatedTask):
        assert np.array_equal(order.train.numbers, task.notes(request).train.numbers)
    if name == "acs-employment":
        assert [task.windows[code] for code in set(order.current.windows)] == ["2018"]
        assert (order.train.windows < order.current.windows.min()).all()


def test_sites_together_have_every_row_once_with_all_that_belongs_to_it() -> None:
    task = partitioned(tabular(windows=False), kind="dirichlet", alpha=0.3)
    seen = []
    for site in task.sites:
        data = task.load(SiteRequest(site, 0))
        for rows in (data.train, data.reference, data.current):
            numbers = np.array(values(rows))
            assert rows.targets.tolist() == (numbers % 3 == 0).astype(int).tolist()
            assert rows.groups["sex"].tolist() == (numbers % 2).tolist()
            assert np.allclose(rows.inputs[:, 0].numpy(), numbers / (ROWS / 2) - 1, atol=1e-6)
            seen += numbers.tolist()
    assert sorted(seen) == list(range(ROWS))


def test_another_split_seed_moves_no_row() -> None:
    task = partitioned(tabular(windows=False))
    first, other = (task.load(SiteRequest("site-02", seed)) for seed in (1, 2))
    assert values(first.train) == values(other.train)
    assert torch.equal(first.current.inputs, other.current.inputs)


def test_windows_are_of_held_out_rows() -> None:
    task = partitioned(tabular(windows=True))
    assert isinstance(task, WindowedTask)
    assert task.windows == ("2015", "2016", "2017", "2018")
    for site in task.sites:
        request = SiteRequest(site, 0)
        data = task.load(request)
        by_window = {window: values(task.load_window(request, window)) for window in task.windows}
        assert sorted(number for of in by_window.values() for number in of) == sorted(
            values(data.reference) + values(data.current)
        )
        for code, numbers in enumerate(by_window.values()):
            assert {(number // 5) % 4 for number in numbers} <= {code}


def test_without_windows_there_are_reference_and_current() -> None:
    task = partitioned(tabular(windows=False))
    request = SiteRequest("site-01", 0)
    data = task.load(request)
    assert task.windows == ("reference", "current")
    assert values(held_out_rows(task, request, "reference")) == values(data.reference)
    assert values(held_out_rows(task, request, "current")) == values(data.current)
    with pytest.raises(ConfigError):
        held_out_rows(task, request, "2015")
    with pytest.raises(ConfigError):
        task.load_window(request, "2015")


def test_a_site_that_the_partition_does_not_have_is_told() -> None:
    with pytest.raises(DataError, match="no rows for a site s1"):
        partitioned(tabular(windows=False)).load(SiteRequest("s1", 0))


def test_input_noise_grows_with_the_site_and_leaves_features_alone() -> None:
    clean = tabular(windows=False)
    noise = {"kind": "feature", "input_noise": 4.0}
    noisy = partitioned(clean, **noise)
    pool = row_pool(clean)
    spread = []
    for site in noisy.sites:
        train = noisy.load(SiteRequest(site, 0)).train
        added = train.inputs - pool.rows.inputs[values(train)]
        spread.append(float(added.var()))
    expected = [4.0 * k / 5 for k in range(1, 6)]
    assert np.allclose(spread, expected, rtol=0.6)
    assert spread[4] > 2 * spread[0]
    again = partitioned(clean, **noise).load(SiteRequest("site-03", 9))
    assert torch.equal(again.train.inputs, noisy.load(SiteRequest("site-03", 0)).train.inputs)


# -- the file ------------------------------------------------------------------------------------

KNOWN = "6ac6186354347111f50ede10a62ec8bff02e7e58c7e676a4c150bd3c83a1595c"


def saved() -> SavedPartition:
    pool = row_pool(tabular(windows=False))
    chosen = parse_partition_choice({"kind": "dirichlet", "alpha": 0.5})
    assert chosen.kind != "natural"
    return SavedPartition(draw(chosen, pool, numbered_sites(5), 2026), len(pool), pool.digest())


def test_a_small_partition_has_the_digest_that_it_always_had() -> None:
    assert sha256(saved().to_bytes()) == KNOWN


def test_what_is_written_reads_back_the_same(tmp_path) -> None:
    content = saved().to_bytes()
    (tmp_path / "p.npz").write_bytes(content)
    again = read_partition(tmp_path / "p.npz", sha256(content))
    assert again.to_bytes() == content
    assert again.partition.sites == numbered_sites(5)
    with np.load(tmp_path / "p.npz", allow_pickle=False) as archive:
        assert archive["lengths"].sum() == len(archive["rows"]) == ROWS


@pytest.mark.parametrize("at", [0, 200, -1])
def test_a_changed_byte_is_refused(tmp_path, at: int) -> None:
    content = bytearray(saved().to_bytes())
    digest = sha256(bytes(content))
    content[at] ^= 1
    (tmp_path / "p.npz").write_bytes(content)
    with pytest.raises(IntegrityError, match="what was written when the run began has"):
        read_partition(tmp_path / "p.npz", digest)


def test_a_missing_file_is_told(tmp_path) -> None:
    with pytest.raises(IntegrityError, match="cannot read"):
        read_partition(tmp_path / "p.npz", KNOWN)


def _beyond(good: SavedPartition) -> bytes:
    return SavedPartition(good.partition, 10, good.pool_digest).to_bytes()


def _too_short(good: SavedPartition) -> bytes:
    cut = Partition(good.partition.sites, good.partition.rows[:-1], good.partition.lengths)
    return SavedPartition(cut, good.pool_rows, good.pool_digest).to_bytes()


@pytest.mark.parametrize("spoil", [_beyond, _too_short, lambda _: b"no archive"])
def test_a_file_that_contradicts_itself_is_refused(tmp_path, spoil) -> None:
    content = spoil(saved())
    (tmp_path / "p.npz").write_bytes(content)
    with pytest.raises(IntegrityError, match="is no partition"):
        read_partition(tmp_path / "p.npz", sha256(content))


def test_a_pools_digest_tells_another_label_or_group() -> None:
    pool = row_pool(tabular(windows=False))
    before = pool.digest()
    pool.rows.targets[7] = 1 - pool.rows.targets[7]
    assert pool.digest() != before
    pool.rows.targets[7] = 1 - pool.rows.targets[7]
    assert pool.digest() == before
    pool.rows.groups["sex"][3] = 2
    assert pool.digest() != before


# -- what sites are like -------------------------------------------------------------------------


def test_profiles_count_what_sites_have() -> None:
    task = partitioned(tabular(windows=False), kind="quantity")
    profiles = site_profiles(task, task.sites, 0)
    assert profiles.rows.sum() == ROWS
    assert profiles.labels.sum(axis=0).tolist() == [ROWS * 2 // 3, ROWS // 3]
    assert profiles.groups["sex"].sum(axis=0).tolist() == [ROWS // 2, ROWS // 2, 0]
    assert (profiles.labels.sum(axis=1) == profiles.rows).all()
    data = task.load(SiteRequest("site-03", 0))
    assert profiles.splits[2].tolist() == [len(data.train), len(data.reference), len(data.current)]


def test_label_skew_of_known_laws() -> None:
    skew = label_skew(np.array([[10, 0], [0, 10]]))
    assert skew.total_variation.tolist() == [0.5, 0.5]
    # H(1/4, 3/4) - (H(1/2) + H(0)) / 2, in bits
    assert skew.jensen_shannon == pytest.approx([0.3112781244591328] * 2)
    assert label_skew(np.array([[5, 5], [50, 50]])).total_variation.tolist() == [0.0, 0.0]


def test_chance_is_what_rows_at_random_have() -> None:
    counts = np.array([[20, 10, 0], [300, 100, 50], [3, 3, 1]])
    generator = np.random.default_rng(0)
    whole = counts.sum(axis=0) / counts.sum()
    for size, expected in zip(counts.sum(axis=1), label_skew(counts).by_chance, strict=True):
        drawn = generator.multinomial(size, whole, 20_000) / size
        simulated = 0.5 * np.abs(drawn - whole).sum(axis=1).mean()
        assert expected == pytest.approx(simulated, rel=0.02)
