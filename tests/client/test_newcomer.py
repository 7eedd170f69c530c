"""What a site's commands say where they are typed in the wrong place."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from client import site_processes
from client.fleet import read_node_key
from client.site_cli import app
from client.site_home import SiteHome
from federation.child_processes import Child
from federation.errors import HedgerowError, IntegrityError, UsageError


def refused(*words: object) -> HedgerowError:
    told = CliRunner().invoke(app, [str(word) for word in words]).exception
    assert isinstance(told, HedgerowError)
    assert "\n" not in str(told)
    return told


@pytest.mark.parametrize(
    "command",
    [
        "up",
        "agent",
        "node",
        "status",
        "ledger",
        "log",
        "request",
        "rotate-keys",
        "approve-task heart",
    ],
)
def test_a_folder_that_is_no_sites_is_told_with_what_makes_one(
    tmp_path: Path, command: str
) -> None:
    name, *rest = command.split()
    told = refused(name, tmp_path / "nowhere", *rest)
    assert isinstance(told, UsageError)
    assert "hedgerow site init makes" in str(told) or name == "node"
    assert not (tmp_path / "nowhere").exists()


def home(folder: Path) -> SiteHome:
    folder.mkdir()
    policy = {"site": "a", "dataset": "rows", "public_rows": 100, "split_seed": 1,
              "epsilon_budget": 4.0, "delta": 0.001, "tasks": ["heart"]}  # fmt: skip
    lines = (f"{key} = {json.dumps(value)}" for key, value in policy.items())
    (folder / "site.toml").write_text("\n".join(lines))
    return SiteHome(folder)


def test_a_file_that_is_no_bundle_is_named(tmp_path: Path) -> None:
    place = home(tmp_path / "a")
    told = refused("approve", place.path, place.policy, "--yes")
    assert isinstance(told, IntegrityError)
    assert f"{place.policy}: it is no app bundle" in str(told)


def test_a_remedy_can_be_typed_where_a_path_has_spaces(tmp_path: Path) -> None:
    told = refused("up", home(tmp_path / "ward 3").path)
    assert f"hedgerow site join '{tmp_path / 'ward 3'}' PACKAGE" in str(told)


def test_a_process_that_ends_says_why_at_the_terminal(tmp_path: Path, monkeypatch) -> None:
    place = home(tmp_path / "a")
    (tmp_path / "a" / "log").mkdir()
    program = "import sys; print('hedgerow: the budget is gone'); sys.exit(2)"
    child = Child(
        name="agent", command=(sys.executable, "-c", program),
        log_path=place.log("agent").with_suffix(".out"), env={},
    )  # fmt: skip
    monkeypatch.setattr(site_processes, "site_children", lambda _: (child,))

    class Told(Exception):
        """Enough was heard."""

    def hear(name: str, event: str, details) -> None:
        if event == "ended":
            raise Told(details["said"])

    with pytest.raises(Told, match=r"^the budget is gone$"):
        site_processes.keep_up(place, hear)


def test_a_key_that_is_gone_is_told_with_what_to_do(tmp_path: Path) -> None:
    place = home(tmp_path / "a")
    assert "put back from its offline copy" in str(refused("ledger", place.path))
    with pytest.raises(UsageError, match="rotate-keys HOME --node-key-lost"):
        read_node_key(place.node_key)
