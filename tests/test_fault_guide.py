"""Every test that the tables of faults name is there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GUIDES = sorted((ROOT / "docs" / "operating").glob("faults*.md"))
NAMED = re.compile(r"`(tests/[a-z0-9_/]+\.py)(?:::([a-z0-9_]+))?`")


def named_tests() -> list[tuple[str, str, str]]:
    return [
        (guide.name, path, name)
        for guide in GUIDES
        for path, name in NAMED.findall(guide.read_text())
    ]


def test_the_guide_names_tests() -> None:
    assert len(named_tests()) > 25


@pytest.mark.parametrize(("guide", "path", "name"), named_tests())
def test_a_test_that_a_guide_names_is_there(guide: str, path: str, name: str) -> None:
    tree = ast.parse((ROOT / path).read_text())
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert not name or name in functions, f"{guide} names {path}::{name}"


def test_every_row_of_the_tables_of_site_faults_names_a_test() -> None:
    rows = [
        line
        for line in (ROOT / "docs/operating/faults.md").read_text().splitlines()
        if line.startswith("| ") and not line.startswith("| fault |")
    ]
    for row in rows:
        assert NAMED.search(row) or "the same test" in row or "as above" in row, row
