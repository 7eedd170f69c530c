"""The fault table names tests that exist, and calls slow what is slow."""

import ast
import re
from pathlib import Path

import pytest

TABLE = Path("docs/operating/faults-coordinator.md")
NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`( \(slow\))?")


def named() -> list[tuple[str, str, bool]]:
    return [(file, test, bool(slow)) for file, test, slow in NAMED.findall(TABLE.read_text())]


def test_the_table_names_tests() -> None:
    assert len(named()) > 20


@pytest.mark.parametrize(("file", "test", "slow"), named())
def test_a_named_test_exists_and_is_as_slow_as_it_says(file: str, test: str, slow: bool) -> None:
    source = Path(file).read_text()
    assert Path(file).is_file()
    if not test:
        return
    (function,) = [
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef) and node.name == test
    ]
    own = any("mark.slow" in ast.unparse(decorator) for decorator in function.decorator_list)
    whole = re.search(r"^pytestmark = .*mark\.slow", source, re.MULTILINE) is not None
    assert (own or whole) == slow
