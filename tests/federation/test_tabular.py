"""One table as a task: nothing leaks, nothing is lost, and wrong data is one clear error."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import ConfigError, DataError
from federation.schema import Categorical, Numeric, SensitiveAttribute
from federation.table_columns import encode_inputs, feature_values, input_width
from federation.tabular import TabularTask
from federation.task import SiteRequest, Task

FEATURES = (Numeric("age", 20, 80), Categorical("ward", ("a", "b")))


def table(n: int = 40, site: str = "ulm") -> pd.DataFrame:
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "clinic": [site] * n,
            "age": [str(a) for a in rng.integers(20, 80, n)],
            "ward": rng.choice(["a", "b"], n),
            "sex": rng.choice(["F", "M"], n),
            "y": ["yes" if i % 4 == 0 else "no" for i in range(n)],
            "year": ["2020" if i < n // 2 else "2021" for i in range(n)],
        }
    ).astype("str")


def task(source, **changes) -> TabularTask:
    settings = {
        "site_column": "clinic",
        "label_column": "y",
        "classes": ("no", "yes"),
        "features": FEATURES,
        "attributes": (SensitiveAttribute("sex", ("F", "M")),),
    }
    return TabularTask(source, **(settings | changes))


def load(frame: pd.DataFrame, site: str = "ulm", seed: int = 1, **changes):
    return task(lambda: frame, **changes).load(SiteRequest(site, seed))


def test_it_is_a_task() -> None:
    assert isinstance(task(table), Task)
    assert task(table).sites == ("ulm",)


@given(st.integers(2, 60), st.integers(0, 5))
def test_every_row_stands_in_exactly_one_place(n: int, seed: int) -> None:
    frame = table(n).assign(age=[str(20 + i * 0.5) for i in range(n)])
    data = load(frame, seed=seed)
    ages = np.concatenate([p.features["age"] for p in (data.train, data.reference, data.current)])
    assert sorted(ages) == sorted(20 + i * 0.5 for i in range(n))
    assert len(data.train) >= 1
    assert len(data.reference) + len(data.current) >= 1


def test_three_rows_are_enough_and_one_is_not() -> None:
    data = load(table(3))
    assert (len(data.train), len(data.reference) + len(data.current)) == (2, 1)
    with pytest.raises(DataError, match="has 1 row; it takes at least 2"):
        load(table(1))


def test_the_split_is_stratified_and_depends_on_seed_and_site_alone() -> None:
    data = load(table(400))
    held_out = np.concatenate([data.reference.targets, data.current.targets])
    assert held_out.mean() == pytest.approx(0.25, abs=0.02)
    again = load(pd.concat([table(400), table(50, "bonn")]))
    np.testing.assert_array_equal(data.train.inputs, again.train.inputs)
    assert not np.array_equal(data.train.inputs, load(table(400), seed=2).train.inputs)


def test_changing_held_out_rows_moves_no_training_input() -> None:
    frame = table(40)
    data = load(frame)
    kept = set(data.train.features["age"])
    changed = frame.copy()
    held_out = [i for i, age in enumerate(frame["age"]) if float(age) not in kept]
    assert held_out
    changed.loc[held_out, "age"] = "79"
    np.testing.assert_array_equal(load(changed).train.inputs, data.train.inputs)


@given(st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(float("nan"))), min_size=1, max_size=20))
def test_a_rows_encoding_depends_on_no_other_row(ages: list[float]) -> None:
    values = {"age": np.array(ages), "ward": np.zeros(len(ages))}
    together = encode_inputs(values, FEATURES)
    alone = [encode_inputs({k: v[i : i + 1] for k, v in values.items()}, FEATURES)[0]
             for i in range(len(ages))]  # fmt: skip
    np.testing.assert_array_equal(together, np.array(alone))
    assert together.shape == (len(ages), input_width(FEATURES))
    assert np.all(np.abs(together) <= 1)


def test_encoding_is_what_the_schema_says() -> None:
    values = {
        "age": np.array([20, 50, 80, 200, np.nan]),
        "ward": np.array([0, 1, 2, np.nan, 0.0]),
    }
    expected = [
        [-1, 0, 1, 0, 0, 0],
        [0, 0, 0, 1, 0, 0],
        [1, 0, 0, 0, 1, 0],
        [1, 0, 0, 0, 0, 1],
        [0, 1, 1, 0, 0, 0],
    ]
    np.testing.assert_array_equal(encode_inputs(values, FEATURES), expected)


def test_missing_and_unseen_values_are_counted_and_kept() -> None:
    frame = pd.DataFrame({"age": ["30", None, "999"], "ward": ["a", "geriatrics", None]})
    np.testing.assert_array_equal(feature_values(frame, FEATURES[0], "t"), [30, np.nan, 999])
    np.testing.assert_array_equal(feature_values(frame, FEATURES[1], "t"), [0, 2, np.nan])


def test_an_unknown_group_is_a_group() -> None:
    frame = table(30)
    frame.loc[:, "sex"] = ["F", "M", None] * 10
    groups = load(frame).train.groups["sex"]
    assert set(groups) == {0, 1, 2}


def test_a_derived_attribute_and_hidden_layers() -> None:
    old = SensitiveAttribute("old", ("yes", "no"))
    derive = {"old": lambda t: pd.to_numeric(t["age"]).ge(50).map({True: "yes", False: "no"})}
    made = task(table, attributes=(old,), derived=derive, hidden=(5,))
    data = made.load(SiteRequest("ulm", 1))
    np.testing.assert_array_equal(data.train.groups["old"] == 0, data.train.features["age"] >= 50)
    model = made.build_model()
    assert [tuple(p.shape) for p in model.parameters()] == [(5, 6), (5,), (2, 5), (2,)]
    probabilities = made.probabilities(model(data.train.inputs))
    np.testing.assert_allclose(probabilities.sum(1).detach(), 1)
    assert made.loss(model(data.train.inputs), data.train.targets).shape == (len(data.train),)


def test_the_latest_window_is_never_trained_on() -> None:
    data = load(table(40), window_column="year", current_windows=("2021",))
    assert (len(data.train), len(data.reference), len(data.current)) == (14, 6, 20)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"held_out_fraction": 0.0}, "held_out_fraction"),
        ({"held_out_fraction": 1.0}, "held_out_fraction"),
        ({"window_column": "year"}, "current_windows"),
        ({"current_windows": ("2021",)}, "current_windows"),
        ({"classes": ("yes",)}, "two classes"),
        ({"features": ()}, "at least one feature"),
        ({"hidden": (0,)}, "whole numbers > 0"),
        ({"hidden": (True,)}, "whole numbers > 0"),
        ({"hidden": 16}, "whole numbers > 0"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes: dict, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        task(table, **changes)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (
            lambda t: t.assign(y=None),
            "40 of 40 rows (first: data row 1) hold no label out of no, yes",
        ),
        (lambda t: t.assign(y="maybe"), "40 of 40 rows (first: data row 1) hold no label"),
        (lambda t: t.drop(columns="age"), "no column age; it has clinic, ward"),
        (lambda t: t.drop(columns="sex"), "no column sex"),
        (lambda t: t.drop(columns="clinic"), "no column clinic"),
        (
            lambda t: t.assign(age="secret-value"),
            "column age: 40 of 40 rows (first: data row 1) hold no number",
        ),
        (
            lambda t: t.assign(age=["20", "x", None, *["3"] * 37]),
            "1 of 40 rows (first: data row 2)",
        ),
        (
            lambda t: t.assign(age="inf"),
            "column age: 40 of 40 rows (first: data row 1) hold no number",
        ),
        (lambda t: t.assign(clinic=[None, *["ulm"] * 39]), "1 of 40 rows name no site"),
        (lambda t: t.assign(clinic=["Ulm", "ulm"] * 20), "Ulm and ulm are one name"),
        (lambda t: t.assign(clinic="病院"), "'病院' has no letter of a to z"),
    ],
)
def test_wrong_data_is_one_error_that_tells_no_value(spoil, says: str) -> None:
    def read_all() -> None:
        made = task(lambda: spoil(table()))
        made.load(SiteRequest(made.sites[0], 1))

    with pytest.raises(DataError) as caught:
        read_all()
    assert says in str(caught.value)
    assert "secret-value" not in str(caught.value)


@pytest.mark.parametrize(
    ("derive", "says"),
    [
        (lambda t: t["agee"], "deriving old failed with KeyError"),
        (lambda t: ["old"], "deriving old gave 1 values for 40 rows"),
        (lambda t: None, "deriving old gave 0 values"),
    ],
)
def test_an_attribute_that_cannot_be_derived_is_named(derive, says: str) -> None:
    attributes = (SensitiveAttribute("old", ("young", "old")),)
    with pytest.raises(DataError, match=says):
        load(table(40), attributes=attributes, derived={"old": derive})


def test_a_site_without_a_row_to_train_on_is_named() -> None:
    with pytest.raises(DataError, match="ulm has no row to train on"):
        load(table(40), window_column="year", current_windows=("2020", "2021"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot read the data file"),
        (b"", "is no CSV table"),
        (b"clinic,age\n", "a header and no rows"),
        (b"clinic,age,age\nulm,1,2\n", "the column age stands there twice"),
        (b"\xff\xfe\x00\x01\n1\n", "save it as UTF-8"),
        (b"clinic;age\nulm;2\n", "separate columns by commas"),
        (b"a,b\n1,2,3,4\n1\n", "no column|is no CSV table"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, content, says: str) -> None:
    path = tmp_path / "patients.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=says) as caught:
        _ = task(path).sites
    assert str(path) in str(caught.value)


def test_site_names_become_names_a_configuration_can_use() -> None:
    frame = pd.concat([table(5, name) for name in ("St. Mary's (North)", " Ulm ", "Köln")])
    assert task(lambda: frame).sites == ("koln", "st-mary-s-north", "ulm")
