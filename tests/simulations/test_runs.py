"""`hedgerow runs`: lists name what is wrong, and comparisons show what differs and nothing else."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from command_in_process import hedgerow
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import UsageError
from federation.run_folder import RunFolder
from simulations.run_comparison import RunFacts, differences, flat, run_facts
from simulations.run_listing import run_lines

FACTS = st.dictionaries(
    st.sampled_from(["a", "b", "c"]), st.one_of(st.booleans(), st.integers(0, 2), st.none())
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs that differ in epsilon, the second one named b."""
    folder = tmp_path_factory.mktemp("runs")
    common = ("--rounds", "1", "--set", "simulation.baselines=false", "--quiet")
    hedgerow(folder, "simulate", *common, "--set", "privacy.epsilon=1", "--set", "run.name=a")
    hedgerow(folder, "simulate", *common, "--set", "privacy.epsilon=2", "--set", "run.name=b")
    return folder


def runs(place: Path) -> list[Path]:
    return sorted((place / "runs").iterdir(), key=lambda one: one.name.split("-")[1])


def test_a_list_has_what_the_summaries_say(place: Path) -> None:
    lines = json.loads(hedgerow(place, "runs", "list", "--json"))
    assert [Path(one["path"]).name for one in lines] == [one.name for one in runs(place)][::-1]
    for line in lines:
        summary = RunFolder(place / line["path"]).read_summary()
        assert (line["status"], line["sites"], line["rounds"]) == ("completed", 4, 1)
        assert line["epsilon"] == max(
            one.epsilon_spent or 0.0 for one in summary.privacy.sites.values()
        )
        assert line["accuracy"] == summary.utility[-1].overall.accuracy.value
        assert line["damage"] == []


def test_what_is_damaged_or_no_run_is_named_and_the_rest_is_listed(
    place: Path, tmp_path: Path
) -> None:
    shutil.copytree(place / "runs", tmp_path / "runs")
    first, second = sorted((tmp_path / "runs").iterdir())
    (first / "summary.json").write_text("{}", encoding="utf-8")
    (second / "config.toml").write_text("[run", encoding="utf-8")
    (tmp_path / "runs" / "notes").mkdir()
    by_name = {Path(one.path).name: one for one in run_lines(tmp_path / "runs")}
    assert "summary.json" in by_name[first.name].damage[0]
    assert by_name[second.name].status == "damaged"
    assert "not valid TOML" in by_name[second.name].damage[0]
    assert by_name["notes"].status == "no run"
    said = hedgerow(tmp_path, "runs", "list")
    assert "notes: it holds no config.toml" in said


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    assert "holds no runs" in hedgerow(tmp_path, "runs", "list", ".", code=2)
    assert "no folder" in hedgerow(tmp_path, "runs", "list", code=2)
    assert "no run folder" in hedgerow(tmp_path, "runs", "show", ".", code=2)


def test_a_comparison_shows_what_differs_and_nothing_else(place: Path) -> None:
    found = json.loads(hedgerow(place, "runs", "compare", "--json", *map(str, runs(place))))
    by_name = {(one["part"], one["name"]): one for one in found["differences"]}
    settings = {name for part, name in by_name if part == "settings"}
    assert settings == {"run.name", "privacy.epsilon"}
    assert by_name["settings", "privacy.epsilon"]["values"] == [1.0, 2.0]
    assert by_name["settings", "privacy.epsilon"]["changes"] == [0.0, 1.0]
    spent = by_name["results", "epsilon"]
    assert spent["values"][1] > spent["values"][0]
    assert spent["changes"][1] == spent["values"][1] - spent["values"][0]
    assert ("results", "model sha256") in by_name
    assert not [name for part, name in by_name if part == "environment"]


def test_another_version_shows_in_a_comparison(place: Path) -> None:
    one = run_facts(runs(place)[0])
    other = replace(one, environment={**one.environment, "versions.torch": "0.1"})
    (found,) = differences([one, other])
    assert (found.part, found.name, found.values[1]) == ("environment", "versions.torch", "0.1")


def test_one_run_is_shown_with_all_its_settings(place: Path) -> None:
    facts = json.loads(hedgerow(place, "runs", "show", str(runs(place)[1].name), "--json"))
    assert facts["settings"]["privacy.epsilon"] == 2.0
    assert facts["environment"]["versions.hedgerow"]
    assert "privacy.epsilon" in hedgerow(place, "runs", "show", str(runs(place)[1]))


@given(FACTS, FACTS)
def test_a_difference_is_where_values_differ(
    ours: dict[str, bool | int | None], theirs: dict[str, bool | int | None]
) -> None:
    told = [RunFacts(str(place), one, {}, {}) for place, one in enumerate((ours, theirs))]
    found = {one.name for one in differences(told)}
    for name in {*ours, *theirs}:
        one, other = ours.get(name), theirs.get(name)
        assert (name in found) is not (one == other and type(one) is type(other))


def test_one_run_is_not_compared() -> None:
    with pytest.raises(UsageError, match="two runs at least"):
        differences([RunFacts("a", {}, {}, {})])


def test_a_table_is_flat_by_dotted_names() -> None:
    assert flat({"a": {"b": {"c": 1}}, "d": ["x", "y"], "e": None}) == {
        "a.b.c": 1, "d": '["x", "y"]', "e": None,
    }  # fmt: skip
