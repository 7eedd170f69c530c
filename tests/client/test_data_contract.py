"""The contract check counts what is wrong, in one pass, and shows no value of any row."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from client import data_contract
from client.data_contract import DataContract, check_source
from federation.data_source import FrameSource
from federation.schema import Categorical, Numeric, SensitiveAttribute
from federation.tabular import TabularTask
from federation.task import SiteRequest
from simulations.tasks.heart import HeartTask

SECRET = "geheim-4711"
TASK = TabularTask(
    None,
    label_column="y",
    classes=("no", "yes"),
    features=(Numeric("age", 20, 80), Categorical("ward", ("a", "b"))),
    attributes=(SensitiveAttribute("sex", ("F", "M")),
                SensitiveAttribute("old", ("yes", "no"))),
    derived={"old": lambda rows: pd.to_numeric(rows["age"]).ge(60).map({True: "yes", False: "no"})},
    derived_columns=(),
)  # fmt: skip


def table(n: int = 100) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": [str(i) for i in range(n)],
            "age": [str(20 + i % 60) for i in range(n)],
            "ward": ["a", "b"] * (n // 2),
            "sex": ["F", "M"] * (n // 2),
            "y": ["no", "yes"] * (n // 2),
        },
        dtype="str",
    )


def check(rows: pd.DataFrame, public_rows=70, key=("id",), task=TASK) -> DataContract:
    return check_source(FrameSource(rows, "rows"), task, public_rows, key)


def rules(found: DataContract) -> dict[tuple[str, str], tuple[str, int]]:
    return {(f.rule, f.column): (f.verdict, f.rows) for f in found.findings}


def test_a_good_table_has_no_findings_and_is_counted() -> None:
    found = check(table())
    assert (found.verdict, found.findings) == ("ok", ())
    assert (found.rows, found.training_rows) == (100, 70)
    assert found.classes == {"no": 50, "yes": 50}
    assert found.groups["sex"] == {"F": 50, "M": 50, "unknown": 0}
    assert sum(found.groups["old"].values()) == 100


@pytest.mark.parametrize("rows", [7, 65_536])
def test_all_that_is_wrong_is_counted_whatever_the_parts(rows: int, monkeypatch) -> None:
    monkeypatch.setattr(data_contract, "ROWS_PER_CHUNK", rows)
    wrong = table()
    wrong.loc[[3, 50], "age"] = SECRET
    wrong.loc[[4, 51, 60], "age"] = "999"
    wrong.loc[range(10, 20), "age"] = None
    wrong.loc[range(5), "ward"] = SECRET
    wrong.loc[[1, 99], "y"] = SECRET
    wrong.loc[[7], "y"] = None
    wrong.loc[[90, 91], "id"] = "3"
    found = check(wrong, public_rows=500, task=_without_derived())
    assert rules(found) == {
        ("type", "age"): ("act", 2),
        ("range", "age"): ("watch", 3),
        ("missing values", "age"): ("watch", 10),
        ("levels", "ward"): ("watch", 5),
        ("label", "y"): ("act", 3),
        ("repeated key", "id"): ("act", 2),
        ("public rows", ""): ("watch", 70),
    }
    assert SECRET not in repr(dataclasses.asdict(found))
    assert [f.verdict for f in found.findings] == sorted(f.verdict for f in found.findings)


def _without_derived() -> TabularTask:
    return TabularTask(
        None, label_column="y", classes=("no", "yes"),
        features=TASK.schema.features, attributes=TASK.schema.attributes[:1],
    )  # fmt: skip


def test_missing_columns_and_groups_that_cannot_be_derived() -> None:
    found = check(table().drop(columns=["ward", "sex"]))
    assert rules(found)["missing column", "ward"][0] == "act"
    assert rules(found)["missing column", "sex"][0] == "act"
    wrong = table()
    wrong.loc[3, "age"] = SECRET  # pandas' own text would show it
    found = check(wrong)
    assert rules(found)["groups", ""][0] == "act"
    assert SECRET not in repr(dataclasses.asdict(found))


def test_another_code_or_unit_stops_a_site() -> None:
    half = table().replace({"ward": {"a": "1"}})
    assert rules(check(half)) == {("levels", "ward"): ("act", 50)}
    assert rules(check(half.assign(ward=["a", "1", *["b"] * 98])))["levels", "ward"][0] == "watch"
    days = table().assign(age=["9999"] * 50 + ["30"] * 50)
    assert rules(check(days)) == {("range", "age"): ("act", 50)}


def test_public_rows_and_too_few_rows() -> None:
    assert rules(check(table(), public_rows=68)) == {("public rows", ""): ("watch", 70)}
    assert rules(check(table().iloc[:1], key=()))["rows", ""] == ("act", 1)


def test_training_rows_are_those_that_load_gives() -> None:
    task = HeartTask()
    rows = task._table[task._table["site"] == "hungary"]
    expected = len(task.load(SiteRequest("hungary", 1)).train)
    found = check_source(FrameSource(rows, "rows"), task, expected)
    assert found.training_rows == expected
    assert not any(f.rule == "public rows" for f in found.findings)
    assert found.rows == sum(found.groups["age_group"].values()) == np.int64(len(rows))
