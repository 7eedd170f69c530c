"""The command as a user meets it: real processes, real signals, every error read aloud."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
from interruptible_process import started

import hedgerow as hedgerow_command
from federation import config_file
from federation.durable_file import write_atomically
from federation.summary import Summary
from simulations.check_summary import missing
from simulations.defaults import BUILT_IN

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
COMMAND = [sys.executable, "-m", "hedgerow"]


def hedgerow(*arguments: str, cwd: Path, check: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        env=ENVIRONMENT | {"PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == check, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done


def only_run(folder: Path) -> Path:
    (run,) = (folder / "runs").iterdir()
    return run


def start(*arguments: str, cwd: Path) -> "subprocess.Popen[str]":
    words = "-m", "hedgerow", "simulate", "--set", "simulation.baselines=false", *arguments
    return started(cwd, *words, both_ways_out=True)


def wait_for_round(cwd: Path, process: subprocess.Popen[str], number: int) -> None:
    """Return when the run has recorded a round; a process that ends before is a failure."""
    while process.poll() is None:
        for rounds in cwd.glob("runs/*/rounds.jsonl"):
            if rounds.read_text().count('"event": "round"') >= number:
                return
        try:
            process.wait(timeout=0.02)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError(process.stdout.read())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    done = hedgerow("simulate", "--rounds", "4", "--workers", "2", cwd=folder)
    return folder, done


def test_every_site_witnessed_every_others_ledger(finished) -> None:
    folder, _ = finished
    kept = json.loads((only_run(folder) / "witness.json").read_bytes())["statements"]
    sites = {"cleveland", "hungary", "switzerland", "va_long_beach"}
    assert {(one["signer"], one["head"]["site"]) for one in kept} == set(product(sites, sites))
    # A budget, a plan, and a reservation and a commitment for each of four rounds.
    assert {one["head"]["seq"] for one in kept} == {10}


def test_it_ends_with_a_table_and_the_path_of_the_report(finished) -> None:
    folder, done = finished
    report = only_run(folder) / "report.html"
    assert done.stdout.rstrip().endswith(f"report: {report.relative_to(folder)}")
    assert report.read_text().lower().startswith("<!doctype html>")
    for words in ("majority class", "alone: cleveland", "centralized", "federated", "epsilon"):
        assert words in done.stdout
    names = {path.name for path in only_run(folder).iterdir()}
    assert names >= {
        "config.toml", "environment.json", "rounds.jsonl", "model.safetensors", "summary.json",
        "report.html", "ledgers", "checkpoints", "sites",
    }  # fmt: skip


def test_the_smoke_check_finds_the_summary_complete(finished) -> None:
    folder, _ = finished
    summary = only_run(folder) / "summary.json"
    assert missing(Summary.model_validate_json(summary.read_bytes())) == []


@pytest.mark.slow
def test_one_worker_gives_the_same_model_bit_for_bit(finished, tmp_path) -> None:
    hedgerow(
        "simulate", "--rounds", "4", "--workers", "1", "--quiet",
        "--set", "simulation.baselines=false", cwd=tmp_path,
    )  # fmt: skip
    ours, theirs = (
        (only_run(folder) / "model.safetensors").read_bytes() for folder in (tmp_path, finished[0])
    )
    assert ours == theirs


@pytest.mark.parametrize(
    "sign",
    [
        pytest.param(signal.SIGKILL, id="kill -9"),
        pytest.param(signal.SIGINT, id="Ctrl-C", marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_run_is_not_started_twice_and_resumes_to_the_same_model(
    finished, tmp_path, sign
) -> None:
    process = start("--rounds", "4", cwd=tmp_path)
    wait_for_round(tmp_path, process, 2)
    run = only_run(tmp_path)
    os.killpg(process.pid, signal.SIGSTOP)
    twice = hedgerow("simulate", "--resume", str(run), cwd=tmp_path, check=2)
    assert "in use by another process" in twice.stderr
    os.killpg(process.pid, sign)
    os.killpg(process.pid, signal.SIGCONT)
    said = process.communicate(timeout=60)[0]
    if sign is signal.SIGINT:
        assert process.returncode == 130, said
        assert "--resume" in said
        assert "Traceback" not in said
    hedgerow("simulate", "--resume", str(run), "--workers", "1", "--quiet", cwd=tmp_path)
    assert (run / "model.safetensors").read_bytes() == (
        only_run(finished[0]) / "model.safetensors"
    ).read_bytes()
    summary = json.loads((run / "summary.json").read_text())
    assert summary["run"]["resumed"] == 1
    for account in summary["privacy"]["sites"].values():
        assert account["reserved"] == account["committed"] == 4


def test_json_prints_the_summary_and_nothing_else(finished, in_process) -> None:
    run = only_run(finished[0])
    code, printed, _ = in_process("simulate", "--resume", str(run), "--json")
    assert code == 0
    summary = json.loads(printed)
    assert summary["schema_id"] == "hedgerow/summary/1"
    assert summary == json.loads((run / "summary.json").read_text())
    assert summary["run"]["resumed"] == 0


def test_a_reader_that_leaves_early_is_no_error(finished) -> None:
    with subprocess.Popen(
        [*COMMAND, "simulate", "--resume", str(only_run(finished[0])), "--json"],
        env=ENVIRONMENT | {"PYTHONPATH": str(Path.cwd())},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait(timeout=120) == 0, said
    assert not {"Traceback", "BrokenPipe", "bug"} & set(said.replace(":", " ").split())


@pytest.fixture
def in_process(tmp_path, monkeypatch, capsys):
    """The same entry point without a process of its own; returns code, output and errors."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["hedgerow", *arguments])
        monkeypatch.setenv("COLUMNS", "300")
        with pytest.raises(SystemExit) as ended:
            hedgerow_command.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, " ".join(said.err.split())

    return call


