"""A whole run in which every site has its own rows in another kind of source: the same model."""

import sqlite3

import pandas as pd
from federation_in_process import Federation

from client.site_home import SiteHome
from federation import tabular
from federation.data_choice import parse_data_choice
from federation.site_policy import SitePolicy
from simulations.tasks.heart import HeartTask

KINDS = {
    "cleveland": {"kind": "csv", "path": "rows.csv"},
    "hungary": {"kind": "parquet", "path": "rows.parquet"},
    "switzerland": {"kind": "sql", "url": "sqlite:///rows.db", "table": "rows", "order_by": ["n"]},
    "va_long_beach": {"kind": "csv", "path": "rows*.csv", "rename": {"sex": "SEX"},
                      "levels": {"sex": {"1": "Male", "0": "Female"}}},
}  # fmt: skip


def give_own_rows(home: SiteHome, rows: pd.DataFrame, choice: dict[str, object]) -> None:
    rows = rows.drop(columns="site").assign(n=range(len(rows)))
    if "rename" in choice:
        codes = rows["sex"].map({"Male": "1", "Female": "0"})
        rows = rows.assign(sex=codes).rename(columns={"sex": "SEX"})
    match choice["kind"]:
        case "csv":
            rows.to_csv(home.path / "rows.csv", index=False)
        case "parquet":
            rows.to_parquet(home.path / "rows.parquet")
        case "sql":
            connection = sqlite3.connect(home.path / "rows.db")
            rows.to_sql("rows", connection, index=False)
            connection.close()
    policy = SitePolicy.read(home.policy)
    policy.model_copy(update={"data": parse_data_choice(choice)}).write(home.policy)


def test_the_model_is_the_same_to_the_last_bit(tmp_path, monkeypatch) -> None:
    built_in, own = Federation(tmp_path / "a"), Federation(tmp_path / "b")
    table = HeartTask()._table
    for site, choice in KINDS.items():
        home = SiteHome(own.folder.site_home(site))
        give_own_rows(home, table[table["site"] == site], choice)
    built_in.play()
    theirs = built_in.model
    built_in.restart_agents()

    def no_table(*_: object) -> None:
        raise AssertionError("rows of the task's own table were read")

    monkeypatch.setattr(tabular, "FrameSource", no_table)
    own.play()
    assert own.model == theirs
