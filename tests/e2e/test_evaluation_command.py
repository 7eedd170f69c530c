"""`hedgerow evaluation` as a user types it: answers, exit codes, and one line for what is wrong."""

import gc
import json
import sys

import pytest
from federation_in_process import Federation

import hedgerow as hedgerow_command
from federation.evaluation_record import EvaluationFolder
from federation.evaluation_summary import read_evaluation
from federation.privacy_impact import PrivacyImpact


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a small run that is over."""
    federation = Federation(tmp_path_factory.mktemp("runs"), {"run": {"name": "test", "rounds": 2}})
    federation.play()
    federation.restart_agents()
    return federation.folder.path


@pytest.fixture
def command(capsys, monkeypatch):
    """Runs the command; returns exit code, output and errors."""

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["hedgerow", *map(str, words)])
        monkeypatch.setattr(hedgerow_command.signal, "signal", lambda *_: None)
        with pytest.raises(SystemExit) as ended:
            hedgerow_command.main()
        told = capsys.readouterr()
        gc.collect()  # an agent holds its home's lock until it is gone
        return int(ended.value.code or 0), told.out, told.err

    return call


def test_a_window_is_judged_kept_and_reported(run, command) -> None:
    code, out, _ = command("evaluation", "run", run)
    assert code == 0
    assert "recommendation" in out
    assert f"report: {run}/evaluation/evaluation.html" in out.replace("\n", "")
    folder = EvaluationFolder.of(read_folder(run))
    page = folder.report.read_text()
    assert "<script" not in page
    assert len(page) < 1_000_000
    summary = read_evaluation(run)
    lines = folder.alerts.read_text().splitlines()
    assert [json.loads(line)["sentence"] for line in lines] == [a.sentence for a in summary.alerts]
    state = f'hedgerow_evaluation_state{{run="{run.name}"}} {summary.exit_code}'
    assert state in folder.metrics.read_text()
    # Again: nothing is counted twice, and everything is made the same.
    before = sorted((folder.path / "stages").iterdir())
    code, again, _ = command("evaluation", "run", run, "--json")
    assert (code, json.loads(again)) == (0, summary.model_dump(mode="json"))
    assert sorted((folder.path / "stages").iterdir()) == before
    page_before = folder.report.read_bytes()
    assert command("evaluation", "report", run)[0] == 0
    assert folder.report.read_bytes() == page_before


def read_folder(run):
    from federation.run_folder import RunFolder  # noqa: PLC0415 - here alone

    return RunFolder(run)


def test_a_check_ends_as_monitors_expect(run, command) -> None:
    command("evaluation", "run", run)
    summary = read_evaluation(run)
    code, out, _ = command("evaluation", "check", run)
    assert code == summary.exit_code
    assert summary.alerts[0].sentence in out
    assert command("evaluation", "run", run, "--check")[0] == summary.exit_code


def test_no_answer_is_3_and_never_looks_like_one(tmp_path, run, command) -> None:
    code, _, err = command("evaluation", "check", tmp_path)
    assert (code, err.count("\n")) == (3, 1)
    assert "nothing was evaluated yet" in err
    code, _, err = command("evaluation", "run", run, "--window", "next year", "--check")
    assert code == 3
    assert "none of that name" in err


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("run", "{run}", "--window", "next year"), 2, "it has: reference, current"),
        (("run", "{run}", "--reference", "current"), 2, "frozen already"),
        (("run", "nowhere"), 2, "no run folder"),
        (("run", "{run}", "--webhook", "http://example.org"), 2, "expected https"),
        (("report", "nowhere"), 2, "no folder"),
        (("compare", "{run}", "nowhere"), 2, "no folder"),
        (("privacy-impact", "{run}", "--epsilon", "-1"), 2, "numbers > 0"),
    ],
)
def test_what_is_wrong_is_one_line(run, command, words, code, says) -> None:
    command("evaluation", "run", run)
    asked = [word.replace("{run}", str(run)) for word in words]
    ended, _, err = command("evaluation", *asked)
    assert (ended, says in err) == (code, True), err
    assert "Traceback" not in err


def test_two_runs_are_compared(run, command) -> None:
    code, out, _ = command("evaluation", "compare", run, run)
    assert code == 0
    assert "demographic parity difference, sex" in out
    code, out, _ = command("evaluation", "compare", run, run, "--json")
    assert all(one["better"] in ("same", "not known") for one in json.loads(out)["changes"])


@pytest.mark.slow
def test_what_privacy_costs_each_group_goes_onto_the_page(run, command) -> None:
    command("evaluation", "run", run)
    asked = ("privacy-impact", run, "--epsilon", "1", "--seed", "3", "--json")
    code, out, err = command("evaluation", *asked)
    assert code == 0
    assert "run 2 of 2: at epsilon 1, seed 3" in err
    found = PrivacyImpact.model_validate_json(out)
    assert [point.epsilon for point in found.points] == [None, 1.0]
    assert {group.attribute for group in found.points[0].groups} == {"sex", "age_group"}
    assert read_evaluation(run).privacy_impact == found
