"""The doctor of a site: each thing that can be wrong is found, named, and told how to mend."""

import json
from dataclasses import replace

import pytest
from sample_consortium import roster_of, signed_rules
from typer.testing import CliRunner

from client import doctor
from client.data_doctor import check_data, load_policys_task
from client.doctor_check import Verdict, from_error, worst
from client.home_opening import create_ledger
from client.site_cli import app
from client.site_home import SiteHome
from client.site_status import read_status
from federation import node_key
from federation.approvals import BundleApproval, TaskApproval, change_approvals
from federation.audit_log import AuditLog
from federation.consortium import END_OF_9999
from federation.errors import DataError, IntegrityError
from federation.site_connection import SiteConnection
from federation.site_policy import SitePolicy
from federation.software import Software
from federation.task import SiteRequest
from federation.task_digest import task_digest
from federation.task_loading import load_task
from federation.timestamp import utc_now
from privacy.account import Charge, ChargePlan, PlanTerms
from privacy.event import PoissonSampledGaussian
from privacy.ledger import Ledger

POLICY = SitePolicy(
    site="cleveland",
    dataset="heart",
    public_rows=212,
    tasks=("heart",),
    split_seed=1,
    epsilon_budget=4.0,
    delta=1e-3,
)
BUNDLE = "b" * 64


@pytest.fixture
def home(tmp_path) -> SiteHome:
    made = SiteHome(tmp_path / "cleveland")
    key = made.create_identity()
    made.path.chmod(0o700)
    POLICY.write(made.policy)
    others = {"b": b"b" * 32, "c": b"c" * 32}
    made.given.write(roster_of(others | {"cleveland": key}), signed_rules())
    create_ledger(made, made.ledger)
    secret = node_key.generate_node_key()
    made.node_key.write_bytes(node_key.private_bytes(secret))
    made.node_key.chmod(0o600)
    made.node_key.with_name("node-key.pub").write_text(f"{node_key.public_line(secret)} a@b\n")
    connect(made)
    approved = TaskApproval(sha256=task_digest("heart"), approved="2026-03-01T00:00:00+00:00")
    bundle = BundleApproval(version="0.1.0", approved="2026-03-01T00:00:00+00:00")
    change_approvals(
        made.approvals, lambda old: old.with_task("heart", approved).with_bundle(BUNDLE, bundle)
    )
    AuditLog(made.audit).append("task_approved", task="heart")
    return made


def connect(home: SiteHome, **changed: object) -> None:
    here = Software.installed()
    told = {
        "site": "cleveland",
        "federation": "heart",
        "superlink": "127.0.0.1:9",
        "hedgerow": here.hedgerow,
        "flwr": here.flwr,
        "roster_version": 1,
        "bundle_sha256": BUNDLE,
    }
    SiteConnection(**told | changed).write(home.connection)


def found(home: SiteHome, name: str):
    (check,) = [one for one in doctor.check_home(home, home.ledger) if one.name == name]
    return check


def test_a_site_that_is_whole_is_well_but_for_the_agent_that_does_not_run(home, monkeypatch):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: type("U", (), {"free": 2**40}))
    checks = doctor.check_home(home, home.ledger)
    wrong = {check.name for check in checks if check.verdict is not Verdict.OK}
    assert wrong == {"agent"}
    assert worst(checks) is Verdict.WARN


def test_rows_are_counted_by_split_class_and_group_and_none_is_shown(home):
    check = check_data(POLICY, "heart", load_policys_task)
    task = load_task("heart", {})
    data = task.load(SiteRequest(POLICY.site, POLICY.split_seed))
    assert f"train {len(data.train)} rows" in check.finding
    for attribute in task.schema.attributes:
        for number, group in enumerate(attribute.groups):
            count = int((data.train.groups[attribute.name] == number).sum())
            assert (f"{group} {count}" in check.finding) is (count > 0)
    assert f"{data.train.inputs[0][0]:.3f}" not in check.finding


def test_fewer_rows_than_declared_are_a_warning(home):
    check = check_data(POLICY.model_copy(update={"public_rows": 10_000}), "heart",
                       load_policys_task)  # fmt: skip
    assert check.verdict is Verdict.WARN
    assert "declared in public" in check.finding


class Broken:
    """A heart task whose rows are not what its schema says."""

    def __init__(self, task, spoil):
        self._task, self._spoil = task, spoil

    def __getattr__(self, name):
        return getattr(self._task, name)

    def load(self, request):
        return self._spoil(self._task.load(request))


