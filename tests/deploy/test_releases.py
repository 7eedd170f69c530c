"""A release: every dependency listed, an audit that does not lie, the same bytes."""

import hashlib
import importlib.util
import json
import os
import shutil

import pytest
from programs import DEPLOY, ROOT, program, run

SPEC = importlib.util.spec_from_file_location(
    "audit_dependencies", DEPLOY / "audit_dependencies.py"
)
assert SPEC is not None
assert SPEC.loader is not None
audit = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(audit)

NAMES = {"numpy", "dp-accounting"}


def report(**packages):
    """A report of pip-audit: of each package its vulnerabilities, or None if it was skipped."""
    return {
        "dependencies": [
            {"name": name.replace("_", "-"), "skip_reason": "not found"}
            if found is None
            else {
                "name": name, "version": "1.0",
                "vulns": [{"id": one, "fix_versions": ["2.0"]} for one in found],
            }
            for name, found in packages.items()
        ]
    }  # fmt: skip


def test_the_sbom_lists_every_line_of_the_constraints(tmp_path) -> None:
    made = tmp_path / "sbom.json"
    done = run(
        program("cyclonedx-py"), "requirements", "--spec-version", "1.6", "--output-reproducible",
        "--no-validate",  # `make sbom` validates: seconds
        "--pyproject", ROOT / "pyproject.toml", "--output-file", made, ROOT / "constraints.txt",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    bom = json.loads(made.read_text())
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    assert bom["metadata"]["component"]["name"] == "hedgerow"
    listed = {f"{one['name']}=={one['version']}" for one in bom["components"]}
    assert listed == set((ROOT / "constraints.txt").read_text().split())
    assert all(one["purl"].startswith("pkg:pypi/") for one in bom["components"])


def test_make_sbom_is_that_command() -> None:
    done = run("make", "--dry-run", "--always-make", "sbom", cwd=ROOT)
    assert "cyclonedx-py requirements --spec-version 1.6 --output-reproducible" in done.stdout
    assert "dist/sbom.cdx.json constraints.txt" in done.stdout


def test_every_dependency_is_pinned() -> None:
    rows = (ROOT / "constraints.txt").read_text().split()
    assert len(audit.locked(ROOT / "constraints.txt")) == len(rows)


@pytest.mark.parametrize(
    ("reports", "required", "code", "says"),
    [
        ([report(numpy=[], dp_accounting=[])], False, 0, "audited 2 packages: 0 findings"),
        ([report(numpy=["CVE-1"], dp_accounting=[])], False, 1, "VULNERABLE numpy 1.0: CVE-1"),
        # pip-audit itself ends with 0 here.
        ([report(numpy=None, dp_accounting=None)], False, 0, "NOT AUDITED: no source"),
        ([None, None], False, 0, "NOT AUDITED: no source"),
        ([None, None], True, 2, "NOT AUDITED: no source"),
        ([report(numpy=[], dp_accounting=None)], False, 1, "NOT AUDITED: 1 of 2: dp-accounting"),
        ([report(numpy=["CVE-1"], dp_accounting=None)], False, 1, "VULNERABLE"),
        (
            [report(numpy=[], dp_accounting=None), report(numpy=[], dp_accounting=[])],
            True,
            0,
            "audited 2",
        ),
    ],
)
def test_silence_is_not_taken_for_health(reports, required, code, says, capsys) -> None:
    assert audit.conclude(reports, NAMES, required=required) == code
    assert says in capsys.readouterr().out


@pytest.mark.slow
def test_the_same_tree_makes_the_same_wheel(tmp_path) -> None:
    program("hadolint")  # .tools is there, and with it the pinned build tool
    digests = []
    for name in ("first", "second"):
        tree = tmp_path / name / "hedgerow"
        shutil.copytree(
            ROOT,
            tree,
            ignore=shutil.ignore_patterns(".*", "runs", "dist", "__pycache__", "tests", "docs"),
        )
        for path in tree.rglob("*.py"):  # other times and masks must not show
            os.utime(path, (1_000_000_000 + len(name), 1_000_000_000))
            path.chmod(0o600 if name == "first" else 0o644)
        done = run(
            ROOT / ".tools" / "bin" / "pip", "wheel", "--quiet",
            "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path / name / "dist", tree,
            env=os.environ | {"SOURCE_DATE_EPOCH": "1700000000"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        (wheel,) = (tmp_path / name / "dist").glob("*.whl")
        digests.append(hashlib.sha256(wheel.read_bytes()).hexdigest())
    assert digests[0] == digests[1]
