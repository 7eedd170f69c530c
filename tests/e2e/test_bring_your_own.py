"""The documented example of one's own task, as it stands in docs/, through a whole run."""

import sys
from pathlib import Path

import pytest
from federation_in_process import Federation

from federation import config_file
from simulations.sites import prepare

EXAMPLE = Path("docs/examples/bring_your_own")


@pytest.fixture
def federation(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    made = object.__new__(Federation)
    config = config_file.read(EXAMPLE / "federation.toml", ["simulation.baselines=false"])
    made.folder, made.progress = prepare(config, tmp_path, EXAMPLE), []
    return made


def test_the_example_is_under_sixty_lines() -> None:
    lines = sum(len((EXAMPLE / name).read_text().splitlines())
                for name in ("mytask.py", "federation.toml"))  # fmt: skip
    assert lines < 60


def test_the_guide_shows_the_files_as_they_are() -> None:
    guide = Path("docs/bring-your-own.md").read_text()
    for name in ("mytask.py", "federation.toml"):
        assert (EXAMPLE / name).read_text() in guide


def test_missing_values_an_unseen_ward_and_a_site_with_three_rows(federation) -> None:
    federation.play()
    summary = federation.folder.read_summary()
    assert summary.run.status == "completed"
    assert summary.privacy.sites["tiny-practice"].public_rows == 2
    assert summary.run.rounds_completed == 10
    creatinine = next(d for d in summary.drift if d.feature == "creatinine")
    ward = next(d for d in summary.drift if d.feature == "ward")
    assert creatinine.missing_reference > 0
    assert ward.outside_reference + ward.outside_current > 0
    groups = {group.group for group in summary.fairness[0].groups}
    assert {"F", "M", "under 65", "65 and over"} <= groups