@pytest.mark.parametrize("task", [*BUILT_IN, "mytask:task"])
def test_init_writes_a_commented_example_that_is_read_back(in_process, tmp_path, task) -> None:
    assert in_process("init", "--task", task)[0] == 0
    path = tmp_path / "federation.toml"
    assert config_file.read(path).task.name == task
    assert path.read_text().count("#") > 15
    code, _, error = in_process("init", "--task", task)
    assert (code, "--force" in error) == (2, True)
    assert in_process("init", "--force")[0] == 0


def test_version_and_help(in_process) -> None:
    assert in_process("--version")[1].startswith("hedgerow 0.")
    assert "Exit codes" in in_process("simulate", "--help")[1]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["simulate", "nowhere.toml"], 2, "cannot read nowhere.toml"),
        (["simulate", "--set", "run.round=3"], 2, "did you mean run.rounds?"),
        (["simulate", "--set", "rounds"], 2, "section.key=value"),
        (["simulate", "--rounds", "0"], 2, "run.rounds = 0"),
        (["simulate", "--rounds", "many"], 2, "--rounds"),
        (["simulate", "--seed", "-1"], 2, "run.seed = -1"),
        (["simulate", "--workers", "0"], 2, "simulation.workers = 0"),
        (["simulate", "--task", "hart"], 2, "did you mean heart?"),
        (["simulate", "--set", "task.name=hart"], 2, "did you mean heart?"),
        (["simulate", "--set", "task.options.hiden=[3]"], 2, "task.options"),
        (["simulate", "--set", 'federation.sites=["a","b","c"]'], 2, "the task has data for"),
        (["simulate", "--set", "privacy.epsilon=-1"], 2, "privacy.epsilon = -1"),
        (
            ["simulate", "--set", "privacy.epsilon=1e-7", "--set", "privacy.delta=1e-12"],
            4,
            "no noise multiplier",
        ),
        (["simulate", "--set", "privacy.delta=0.5"], 4, "at most 1 / "),
        (["simulate", "--set", "privacy.noise_multiplier=1"], 2, "site_policy.epsilon_budget"),
        (["simulate", "--set", 'evaluation.intersections=[["sex","hair"]]'], 2, "it has: sex"),
        (["simulate", "--out", "/proc/nowhere"], 2, "choose --out"),
        (["simulate", "--resume", "nowhere"], 2, "is no run folder"),
        (["simulate", "x.toml", "--resume", "y"], 2, "not both"),
        (["simulate", "x.toml", "--task", "heart"], 2, "leave it out"),
        (["simulate", "--frobnicate"], 2, "No such option"),
        (["frobnicate"], 2, "No such command"),
        (["init", "/nowhere/at/all.toml"], 2, "cannot write"),
        (["init", "--task", "hart"], 2, "did you mean heart?"),
        (["report", "nowhere"], 2, "summary.json"),
    ],
)
def test_wrong_input_is_one_clear_error(in_process, arguments, code: int, says: str) -> None:
    ended, _, error = in_process(*arguments)
    assert (ended, says in error) == (code, True), error
    assert "Traceback" not in error


