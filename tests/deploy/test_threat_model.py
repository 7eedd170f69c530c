"""The table of threats names code and tests that there are."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "threat-model.md").read_text()
ROWS = [
    [cell.strip() for cell in row.strip("|").split("|")]
    for row in TEXT.splitlines()
    if row.startswith("| ") and not row.startswith(("| threat", "|---"))
]


def named(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:50])
def test_a_threat_has_a_mechanism_code_and_tests_that_exist(row) -> None:
    threat, mechanism, code, tests = row
    assert threat
    assert mechanism
    assert named(code)
    assert named(tests)
    assert [path for path in named(code) if not (ROOT / path).exists()] == []
    for path in named(tests):
        assert path.startswith("tests/")
        tree = ast.parse((ROOT / path).read_text())
        functions = [one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef)]
        assert any(one.name.startswith("test_") for one in functions), path


def test_every_party_of_the_readme_is_in_it() -> None:
    readme = (ROOT / "README.md").read_text()
    section = readme.split("## Threat model")[1].split("\n## ")[0]
    parties = [row.split("|")[1].strip() for row in section.splitlines() if row.startswith("| ")][
        1:
    ]
    assert len(parties) >= 5
    threats = " ".join(row[0] for row in ROWS).lower()
    words = {
        "coordinator": "coordinator",
        "sites": "sites collude",
        "malicious sites": "malicious site",
        "app bundle": "app bundle",
        "reader of the model and the report": "reader of the model",
    }
    assert [party for party in parties if words[party] not in threats] == []