def unknown_class(data):
    targets = data.current.targets.clone()
    targets[0] = 77
    return replace(data, current=replace(data.current, targets=targets))


def missing_column(data):
    return replace(data, train=replace(data.train, features={}))


def raises_row(_):
    raise ValueError("row 17: 63,1,145")


def raises_ours(_):
    raise DataError("heart.csv, column age: expected a number")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (unknown_class, "expected indices 0 to 1"),
        (missing_column, "it is absent"),
        (raises_row, "it failed with ValueError"),
        (raises_ours, "heart.csv, column age"),
    ],
)
def test_rows_that_are_not_what_the_schema_says_fail_and_are_not_told(spoil, says):
    load = lambda name, policy: Broken(load_task(name, {}), spoil)  # noqa: E731
    check = check_data(POLICY, "heart", load)
    assert check.verdict is Verdict.FAIL
    assert says in check.finding
    assert "77" not in check.finding
    assert "145" not in check.finding


def test_a_site_that_has_joined_nothing_is_told_so_once_and_how(home):
    for path in (home.connection, home.given.consortium, home.given.roster, home.given.run_rules):
        path.unlink()
    done = run("check", home.path)
    assert done.exit_code == 2
    assert done.output.count("FAIL") == 1
    assert "FAIL  joined: this site has joined no federation yet" in done.output
    assert f"hedgerow site join {home.path}" in done.output


def test_code_that_was_not_approved_fails_and_is_not_run(home, monkeypatch):
    other = TaskApproval(sha256="0" * 64, approved="2026-03-01T00:00:00+00:00")
    change_approvals(home.approvals, lambda old: old.with_task("heart", other))

    def load(*_):
        raise AssertionError("it was run")

    checks = doctor.check_home(home, home.ledger, load)
    (code,) = [check for check in checks if check.name == "code of heart"]
    assert code.verdict is Verdict.FAIL
    assert "0000000000000000... was approved" in code.finding
    assert "hedgerow site approve-task" in code.remedy
    assert "data of heart" not in {check.name for check in checks}


def test_a_secret_that_others_may_read_fails_with_the_command_that_mends_it(home):
    home.node_key.chmod(0o640)
    check = found(home, "permissions")
    assert check.verdict is Verdict.FAIL
    assert check.remedy == f"chmod go-rwx {home.node_key}"


def test_a_missing_or_unreadable_policy_ends_the_look(home):
    home.policy.write_text("site = 1")
    (check,) = doctor.check_home(home, home.ledger)
    assert (check.name, check.verdict) == ("policy", Verdict.FAIL)


def test_a_lax_policy_is_a_warning_that_names_the_key(home):
    policy = POLICY.model_copy(update={"allow_without_privacy": True, "epsilon_budget": None})
    check = doctor.check_policy(policy)
    assert check.verdict is Verdict.WARN
    assert "allow_without_privacy = true, no epsilon_budget" in check.finding


def test_another_node_key_than_the_public_one_fails(home):
    other = node_key.private_bytes(node_key.generate_node_key())
    home.node_key.write_bytes(other)
    assert "is of another key" in found(home, "node key").finding
    home.node_key.write_bytes(b"nonsense")
    assert doctor.check_node_key(home).verdict is Verdict.FAIL
    home.node_key.unlink()
    assert "No such file" in doctor.check_node_key(home).finding


def test_a_damaged_ledger_fails_twice_and_says_never_to_start_over(home):
    home.ledger.write_bytes(b"nonsense" * 500)
    checks = {one.name: one for one in doctor.check_home(home, home.ledger)}
    assert checks["files"].verdict is Verdict.FAIL
    assert "never start it over" in checks["budget"].remedy


@pytest.mark.parametrize(("version", "verdict"), [("9.9.9", Verdict.FAIL), ("0.1.9", Verdict.WARN)])
def test_another_version_of_the_coordinator_is_told(home, version, verdict):
    connect(home, hedgerow=version)
    check = found(home, "versions")
    assert check.verdict is verdict
    assert version in check.finding


@pytest.mark.parametrize(
    ("free", "verdict"),
    [(doctor.SCARCE_BYTES, Verdict.OK), (doctor.SCARCE_BYTES - 1, Verdict.WARN),
     (doctor.TOO_FEW_BYTES, Verdict.WARN), (doctor.TOO_FEW_BYTES - 1, Verdict.FAIL)],
)  # fmt: skip
def test_a_disk_that_fills_up_is_told(home, free, verdict):
    assert doctor.check_disk(home, free).verdict is verdict