MIXING = """
from torch import nn
from simulations.tasks.heart import HeartTask

class Centred(nn.Module):
    def forward(self, x):
        return x - x.mean(0)

class Mixing(HeartTask):
    def build_model(self):
        return nn.Sequential(Centred(), super().build_model())

class Normed(HeartTask):
    def build_model(self):
        return nn.Sequential(nn.BatchNorm1d(45), super().build_model())

class Frozen(HeartTask):
    def build_model(self):
        first = nn.Linear(45, 8)
        return nn.Sequential(first.requires_grad_(False), nn.Tanh(), nn.Linear(8, 2))
"""


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--set", "task.name=unfit:Mixing"], 4, "exchanging one record"),
        (["--set", "task.name=unfit:Normed"], 2, "keeps running statistics"),
        (["--set", "task.name=unfit:Normed", "--set", "privacy.mode=off"], 2, "running statistics"),
        (["--set", "privacy.noise_multiplier=1"], 2, "site_policy.epsilon_budget"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_made(
    in_process, tmp_path, arguments, code: int, says: str
) -> None:
    (tmp_path / "unfit.py").write_text(MIXING)
    ended, _, error = in_process("simulate", *arguments)
    assert (ended, says in error) == (code, True), error
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_frozen_parts_are_the_same_at_every_site_and_in_every_worker(tmp_path) -> None:
    (tmp_path / "unfit.py").write_text(MIXING)
    models = []
    for workers in ("1", "3"):
        hedgerow(
            "simulate", "--set", "task.name=unfit:Frozen", "--rounds", "2", "--workers", workers,
            "--out", workers, "--quiet", "--set", "simulation.baselines=false", cwd=tmp_path,
        )  # fmt: skip
        (run,) = (tmp_path / workers).iterdir()
        models.append((run / "model.safetensors").read_bytes())
    assert models[0] == models[1]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run that stopped at its third round and can be resumed."""
    folder = tmp_path_factory.mktemp("stopped")
    dropouts = '[{site="cleveland",round=3},{site="hungary",round=3}]'
    done = hedgerow(
        "simulate", "--rounds", "4", "--quiet", "--set", f"simulation.dropouts={dropouts}",
        cwd=folder, check=5,
    )  # fmt: skip
    assert "stopped: round 3 failed" in done.stderr
    assert "the simulated site is down" in done.stderr
    return folder


def test_a_stopped_run_goes_on_and_a_complete_one_is_left_as_it_is(
    finished, stopped, in_process, tmp_path
) -> None:
    run = tmp_path / only_run(stopped).name
    shutil.copytree(only_run(stopped), run)
    for _ in range(2):
        assert in_process("simulate", "--resume", str(run), "--quiet")[0] == 0
        files = {path: path.read_bytes() for path in run.glob("*.*")}
    model = (only_run(finished[0]) / "model.safetensors").read_bytes()
    assert (run / "model.safetensors").read_bytes() == model
    assert files == {path: path.read_bytes() for path in run.glob("*.*")}
    assert json.loads((run / "summary.json").read_text())["run"]["resumed"] == 1


@pytest.mark.parametrize(
    ("name", "content", "code", "says"),
    [
        ("config.toml", b'[run]\nname="heart"\n', 6, "config.toml was changed since the run began"),
        ("rounds.jsonl", None, 6, "checkpoints up to round 2: lines were lost"),
        ("environment.json", b"{", 6, "environment.json is not what was written"),
        ("environment.json", None, 6, "cannot read"),
        ("roster.json", b"{}", 6, "roster.json: it is no roster"),
        ("consortium.pub", b"", 6, "consortium.pub: it holds no public key"),
        ("sites/hungary/consortium.pub", b"", 6, "hungary/consortium.pub: it holds no public key"),
        ("sites/hungary/roster.json", b"{}", 6, "hungary/roster.json: it is no roster"),
        ("sites/hungary/run-rules.json", b"{}", 6, "run-rules.json: it is no set of run rules"),
        ("sites/hungary/run-rules.json", None, 2, "cannot read the run rules"),
        ("agreement.json", b"{}", 6, "agreement.json is not what was written"),
        ("rounds.jsonl", b"{}\n", 6, "rounds.jsonl, line 1: not what was written"),
        ("rounds.jsonl", b"nonsense\n", 6, "rounds.jsonl, line 1: not JSON"),
        ("ledgers/hungary.sqlite", b"nonsense" * 99, 6, "hungary.sqlite"),
        ("ledgers/hungary.sqlite", None, 2, "there is no ledger at"),
        ("sites/hungary/site.toml", b"delta = 0.1\n", 2, "site.toml: site = None"),
        ("sites/hungary/identity.pem", b"", 6, "identity.pem holds no private key"),
        ("sites/hungary/journal.sqlite", b"nonsense" * 99, 6, "journal.sqlite cannot be opened"),
        ("checkpoints/round-0002.safetensors", b"", 6, "round-0002.safetensors"),
    ],
)
def test_a_damaged_run_is_named_at_once(
    stopped, in_process, tmp_path, name: str, content: bytes | None, code: int, says: str
) -> None:
    run = tmp_path / only_run(stopped).name
    shutil.copytree(only_run(stopped), run)
    for file in run.glob(f"{name}*"):
        file.unlink()
    if content is not None:
        (run / name).write_bytes(content)
    ended, _, error = in_process("simulate", "--resume", str(run))
    assert (ended, says in error) == (code, True), error
    assert "bug" not in error


def test_a_renamed_run_says_what_it_was_called(stopped, in_process, tmp_path) -> None:
    shutil.copytree(only_run(stopped), tmp_path / "renamed")
    code, _, error = in_process("simulate", "--resume", "renamed")
    assert (code, f"was named {only_run(stopped).name}" in error) == (2, True), error


def test_a_bit_that_flipped_in_a_checkpoint_is_found(stopped, in_process, tmp_path) -> None:
    run = tmp_path / only_run(stopped).name
    shutil.copytree(only_run(stopped), run)
    checkpoint = run / "checkpoints" / "round-0002.safetensors"
    content = bytearray(checkpoint.read_bytes())
    content[-3] ^= 64
    checkpoint.write_bytes(content)
    before = (run / "model.safetensors").read_bytes()
    code, _, error = in_process("simulate", "--resume", str(run))
    assert (code, "not the one that rounds.jsonl speaks of" in error) == (6, True), error
    assert (run / "model.safetensors").read_bytes() == before


def test_a_ledger_whose_tail_was_cut_off_is_found(stopped, in_process, tmp_path) -> None:
    run = tmp_path / only_run(stopped).name
    shutil.copytree(only_run(stopped), run)
    assert not list(run.glob("ledgers/*-wal"))
    ledger = sqlite3.connect(run / "ledgers" / "hungary.sqlite")
    ledger.execute("DROP TRIGGER no_delete")
    ledger.execute("DELETE FROM entries WHERE seq > 2")
    ledger.commit()
    ledger.close()
    code, _, error = in_process("simulate", "--resume", str(run))
    assert (code, "something was cut off" in error) == (6, True), error


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGHUP])
def test_whoever_ends_the_run_is_told_how_to_go_on(tmp_path, sign) -> None:
    process = start("--rounds", "50", cwd=tmp_path)
    wait_for_round(tmp_path, process, 1)
    process.send_signal(sign)
    said = process.communicate(timeout=60)[0]
    assert (process.returncode, "--resume" in said) == (130, True), said


def test_a_bug_is_told_even_where_nothing_can_be_written(in_process, tmp_path, monkeypatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    (tmp_path / "hedgerow-crash.log").mkdir()
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/nowhere")
    monkeypatch.setattr("simulations.run_control.start", broken)
    code, _, error = in_process("simulate")
    assert (code, "this is a bug" in error) == (1, True)


def test_a_full_disk_is_no_bug_and_the_run_goes_on_after_it(
    in_process, tmp_path, monkeypatch
) -> None:
    """The disk is full when the coordinator writes the checkpoint of round 2."""
    written = write_atomically

    def full(path, *args, **kwargs):
        if path.name == "round-0002.safetensors":
            raise OSError(28, "No space left on device")
        written(path, *args, **kwargs)

    monkeypatch.setattr("server.checkpoint.write_atomically", full)
    bare = ("--set", "simulation.baselines=false")
    code, _, error = in_process("simulate", "--rounds", "2", *bare)
    assert (code, "the disk refuses: No space left on device" in error) == (6, True), error
    assert not (tmp_path / "hedgerow-crash.log").exists()
    monkeypatch.undo()
    run = only_run(tmp_path)
    code, _, error = in_process("simulate", "--resume", str(run))
    assert code == 0, error
    summary = Summary.model_validate_json((run / "summary.json").read_bytes())
    assert summary.run.rounds_completed == 2
    assert {site.reserved for site in summary.privacy.sites.values()} == {2}


def test_a_bug_of_ours_is_one_line_and_a_file(in_process, tmp_path, monkeypatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("simulations.run_control.start", broken)
    code, _, error = in_process("simulate")
    assert (code, error.count("hedgerow-crash.log")) == (1, 1)
    assert "ZeroDivisionError" in (tmp_path / "hedgerow-crash.log").read_text()


def test_resuming_cannot_change_what_the_sites_agreed_to(finished, in_process) -> None:
    run = str(only_run(finished[0]))
    code, _, error = in_process("simulate", "--resume", run, "--rounds", "9")
    assert (code, "run cannot be changed" in error) == (2, True)


def test_report_writes_the_same_page_again(finished, in_process) -> None:
    folder, _ = finished
    run = only_run(folder)
    before = (run / "report.html").read_bytes()
    assert in_process("report", str(run), "--out", str(folder / "again.html"))[0] == 0
    assert (folder / "again.html").read_bytes() == before
