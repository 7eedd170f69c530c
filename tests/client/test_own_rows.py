"""Agent and audit read the rows that the site's policy names, and none of the task's table."""

from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import save_file

from client.data_audit import AuditChoice, audit
from client.data_doctor import check_data, load_policys_task
from client.site_home import SiteHome
from federation.data_choice import parse_data_choice
from federation.errors import DataError
from federation.initial_model import initial_model
from federation.site_policy import SitePolicy
from federation.tabular import TabularTask
from federation.task import SiteRequest
from simulations.tasks.heart import HeartTask

pytestmark = pytest.mark.filterwarnings("ignore:'click:DeprecationWarning")


def home_with_rows(folder: Path) -> SiteHome:
    table = pd.read_csv("simulations/tasks/data/heart.csv", dtype=str)
    rows = table[table["site"] == "hungary"].drop(columns="site")
    folder.mkdir()
    rows.rename(columns={"age": "AGE"}).to_csv(folder / "rows.csv", index=False)
    policy = SitePolicy(
        site="hungary", dataset="rows/hungary", public_rows=206, tasks=("heart",), split_seed=1,
        epsilon_budget=4.0, delta=1e-3,
        data=parse_data_choice({"kind": "csv", "path": "rows.csv", "rename": {"age": "AGE"}}),
    )  # fmt: skip
    home = SiteHome(folder)
    policy.write(home.policy)
    return home


def test_the_policy_is_read_as_it_was_written(tmp_path: Path) -> None:
    home = home_with_rows(tmp_path / "hungary")
    policy = SitePolicy.read(home.policy)
    assert policy.data is not None
    assert policy.data.rename == {"age": "AGE"}


def test_the_audit_of_own_rows_is_that_of_the_same_rows_in_the_task(tmp_path: Path) -> None:
    home = home_with_rows(tmp_path / "hungary")
    model = tmp_path / "model.safetensors"
    save_file(initial_model(HeartTask(), 1).state_dict(), model)
    own = audit(home, AuditChoice(model=model, top=5))
    policy = SitePolicy.read(home.policy).model_copy(update={"data": None})
    policy.write(home.policy)
    built_in = audit(home, AuditChoice(model=model, top=5))
    assert own.checks == built_in.checks
    assert [row.margin for row in own.most_uncertain] == [
        row.margin for row in built_in.most_uncertain
    ]
    assert own.most_uncertain[0].number != built_in.most_uncertain[0].number  # of its own table


def test_a_task_without_a_table_says_where_rows_come_from() -> None:
    heart = HeartTask()
    task = TabularTask(
        None, label_column="disease", classes=("no", "yes"), features=heart.schema.features,
        sites=("a", "b"),
    )  # fmt: skip
    assert task.sites == ("a", "b")
    with pytest.raises(DataError, match=r"\[data\] in its site.toml"):
        task.load(SiteRequest("a", 1))


def test_the_doctor_holds_own_rows_against_the_schema(tmp_path: Path) -> None:
    home = home_with_rows(tmp_path / "hungary")
    policy = SitePolicy.read(home.policy)
    check = check_data(policy, "heart", load_policys_task, home.path)
    assert check.passed
    assert "train 206 rows" in check.finding
    rows = (home.path / "rows.csv").read_text().replace("Female", "geheim").replace("no\n", "\n")
    (home.path / "rows.csv").write_text(rows)
    check = check_data(policy, "heart", load_policys_task, home.path)
    assert not check.passed
    assert "hold no label out of no, yes" in check.finding
    assert "rows of sex hold a level that is not declared" in check.finding
    assert "geheim" not in check.finding
    (home.path / "rows.csv").unlink()
    check = check_data(policy, "heart", load_policys_task, home.path)
    assert not check.passed
    assert "no data file" in check.finding
