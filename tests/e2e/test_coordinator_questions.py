"""`hedgerow coordinator evaluate`, `cohorts`, `analytics`: over real agents, in this process."""

import json
import re
from pathlib import Path

import pytest
from federation_in_process import SMALL, Federation
from loopback_federation import SPLIT_SEED, LoopbackFederation, command
from superlink_in_process import SuperLinkInProcess

import hedgerow
from evaluation.report.page import render
from federation import config_file
from federation.analytics_config import read_analytics
from federation.errors import Interrupted, PrivacyRefusal, UsageError
from federation.evaluation_record import EvaluationFolder
from federation.evaluation_summary import read_evaluation
from federation.run_folder import RunFolder
from federation.task_loading import load_task
from server import coordinator_service
from server.evaluation_findings import write_findings
from server.window_evaluation import Asked
from simulations.analytics import prepare as prepare_simulated_queries
from simulations.analytics import run as answer_simulated_queries
from simulations.evaluation import evaluate

SITES = ("cleveland", "hungary", "va_long_beach")
SETTINGS = [
    "run.rounds=1",
    f"run.seed={SPLIT_SEED}",
    f"federation.sites={json.dumps(list(SITES))}",
]
QUERIES = """
seed = 7
[task]
name = "heart"
[[queries]]
name = "patients"
kind = "count"
epsilon = 0.5
[[queries]]
name = "age"
kind = "mean"
column = "age"
epsilon = 0.5
"""


class Deployed:
    """A federation, the stand-in for its SuperLink, and one run that was trained over it."""

    def __init__(self, folder: Path, settings: Path) -> None:
        self.federation = LoopbackFederation(folder, SITES)
        self.fed = self.federation.fed
        self.superlink = SuperLinkInProcess(self.federation.homes, SPLIT_SEED)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(coordinator_service, "superlink_control", self.superlink.control)
            command("coordinator", "run", self.fed, settings, "--quiet")
        self.run = RunFolder(self.federation.last_run)


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("settings") / "federation.toml"
    path.write_text(config_file.write_text(config_file.parse(SMALL, SETTINGS)))
    return path


@pytest.fixture(scope="module")
def deployed(tmp_path_factory, settings) -> Deployed:
    return Deployed(tmp_path_factory.mktemp("d"), settings)


@pytest.fixture(autouse=True)
def here(deployed, monkeypatch):
    """The commands of a test reach the stand-in."""
    monkeypatch.setattr(coordinator_service, "superlink_control", deployed.superlink.control)


def findings_of(run: RunFolder) -> dict:
    """The findings, without the run's name and the time, nor digests of what holds these."""
    summary = read_evaluation(run.path).model_dump(mode="json")
    text = json.dumps(summary).replace(run.id, "RUN")
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:+.Z]+", "TIME", text)
    text = re.sub(r'("(?:agreement|reference)_sha256": )"[0-9a-f]{64}"', r'\1"DIGEST"', text)
    return json.loads(text)


def test_windows_are_counted_as_in_the_simulation_bit_for_bit(deployed, tmp_path) -> None:
    federation = Federation(tmp_path, None, *SETTINGS)
    federation.play()
    federation.restart_agents()
    simulated = federation.folder
    assert simulated.model.read_bytes() == deployed.run.model.read_bytes()

    evaluate(simulated.path, Asked())
    command("coordinator", "evaluate", deployed.fed, deployed.run.id)

    ours, theirs = EvaluationFolder.of(deployed.run), EvaluationFolder.of(simulated)
    for mine, other in zip(ours.read_windows(), theirs.read_windows(), strict=True):
        assert (mine.window, mine.survivors, mine.sums) == (
            other.window,
            other.survivors,
            other.sums,
        )
    mine, other = ours.read_reference(), theirs.read_reference()
    assert (mine.grids, mine.record.sums) == (other.grids, other.record.sums)
    assert findings_of(deployed.run) == findings_of(simulated)