def test_certificates_that_end_soon_or_have_ended_are_told(home):
    now = 2_000_000_000
    for end, verdict in (
        (END_OF_9999, Verdict.OK),
        (now + 86_400 * 29, Verdict.WARN),
        (now - 1, Verdict.FAIL),
    ):
        home.given.roster.write_bytes(
            roster_of({s: s.encode() * 32 for s in "abc"}, validity=(0, end)).to_bytes()
        )
        assert doctor.check_roster(home, now).verdict is verdict


def test_a_bundle_that_the_consortium_names_and_nobody_approved_is_told(home):
    connect(home, bundle_sha256="c" * 64)
    check = found(home, "bundles")
    assert check.verdict is Verdict.WARN
    assert "c" * 64 in check.remedy
    change_approvals(home.approvals, lambda old: old.without_bundle(BUNDLE))
    assert "every message is refused" in doctor.check_bundles(home).finding


def test_an_altered_audit_log_fails(home):
    home.audit.write_bytes(home.audit.read_bytes().replace(b"heart", b"digit"))
    assert found(home, "audit log").verdict is Verdict.FAIL


def test_telemetry_that_somebody_switched_on_is_a_warning():
    assert doctor.check_environment({}).verdict is Verdict.OK
    check = doctor.check_environment({"FLWR_TELEMETRY_ENABLED": "1"})
    assert check.verdict is Verdict.WARN
    assert "FLWR_TELEMETRY_ENABLED" in check.finding


def test_of_a_strangers_error_only_the_type_is_told():
    assert "63" not in from_error("x", ValueError("row 63"), "y").finding
    assert "told" in from_error("x", IntegrityError("told"), "y").finding


def spend(home: SiteHome) -> None:
    terms = PlanTerms(
        agreement_sha256="a" * 64, task="heart", sites=3, threshold=2,
        noise_source="system", software="hedgerow",
    )  # fmt: skip
    plan = ChargePlan("run-7", Charge(PoissonSampledGaussian(0.1, 1.0, 10)), 3, 3, terms)
    ledger = Ledger.open(home.ledger, home.read_identity(), utc_now)
    ledger.register(plan)
    ledger.commit(ledger.reserve("run-7", 1, 1), "d" * 64)
    ledger.close()


def test_status_tells_budget_last_run_approvals_and_that_the_agent_is_down(home):
    before = read_status(home, home.ledger)
    assert before["last_run"] == "none was charged yet"
    spend(home)
    told = read_status(home, home.ledger)
    assert told["last_run"]["run"] == "run-7"
    assert told["last_run"]["charged_rounds"] == 1
    assert 0 < told["budget"]["epsilon_spent"] < 4
    assert told["budget"]["epsilon_left"] == pytest.approx(4 - told["budget"]["epsilon_spent"])
    assert told["approvals"] == {"bundles": 1, "latest": BUNDLE, "tasks": ["heart"]}
    assert told["agent"].startswith("down: ")
    assert told["node"] == "never ran"


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_commands_print_what_they_found(home):
    spend(home)
    assert "budget" in run("status", home.path).output
    assert json.loads(run("status", home.path, "--json").output)["site"] == "cleveland"
    listed = run("ledger", home.path).output
    assert "reserve" in listed
    assert "whole: 4 entries" in listed
    kinds = [entry["kind"] for entry in json.loads(run("ledger", home.path, "--json").output)]
    assert kinds == ["budget", "plan", "reserve", "commit"]
    log = run("log", home.path).output
    assert "task_approved" in log
    assert "whole: 1 entries" in log


def test_check_exits_with_2_if_a_line_fails_and_0_if_none_does(home):
    done = run("check", home.path, "--offline")
    assert done.exit_code == 0, done.output
    assert "OK    files" in done.output
    told = json.loads(run("check", home.path, "--offline", "--json").output)
    assert told["verdict"] == "WARN"
    home.node_key.chmod(0o644)
    done = run("check", home.path, "--offline")
    assert done.exit_code == 2
    assert "FAIL  permissions" in done.output
    assert "-> chmod go-rwx" in done.output


def test_check_looks_at_the_coordinator_unless_told_not_to(home):
    done = run("check", home.path)
    assert done.exit_code == 2
    assert "FAIL  port: 127.0.0.1:9" in done.output
