"""Every table in docs/simulation-faults.md is a configuration that can be run as it stands."""

import re
import tomllib
from pathlib import Path

import pytest

from federation import config_file
from federation.fault_choice import CoordinatorKind
from federation.simulation_choice import Attack
from simulations.availability_trace import read_trace
from simulations.defaults import default_config
from simulations.sites import prepare
from simulations.tasks.heart import HeartTask

GUIDE = Path("docs/simulation-faults.md").read_text()
TABLES = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)


def test_the_guide_has_tables() -> None:
    assert len(TABLES) == 7


@pytest.mark.parametrize("text", TABLES, ids=[text.split("\n", 1)[0] for text in TABLES])
def test_a_table_of_the_guide_prepares_a_run_of_the_default_federation(text, tmp_path) -> None:
    usual = default_config("heart").model_dump(mode="json", exclude_unset=True)
    table = tomllib.loads(text)
    for section, values in table.items():
        usual[section] = {**usual.get(section, {}), **values}
    config = config_file.parse(usual)
    assert prepare(config, tmp_path).config.is_file()


def test_the_trace_of_the_guide_is_one(tmp_path: Path) -> None:
    (text,) = re.findall(r"```csv\n(.*?)```", GUIDE, re.DOTALL)
    (tmp_path / "online.csv").write_text(text)
    trace = read_trace(tmp_path / "online.csv", HeartTask().sites)
    assert trace.online["hungary"] == ((1, 8), (12, 20))


def test_the_guide_names_every_attack_and_every_lie() -> None:
    kinds = Attack.model_json_schema()["properties"]["kind"]["enum"]
    for name in (*kinds, *CoordinatorKind.__args__):
        assert name == "honest" or f"| `{name}` |" in GUIDE, name