def test_what_was_counted_asks_no_site_again_and_other_commands_read_it(
    deployed, capsys, tmp_path
) -> None:
    command("coordinator", "evaluate", deployed.fed, deployed.run.id)
    before = len(deployed.superlink.submitted)
    summary = read_evaluation(deployed.run.path)
    capsys.readouterr()
    command("coordinator", "evaluate", deployed.fed, deployed.run.path, "--json")
    assert json.loads(capsys.readouterr().out) == summary.model_dump(mode="json")
    assert len(deployed.superlink.submitted) == before
    code = command_code("evaluation", "check", deployed.run.path)
    assert code == summary.exit_code
    command("evaluation", "report", deployed.run.path, "--out", tmp_path / "page.html")
    page = EvaluationFolder.of(deployed.run).report
    assert (tmp_path / "page.html").read_bytes() == page.read_bytes()
    command("evaluation", "compare", deployed.run.path, deployed.run.path)
    assert command_code("coordinator", "evaluate", deployed.fed, deployed.run.id, "--check") == code


def command_code(*words: object) -> int:
    code = hedgerow.command_line(str(words[0])).main(
        [str(word) for word in words], standalone_mode=False
    )
    return int(code or 0)


def test_a_window_that_no_site_has_is_refused_by_name(deployed) -> None:
    with pytest.raises(Exception, match=r"week-9.*expected one of reference, current") as refused:
        command("coordinator", "evaluate", deployed.fed, deployed.run.id, "--window", "week-9")
    assert refused.value.exit_code == PrivacyRefusal.exit_code
    assert not deployed.run.failure.exists()
    with pytest.raises(SystemExit) as unknown:
        command(
            "coordinator",
            "evaluate",
            deployed.fed,
            deployed.run.id,
            "--window",
            "week-9",
            "--check",
        )
    assert unknown.value.code == 3


def test_a_run_that_is_none_or_has_no_model_is_refused(deployed) -> None:
    with pytest.raises(UsageError, match=r"no config\.toml"):
        command("coordinator", "evaluate", deployed.fed, "nothing")
    bare = RunFolder(deployed.run.path.with_name("0-bare"))
    bare.path.mkdir()
    bare.config.write_bytes(deployed.run.config.read_bytes())
    with pytest.raises(UsageError, match="no model yet"):
        command("coordinator", "evaluate", deployed.fed, "0-bare")


def test_a_serverapp_that_dies_is_started_again_and_ctrl_c_says_how_to_go_on(deployed) -> None:
    deaths = iter([1])

    def die_once(_: object) -> None:
        if next(deaths, None):
            raise MemoryError
        raise KeyboardInterrupt

    deployed.superlink.before = die_once
    before = len(deployed.superlink.submitted)
    again = ("coordinator", "evaluate", deployed.fed, deployed.run.id, "--window", "another")
    try:
        with pytest.raises(Interrupted, match="the same command"):
            command(*again)
    finally:
        deployed.superlink.before = lambda _: None
    asked = deployed.superlink.submitted[before:]
    assert len(asked) == 2
    assert asked[0] == asked[1]
    assert json.loads(asked[0]["asked"]) == {"windows": ["another"], "reference": None}


def test_queries_are_refused_by_site_policy_and_answered_once_they_are_allowed(
    deployed, tmp_path, capsys
) -> None:
    queries = tmp_path / "queries.toml"
    queries.write_text(QUERIES)
    with pytest.raises(Exception, match=r"answers nothing about age.*analytics_columns") as refused:
        command("coordinator", "analytics", deployed.fed, queries)
    assert refused.value.exit_code == PrivacyRefusal.exit_code
    for site in SITES:
        deployed.federation.set_policy(site, analytics_columns=("age", "sex"))
    name = deployed.federation.last_run.name
    command("coordinator", "analytics", deployed.fed, "--resume", name, "--json")
    told = json.loads(capsys.readouterr().out.splitlines()[-1])

    config = read_analytics(queries)
    rules = config.federation.model_copy(update={"sites": SITES})
    folder = prepare_simulated_queries(
        config.model_copy(update={"federation": rules}), tmp_path / "simulated"
    )
    simulated = answer_simulated_queries(folder).model_dump(mode="json")
    assert told["answers"] == simulated["answers"]
    assert told["survivors"] == simulated["survivors"]
    before = len(deployed.superlink.submitted)
    command("coordinator", "analytics", deployed.fed, "--resume", name)
    assert len(deployed.superlink.submitted) == before


