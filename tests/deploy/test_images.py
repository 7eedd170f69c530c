"""The images: nobody is root, nothing floats, no secret and no compiler goes in."""

import re
import tomllib

import pytest
from programs import DEPLOY, ROOT, program, run

TEXT = (DEPLOY / "docker" / "Dockerfile").read_text()


def instructions() -> list[tuple[str, str, str]]:
    """(stage, instruction, rest) of the Dockerfile, continuations joined."""
    joined = re.sub(r"\\\n", " ", re.sub(r"(?m)^#.*\n", "", TEXT))
    found, stage = [], ""
    for row in filter(None, map(str.strip, joined.splitlines())):
        name, _, rest = row.partition(" ")
        if name == "FROM":
            stage = rest.split(" AS ")[1]
        found.append((stage, name, rest))
    return found


def of(name: str, *stages: str) -> list[str]:
    return [rest for stage, one, rest in instructions() if one == name and stage in stages]


FINAL = ("runtime", "site", "coordinator")


def test_it_is_what_hadolint_finds_well() -> None:
    done = run(program("hadolint"), DEPLOY / "docker" / "Dockerfile")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("stage", ["site", "coordinator"])
def test_it_runs_as_a_user_with_a_fixed_number(stage: str) -> None:
    assert of("USER", "runtime") == ["10001:10000"]
    assert not of("USER", stage)
    assert of("FROM", stage) == [f"runtime AS {stage}"]


def test_the_base_is_pinned_and_can_be_pinned_by_digest() -> None:
    (argument,) = of("ARG", "")
    assert re.fullmatch(r"PYTHON_IMAGE=python:3\.11\.\d+-slim-bookworm", argument)
    assert of("FROM", "build", "runtime") == [
        "${PYTHON_IMAGE} AS build",
        "${PYTHON_IMAGE} AS runtime",
    ]


def test_no_tool_that_installs_or_compiles_is_in_the_final_stage() -> None:
    assert not [
        run_
        for run_ in of("RUN", *FINAL)
        if re.search(r"\b(pip|apt|apt-get|curl|wget|gcc)\b", run_)
    ]
    assert all("--without-pip" in run_ for run_ in of("RUN", "build") if "-m venv" in run_)
    installs = [
        part for run_ in of("RUN", "build") for part in run_.split("&&") if " install " in part
    ]
    into_image = [part for part in installs if "/opt/hedgerow" in part]
    assert len(into_image) == 2
    assert all(
        "--only-binary :all:" in part and "-c constraints.txt" in part for part in into_image
    )


def test_the_build_tool_is_the_pinned_one() -> None:
    pinned = re.findall(r"^hatchling==\S+", (DEPLOY / "tools.txt").read_text(), re.MULTILINE)
    assert pinned
    assert f"pip install {pinned[0]}" in TEXT


def test_every_folder_that_the_wheel_holds_is_copied_and_let_through() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    held = project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    copied = " ".join(of("COPY", "build")).split()
    allowed = (ROOT / ".dockerignore").read_text().split()
    assert [one for one in held if one not in copied or f"!{one}" not in allowed] == []


def test_only_what_is_named_goes_to_the_builder() -> None:
    rows = [
        row for row in (ROOT / ".dockerignore").read_text().splitlines() if not row.startswith("#")
    ]
    assert rows[0] == "*"
    assert {"**/*.key", "**/*.pem", "**/*.sqlite"} <= set(rows)
    assert not [row for row in rows if row.startswith("!") and not (ROOT / row[1:]).exists()]


def test_no_value_looks_like_a_secret() -> None:
    values = of("ENV", "build", *FINAL) + of("ARG", "", "build", *FINAL)
    assert not re.search(r"(?i)password|secret|token|private", " ".join(values))


@pytest.mark.parametrize("stage", ["site", "coordinator"])
def test_its_health_is_asked_of_the_product(stage: str) -> None:
    (check,) = of("HEALTHCHECK", stage)
    assert "hedgerow " in check
    assert "--timeout=" in check


def test_flower_calls_nobody() -> None:
    settings = " ".join(of("ENV", "runtime"))
    for name in (
        "TELEMETRY_ENABLED=0",
        "DISABLE_UPDATE_CHECK=1",
        "DISABLE_RUNTIME_DEPENDENCY_INSTALLATION=1",
    ):
        assert f"FLWR_{name}" in settings
