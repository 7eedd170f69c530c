"""Built-in tasks: the published facts, and refusal of a table that is not the one checked."""

import hashlib
import shutil

import numpy as np
import pytest
import torch

from federation.errors import ConfigError, DataError
from federation.task import SiteRequest, Task
from federation.task_loading import load_task
from simulations.tasks import acs_employment, digits, heart, languages, shipped_table


def everything(task: Task, site: str):
    data = task.load(SiteRequest(site, 1))
    return data, [data.train, data.reference, data.current]


@pytest.mark.parametrize(
    ("name", "options", "sites", "rows"),
    [
        ("heart", {}, 4, 920),
        ("heart", {"hidden": (8,)}, 4, 920),
        ("acs-employment", {}, 12, 24_000),
        ("acs-employment", {"sites_by": "year"}, 12, 24_000),
        ("acs-employment", {"regions": 15}, 15, 24_000),
        ("heart", {"model": "mlp"}, 4, 920),
        ("heart", {"model": "embedding"}, 4, 920),
        ("acs-employment", {"model": "embedding"}, 12, 24_000),
        ("digits", {}, 8, 1_797),
        ("digits", {"model": "resnet"}, 8, 1_797),
        ("languages", {}, 6, 15_019),
        ("languages", {"model": "lora", "rank": 2}, 6, 15_019),
        ("digits", {"clients": 3, "concentration": 0.1}, 3, 1_797),
    ],
)
def test_every_row_is_at_one_site_and_the_model_takes_it(name, options, sites, rows) -> None:
    task = load_task(name, options)
    assert len(task.sites) == sites
    total = 0
    for site in task.sites:
        data, parts = everything(task, site)
        total += sum(len(part) for part in parts)
        output = task.build_model()(data.train.inputs[:5])
        probabilities = task.probabilities(output)
        assert probabilities.shape == (min(5, len(data.train)), len(task.schema.classes))
        torch.testing.assert_close(
            probabilities.sum(1), torch.ones(len(probabilities), dtype=torch.float64)
        )
        assert task.loss(output, data.train.targets[:5]).shape == (len(probabilities),)
        for part in parts:
            assert set(part.features) == {feature.name for feature in task.schema.features}
            assert set(part.groups) == {a.name for a in task.schema.attributes}
    assert total == rows


@pytest.mark.parametrize(
    ("site", "rows", "positive", "women"),
    [
        ("cleveland", 303, 0.459, 97),
        ("hungary", 294, 0.361, 81),
        ("switzerland", 123, 0.935, 10),
        ("va_long_beach", 200, 0.745, 6),
    ],
)
def test_the_hospitals_are_the_published_ones(site, rows, positive, women) -> None:
    _, parts = everything(heart.HeartTask(), site)
    targets = np.concatenate([part.targets for part in parts])
    sex = np.concatenate([part.groups["sex"] for part in parts])
    assert len(targets) == rows
    assert targets.mean() == pytest.approx(positive, abs=5e-4)
    assert (sex == 0).sum() == women


def test_unmeasured_cholesterol_is_missing_at_all_of_switzerland() -> None:
    _, parts = everything(heart.HeartTask(), "switzerland")
    assert all(np.isnan(part.features["chol"]).all() for part in parts)


def test_the_latest_census_year_is_the_current_window() -> None:
    task = acs_employment.AcsEmploymentTask()
    current = sum(len(task.load(SiteRequest(s, 1)).current) for s in task.sites)
    assert current == 6_000


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: heart.HeartTask(hidden=(0,)), "hidden"),
        (lambda: heart.HeartTask(hidden=("8",)), "hidden"),
        (lambda: acs_employment.AcsEmploymentTask("yaer"), "did you mean year?"),
        (lambda: acs_employment.AcsEmploymentTask(regions=2), "a whole number from 3 to 99"),
        (lambda: heart.HeartTask(model="tree"), "one of logistic, mlp, boosted_trees, embedding"),
        (lambda: heart.HeartTask(model="logistic", hidden=(4,)), "none with model"),
        (lambda: heart.HeartTask(model="embedding", hidden=()), "at least one width with model"),
        (lambda: languages.LanguagesTask(rank=0), "a whole number from 1 to 32"),
        (lambda: languages.LanguagesTask(held_out_fraction=0.0), "held_out_fraction"),
        (lambda: digits.DigitsTask(clients=2), "clients"),
        (lambda: digits.DigitsTask(clients=51), "clients"),
        (lambda: digits.DigitsTask(concentration=0), "concentration"),
        (lambda: digits.DigitsTask(held_out_fraction=1), "held_out_fraction"),
    ],
)
def test_a_wrong_option_is_refused_by_name(make, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert named in str(caught.value)


@pytest.fixture
def copied(tmp_path, monkeypatch):
    shutil.copytree(shipped_table.FOLDER, tmp_path / "data")
    monkeypatch.setattr(shipped_table, "FOLDER", tmp_path / "data")
    return tmp_path / "data"


def test_a_table_that_differs_is_refused(copied) -> None:
    path = copied / "heart.csv"
    path.write_bytes(path.read_bytes().replace(b"63,Male", b"64,Male", 1))
    with pytest.raises(DataError, match="not the table that was checked"):
        _ = heart.HeartTask().sites
    path.unlink()
    with pytest.raises(DataError, match="reinstall hedgerow"):
        _ = heart.HeartTask().sites


def test_counts_that_differ_from_the_published_are_refused(copied, monkeypatch) -> None:
    path = copied / "heart.csv"
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join(lines[:1] + lines[2:]))
    monkeypatch.setattr(heart, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(DataError, match="302 rows with 139 positive, published are 303 with 139"):
        _ = heart.HeartTask().sites


def test_other_digits_are_refused(monkeypatch) -> None:
    monkeypatch.setattr(digits, "PER_DIGIT", (1,) * 10)
    with pytest.raises(DataError, match="published"):
        digits.DigitsTask().load(SiteRequest("site-01", 1))
