"""`hedgerow report` rewrites the page from the summary, whole or not at all."""

from pathlib import Path

import pytest
from sample_summary import hospitals

from evaluation.report.page import render
from federation.errors import IntegrityError, UsageError

# typer asks click for names that click deprecates; both are imported late, under this filter.
pytestmark = pytest.mark.filterwarnings("ignore:'click:DeprecationWarning")


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "summary.json").write_text(hospitals().model_dump_json(), encoding="utf-8")
    return folder


def call(*arguments: object):
    from typer.testing import CliRunner  # noqa: PLC0415 - see pytestmark

    from evaluation.cli import app  # noqa: PLC0415 - see pytestmark

    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_page_is_written_beside_the_summary(run_folder: Path) -> None:
    (run_folder / "report.html").write_text("old")
    outcome = call(run_folder)
    assert outcome.exit_code == 0
    assert outcome.output == f"wrote {run_folder / 'report.html'}\n"
    assert (run_folder / "report.html").read_bytes() == render(hospitals()).encode()


def test_out_writes_elsewhere_and_leaves_the_folder_alone(run_folder: Path, tmp_path: Path) -> None:
    assert call(run_folder, "--out", tmp_path / "page.html").exit_code == 0
    assert (tmp_path / "page.html").read_bytes() == render(hospitals()).encode()
    assert not (run_folder / "report.html").exists()


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b'{"schema_id": "hedgerow/summary/2"}',
        hospitals().model_dump_json().replace('"rounds_planned"', '"rounds_plannned"').encode(),
        b"\xff\xfe",
    ],
)
def test_a_damaged_summary_is_an_integrity_error_and_the_old_page_stays(
    run_folder: Path, damage: bytes
) -> None:
    (run_folder / "report.html").write_text("old")
    (run_folder / "summary.json").write_bytes(damage)
    outcome = call(run_folder)
    assert isinstance(outcome.exception, IntegrityError)
    assert "summary.json" in str(outcome.exception)
    assert "\n" not in str(outcome.exception)
    assert (run_folder / "report.html").read_text() == "old"


def test_a_folder_without_summary_is_a_usage_error(tmp_path: Path) -> None:
    outcome = call(tmp_path)
    assert isinstance(outcome.exception, UsageError)
    assert "has not ended yet" in str(outcome.exception)


def test_a_page_that_cannot_be_written_is_a_usage_error(run_folder: Path, tmp_path: Path) -> None:
    outcome = call(run_folder, "--out", tmp_path / "absent" / "page.html")
    assert isinstance(outcome.exception, UsageError)
    assert "choose --out" in str(outcome.exception)