def test_exact_queries_are_refused_before_anybody_is_asked(deployed, tmp_path) -> None:
    queries = tmp_path / "queries.toml"
    queries.write_text('[[queries]]\nname = "patients"\nkind = "count"\n')
    before = sorted(deployed.run.path.parent.iterdir())
    with pytest.raises(PrivacyRefusal, match="allow_without_privacy = false"):
        command("coordinator", "analytics", deployed.fed, queries)
    strangers = '[federation]\nsites = ["zurich", "a", "b"]\n[task]'
    queries.write_text(QUERIES.replace("[task]", strangers))
    with pytest.raises(UsageError, match="zurich"):
        command("coordinator", "analytics", deployed.fed, queries)
    assert sorted(deployed.run.path.parent.iterdir()) == before


def test_commands_of_simulations_say_that_these_sites_are_real(deployed) -> None:
    path = deployed.run.path
    for words, remedy in (
        (("evaluation", "run", path), "coordinator evaluate"),
        (("evaluation", "cohorts", path, "--clusters", 2), "coordinator cohorts"),
        (("privacy", "report", path), "privacy report HOME/ledger.sqlite"),
    ):
        with pytest.raises(UsageError, match=remedy):
            command(*words)


def test_too_few_sites_for_cohorts_are_told_of_before_anybody_is_asked(deployed) -> None:
    command("coordinator", "evaluate", deployed.fed, deployed.run.id)
    before = len(deployed.superlink.submitted)
    with pytest.raises(UsageError, match="more sites are needed"):
        command("coordinator", "cohorts", deployed.fed, deployed.run.id, "--clusters", 2)
    assert len(deployed.superlink.submitted) == before


def test_a_site_reports_its_own_ledger_and_holds_it_against_the_runs_witness(
    deployed, tmp_path, capsys
) -> None:
    home, run = deployed.federation.homes["hungary"], deployed.run
    command("privacy", "report", home / "ledger.sqlite", "--out", tmp_path / "report")
    assert "hungary" in (tmp_path / "report" / "privacy-report.html").read_text()
    command("privacy", "verify", home / "ledger.sqlite",
            "--roster", home / "roster.json", "--witness", run.witness)  # fmt: skip
    told = capsys.readouterr().out
    assert "by other sites: cleveland, va_long_beach" in told
    command("privacy", "report", home / "ledger.sqlite", "--run", run.path,
            "--out", tmp_path / "with-run")  # fmt: skip
    assert run.id in (tmp_path / "with-run" / "privacy-report.json").read_text()


def test_the_report_of_a_deployed_run_speaks_of_no_simulation(deployed) -> None:
    summary = deployed.run.read_summary()
    assert summary.run.backend == "deployed"
    # Of these sites the test chose the noise by a seed; a real one has none to choose.
    real = summary.model_copy(
        update={"privacy": summary.privacy.model_copy(update={"noise_source": "operating system"})}
    )
    page = render(real).replace("The noise is seeded (simulation only)", "")  # when to watch
    assert not re.findall(r"[^.>]*simulat[^.<]*", page, re.IGNORECASE)
    assert "The noise came from the operating system" in page


def test_findings_are_made_of_sums_alone(deployed) -> None:
    command("coordinator", "evaluate", deployed.fed, deployed.run.id)
    config = config_file.read(deployed.run.config)
    before = read_evaluation(deployed.run.path)
    task = load_task(config.task.name, config.task.options)
    assert write_findings(deployed.run, config, task) == before
