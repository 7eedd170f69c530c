"""What the console shows of real runs and sites: live, ended, killed, damaged, badly named."""

import json
import os
import shutil
import socket
import sqlite3
import threading
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from federation_in_process import Federation
from framed_page import CHROMIUM, measured
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client.agent_service import AgentService
from client.agent_socket import AgentLine, short_name
from client.console import site_page, site_source
from client.console_state import site_now
from client.site_home import SiteHome
from evaluation.report.verdicts import verdicts
from federation import file_lock
from federation.approvals import Approvals, BundleApproval
from federation.audit_log import AuditLog
from federation.console_page.page import document
from federation.drift_summary import DriftFinding, WindowDrift
from federation.durable_file import write_atomically
from federation.envelope import Phase, Request
from federation.run_folder import RunFolder
from federation.site_policy import SitePolicy
from privacy.ledger import verify
from server.console import coordinator_page, coordinator_source
from server.console_place import has_something_to_show
from server.console_state import coordinator_now
from server.coordinator_service import STATUS_FILE
from server.coordinator_status import CertificateStatus, CoordinatorStatus, SiteStatus
from server.federation_home import FederationHome
from server.run_record import RecordFollower, read_record

ROUNDS = 3
SITE = "hungary"
NASTY = "<script>alert('x')</script>\"&"


@pytest.fixture(scope="module")
def played(tmp_path_factory) -> RunFolder:
    """A real run of three rounds; tests change copies of it."""
    federation = Federation(tmp_path_factory.mktemp("runs"))
    federation.play()
    federation.restart_agents()
    return federation.folder


@pytest.fixture
def runs(played: RunFolder, tmp_path: Path) -> Path:
    shutil.copytree(played.path, tmp_path / "runs" / played.id)
    return tmp_path / "runs"


@pytest.fixture
def run(runs: Path) -> RunFolder:
    (path,) = runs.iterdir()
    return RunFolder(path)


@pytest.fixture
def home(run: RunFolder) -> SiteHome:
    return SiteHome(run.site_home(SITE))


def cut_to(run: RunFolder, rounds: int, tail: bytes = b"") -> None:
    """Take the run back to where so many rounds were recorded."""
    lines = run.rounds.read_bytes().splitlines(keepends=True)
    ends = [place for place, line in enumerate(lines) if json.loads(line)["event"] == "round"]
    run.rounds.write_bytes(b"".join(lines[: ends[rounds - 1] + 1]) + tail)
    run.summary.unlink()
    run.report.unlink()


def shown(runs: Path, chosen: str = ""):
    return coordinator_now(runs, chosen, time.time)


def words(notices, topic: str) -> list[str]:
    return [one.text for one in notices if one.topic == topic]


def files_under(path: Path) -> dict[str, int]:
    return {str(one): one.stat().st_mtime_ns for one in sorted(path.rglob("*"))}


def test_an_ended_run_is_shown_with_the_verdicts_of_its_report(runs, run) -> None:
    view = shown(runs)
    one, summary = view.shown, run.read_summary()
    assert (one.state, one.done, one.planned) == ("completed", ROUNDS, ROUNDS)
    assert [(t.topic, t.grade, t.headline) for t in one.tiles] == [
        (v.topic, v.grade, v.headline) for v in verdicts(summary)
    ]
    assert {site: account.epsilon_spent for site, account in one.accounts} == {
        site: account.epsilon_spent for site, account in summary.privacy.sites.items()
    }
    assert [one_.name for one_ in one.documents] == ["report.html", "summary.json"]
    assert one.pace.median == sorted(r.seconds for r in summary.rounds[:ROUNDS])[1]
    page = coordinator_page(view)
    assert page.documents["report.html"].read_text() == run.report.read_text()
    for site in summary.run.sites:
        assert site in page.body


def test_a_run_under_way_is_followed_round_by_round(runs, run) -> None:
    cut_to(run, 1)
    with run.sole_user():
        first = shown(runs).shown
        assert (first.state, first.done, first.under_way.number) == ("under way", 1, 2)
        assert first.pace.left == pytest.approx(first.pace.median * (ROUNDS - 1))
        privacy = {tile.topic: tile for tile in first.tiles}["Privacy"]
        assert "after 1 of 3 rounds" in privacy.sentence
        title = coordinator_page(shown(runs)).title
        assert title.removeprefix("(1) ").startswith("1/3 test")
        # The same folder a round later, as the run goes on writing.
        run.append_round({"event": "attempt", "round": 2, "attempt": 3, "ahead": False})
        assert shown(runs).shown.under_way.attempt == 1
        assert shown(runs).shown.under_way.number == 2
    assert shown(runs).shown.state == "interrupted"
    (notice,) = words(shown(runs).notices, "run")
    assert "1 of 3 rounds are done" in notice


def test_a_model_that_gets_worse_again_is_to_be_watched(runs, run) -> None:
    run.summary.unlink()
    assert {tile.topic: tile for tile in shown(runs).shown.tiles}["Utility"].grade == "OK"
    *before, last = run.rounds.read_text().splitlines()
    event = json.loads(last)
    event["record"]["utility"]["overall"]["log_loss"] *= 1.5
    run.rounds.write_text("\n".join([*before, json.dumps(event)]) + "\n")
    utility = {tile.topic: tile for tile in shown(runs).shown.tiles}["Utility"]
    assert utility.grade == "Watch"
    assert "at best" in utility.sentence


def test_what_a_site_has_spent_by_the_plan_is_what_its_ledger_says(runs, run) -> None:
    told = {site: account.epsilon_spent for site, account in shown(runs).shown.accounts}
    run.summary.unlink()  # as if the run had not ended: the plan alone is known
    privacy = {tile.topic: tile for tile in shown(runs).shown.tiles}["Privacy"]
    by_plan = float(privacy.headline.removeprefix("ε ≤ "))
    assert by_plan == pytest.approx(max(told.values()), abs=0.01)


def test_a_line_that_is_being_written_is_left_out(runs, run) -> None:
    cut_to(run, 2, tail=b'{"event": "round", "record": {"ro')
    view = shown(runs)
    assert view.shown.done == 2
    assert words(view.notices, "damage") == []


def test_a_damaged_record_is_said_and_the_rest_is_shown(runs, run) -> None:
    run.rounds.write_bytes(b"no JSON\n" + run.rounds.read_bytes())
    view = shown(runs)
    (damage,) = words(view.notices, "damage")
    assert "rounds.jsonl, line 1" in damage
    assert view.shown.accounts
    assert "rounds.jsonl, line 1" in coordinator_page(view).body


def test_a_run_that_cannot_be_read_does_not_hide_the_others(runs, run) -> None:
    (runs / "20990101T000000Z-broken").mkdir()
    (runs / "20990101T000000Z-broken" / "config.toml").write_text("no = TOML = at all")
    view = shown(runs)
    assert [one.id for one in view.runs] == ["20990101T000000Z-broken", run.id]
    assert "not valid TOML" in words(view.notices, "damage")[0]
    assert shown(runs, run.id).shown.done == ROUNDS


def test_an_unknown_run_is_nothing(runs) -> None:
    with pytest.raises(LookupError):
        shown(runs, "../../etc")


def test_names_are_text_and_never_markup(runs, run) -> None:
    nasty = runs / f"20990101T000000Z-{NASTY.replace('/', '')}"
    run.path.rename(nasty)
    config = (nasty / "config.toml").read_text()
    (nasty / "config.toml").write_text(config.replace(f'"{SITE}"', '"evil"'))
    lines = (nasty / "rounds.jsonl").read_text().replace('"dropped": {}', json.dumps(
        {"dropped": {NASTY: NASTY}})[1:-1])  # fmt: skip
    (nasty / "rounds.jsonl").write_text(lines)
    page = coordinator_source(runs, time.time)("")
    assert page.body.count("&lt;script&gt;alert(") >= 3  # the run, the lost site, the reason
    assert "<script" not in page.body
    assert "%3Cscript%3E" in page.body  # within an address
    assert document(page).count("<script") == 1  # our own file


def test_looking_changes_nothing(runs, run, home) -> None:
    before = files_under(runs)
    coordinator_source(runs, time.time)("")
    site_source(home.path, time.time)("")
    assert files_under(runs) == before


def test_folders_are_told_apart(runs, run, tmp_path) -> None:
    assert has_something_to_show(runs)
    assert not has_something_to_show(tmp_path / "nowhere")
    assert shown(run.path).shown.id == run.id
    assert [one.id for one in shown(run.path).runs] == [run.id]


def test_a_list_of_runs_says_what_each_run_s_page_says(runs, run) -> None:
    (line,), one = shown(runs).runs, shown(runs).shown
    for name in ("id", "name", "task", "state", "done", "planned", "sites", "tiles", "started"):
        assert getattr(line, name) == getattr(one, name), name
    cut_to(run, 1)
    assert shown(runs).runs[0].state == "interrupted"


@given(cuts=st.lists(st.integers(0, 10**6), max_size=6), replaced=st.booleans())
@settings(max_examples=25, suppress_health_check=list(HealthCheck))
def test_a_record_that_is_followed_is_the_record(played, tmp_path_factory, cuts, replaced) -> None:
    """Wherever the file ended when it was looked at, and also after it was put in place anew."""
    whole = played.rounds.read_bytes()
    folder = RunFolder(tmp_path_factory.mktemp("followed"))
    follower = RecordFollower(folder)
    assert follower.look().rounds == ()
    for end in sorted(cut % (len(whole) + 1) for cut in cuts):
        folder.rounds.touch()
        with folder.rounds.open("ab") as file:
            file.write(whole[folder.rounds.stat().st_size : end])
        assert follower.look() == RecordFollower(folder).look()
    if replaced:
        write_atomically(folder.rounds, whole)
    else:
        folder.rounds.write_bytes(whole)
    assert follower.look().rounds == read_record(played).rounds


# -- a federation directory -----------------------------------------------------------------


@pytest.fixture
def federation_folder(runs: Path, run: RunFolder) -> Path:
    path = runs.parent
    (path / "coordinator.toml").write_text('name = "north"\n')
    (path / "superlink").mkdir()
    for name in ("consortium.pub", "roster.json"):
        shutil.copy(run.path / name, path / name)
    return path


def write_status(path: Path, seconds_ago: float = 0.0, **changes) -> None:
    then = datetime.fromtimestamp(time.time() - seconds_ago, UTC)
    sites = (
        SiteStatus(name="cleveland", state="online", last_seen=then.timestamp(),
                   certificate_days=300.0, countersigned=True),
        SiteStatus(name=NASTY, state="offline", last_seen=None, certificate_days=300.0,
                   countersigned=False),
    )  # fmt: skip
    status = CoordinatorStatus(
        federation="north", time=then.isoformat(), superlink=True, release=3, processes=(),
        sites=sites, strangers=0, certificates=(CertificateStatus(name="server", days=300.0),),
        runs=(), warnings=(),
    ).model_copy(update=changes)  # fmt: skip
    text = status.model_dump_json(indent=1)
    (FederationHome(path).superlink / STATUS_FILE).write_text(text)


def test_sites_that_are_away_are_an_alert_while_the_coordinator_runs(federation_folder) -> None:
    write_status(federation_folder)
    view = shown(federation_folder)
    assert (view.name, view.operation.state) == ("north", "up")
    assert words(view.notices, "sites") == [f"Not online: {NASTY}."]
    page = coordinator_page(view)
    assert "<script" not in page.body
    assert "1 of 2" in page.body
    assert "has not countersigned" in page.body


def test_an_old_status_is_not_the_present(federation_folder) -> None:
    write_status(federation_folder, seconds_ago=31.0)
    view = shown(federation_folder)
    assert view.operation.state == "not running"
    assert words(view.notices, "sites") == []
    assert "last heard of 31" in words(view.notices, "coordinator")[0]
    write_status(federation_folder, seconds_ago=29.0)
    assert shown(federation_folder).operation.state == "up"


def test_a_superlink_that_is_down_is_to_be_acted_on(federation_folder) -> None:
    write_status(federation_folder, superlink=False)
    first = shown(federation_folder).notices[0]
    assert (first.level, first.topic) == ("Act", "coordinator")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 2}', '{"version": 1}'])
def test_a_status_that_is_none_is_said(text, federation_folder) -> None:
    (federation_folder / "superlink" / "status.json").write_text(text)
    view = shown(federation_folder)
    assert view.operation.state == "not running"
    assert "not what hedgerow coordinator up writes" in words(view.notices, "damage")[0]


def test_certificates_are_counted_down(federation_folder) -> None:
    write_status(federation_folder)
    ends = {one.name: one.days for one in shown(federation_folder).operation.certificates}
    assert set(ends) == {f"site {site}" for site in
                         ("cleveland", "hungary", "switzerland", "va_long_beach")}  # fmt: skip
    later = time.time() + (min(ends.values()) - 6.0) * 86_400
    view = coordinator_now(federation_folder, "", lambda: later)
    notices = [one for one in view.notices if one.topic == "certificates"]
    assert {one.level for one in notices} == {"Act"}
    assert len(notices) == 4


# -- a site ---------------------------------------------------------------------------------


def test_a_site_sees_its_budget_as_its_ledger_has_it(home, run) -> None:
    view = site_now(home.path, time.time)
    account = run.read_summary().privacy.sites[SITE]
    assert view.account.spent == account.epsilon_spent
    assert view.account.budget == account.epsilon_budget
    assert (f"{view.account.entries}:{view.account.head}", view.account.trusted) == (
        account.ledger_head,
        True,
    )
    assert len(verify(run.ledger(SITE), home.read_identity().public_key())) == view.account.entries
    assert [one.round for one in view.account.charges] == [3, 2, 1]
    assert {one.state for one in view.account.charges} == {"released"}
    (plan,) = view.account.plans
    assert (plan.run, plan.charged, plan.open, plan.left) == (run.id, ROUNDS, 0, 0)


def test_a_budget_that_is_nearly_used_is_an_alert(home) -> None:
    (text,) = words(site_now(home.path, time.time).notices, "budget")
    assert "of the budget is spent, and it has no room" in text


def test_a_damaged_ledger_is_shown_as_such(home, run) -> None:
    before = site_now(home.path, time.time)
    assert words(before.notices, "ledger") == []
    with closing(sqlite3.connect(run.ledger(SITE))) as db:
        db.execute("DROP TRIGGER IF EXISTS entries_no_update")
        for (name,) in db.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            db.execute(f"DROP TRIGGER {name}")
        db.execute("UPDATE entries SET body = replace(body, '1', '2') WHERE seq = 3")
        db.commit()
    view = site_now(home.path, time.time)
    assert view.account is None
    (text,) = words(view.notices, "ledger")
    assert "entry 3: its body was changed" in text
    page = site_page(view)
    assert "No budget can be shown." in page.body
    assert page.title.startswith("(")


def test_a_ledger_that_is_gone_or_no_ledger_is_said(home, run) -> None:
    run.ledger(SITE).write_bytes(b"x" * 5000)
    assert "cannot be read" in words(site_now(home.path, time.time).notices, "ledger")[0]
    run.ledger(SITE).unlink()
    assert "There is no ledger" in words(site_now(home.path, time.time).notices, "ledger")[0]


def agent_of(view):
    return next(one for one in view.processes if one.name == "Agent")


def test_an_agent_that_runs_is_seen_by_its_lock(home) -> None:
    assert agent_of(site_now(home.path, time.time)).state == "not running"
    lock = file_lock.hold(home.lock)
    try:
        view = site_now(home.path, time.time)
    finally:
        os.close(lock)
    assert agent_of(view).state == "running"
    assert words(view.notices, "agent") == []


def test_a_deployed_agent_tells_what_it_is_at_and_one_that_hangs_is_said_to(home) -> None:
    begun, go_on = threading.Event(), threading.Event()
    asked = Request("run-1", 7, 1, Phase.TRAIN, "0" * 32, time.time() + 60, b"").to_bytes()

    def answer(data):
        begun.set()
        assert go_on.wait(30)
        return data

    lock = file_lock.hold(home.lock)
    service = AgentService(home.socket, SITE, answer, bool)
    serving = threading.Thread(target=service.serve)
    serving.start()
    try:
        assert agent_of(site_now(home.path, time.time)).doing.startswith("nothing was asked")
        with AgentLine(home.socket, "a" * 64) as line:
            asking = threading.Thread(target=line.answer, args=(asked,))
            asking.start()
            assert begun.wait(30)
            busy = agent_of(site_now(home.path, time.time))
            go_on.set()
            asking.join()
        idle = agent_of(site_now(home.path, time.time))
    finally:
        service.stopping.set()
        serving.join()
    assert busy.doing.startswith("at round 7, train of run-1 for ")
    assert idle.doing.startswith("last answered round 7, train of run-1, ")
    with socket.socket(socket.AF_UNIX) as deaf:
        with short_name(home.socket) as name:
            deaf.bind(name)
        deaf.listen()
        view = site_now(home.path, time.time)
    os.close(lock)
    assert agent_of(view).state == "does not answer"
    assert len(words(view.notices, "agent")) == 1


def test_a_node_that_is_offline_is_said_to_be_and_why(home) -> None:
    said = {"state": "offline", "since": "2026-01-01T00:00:00+00:00", "reason": NASTY,
            "remedy": "check the time"}  # fmt: skip
    home.node_state.write_text(json.dumps(said))
    lock = file_lock.hold(home.lock)
    try:
        view = site_now(home.path, time.time)
    finally:
        os.close(lock)
    (text,) = words(view.notices, "node")
    assert "check the time" in text
    assert "<script>" not in site_page(view).body
    home.node_state.write_text("{")
    assert "is not what was written" in words(site_now(home.path, time.time).notices, "node")[0]


def test_events_are_shown_once_their_chain_is_checked(home) -> None:
    log = AuditLog(home.path / "audit.jsonl")
    log.append("bundle_approved", bundle="ab" * 32, note=NASTY)
    log.append("agent_started", pid=7)
    view = site_now(home.path, time.time)
    assert [one.event for one in view.events] == ["agent started", "bundle approved"]
    assert "<script" not in site_page(view).body
    lines = log.path.read_bytes().replace(b'"pid":7', b'"pid":8')
    log.path.write_bytes(lines)
    assert "line 2" in words(site_now(home.path, time.time).notices, "audit log")[0]


def test_approvals_are_shown(home) -> None:
    approval = BundleApproval(version="0.1.0", approved="2026-11-01T00:00:00+00:00", note="N. N.")
    path = home.path / "approvals.json"
    path.write_bytes(Approvals().with_bundle("cd" * 32, approval).to_bytes())
    view = site_now(home.path, time.time)
    assert [(one.what, one.note) for one in view.approvals] == [("bundle, version 0.1.0", "N. N.")]
    path.write_text("{}{")
    assert words(site_now(home.path, time.time).notices, "approvals")


def test_own_windows_are_shown_and_a_fault_is_not_told(home) -> None:
    finding = DriftFinding(
        kind="covariate", subject=f"age{NASTY}", statistic="psi", against="reference",
        rows_before=90, rows_now=80, value=0.4, critical=0.1, watch=0.1, act=0.25, p_value=1e-4,
        significant=True, verdict="act",
    )  # fmt: skip
    report = WindowDrift(
        scope=SITE, window="2026-10", reference="2026-01", previous=None, rows=80, sites=1,
        noise_variance=0.0, comparisons=3, false_alarms=0.05, verdict="act", findings=(finding,),
    )  # fmt: skip
    home.keep_window_report(report)
    home.note_fault("Traceback: patient 4711 has value 12.5")
    view = site_now(home.path, time.time)
    assert view.windows[0].changes == (finding,)
    assert "2026-10 differs from 2026-01" in words(view.notices, "own rows")[0]
    page = site_page(view)
    assert "4711" not in page.body
    assert words(view.notices, "faults")
    assert "<script" not in page.body


def test_no_key_and_no_row_is_on_a_site_s_page(home) -> None:
    page = document(site_page(site_now(home.path, time.time)))
    secret = home.read_identity().private_bytes_raw().hex()
    assert secret not in page
    assert "PRIVATE" not in page
    home.identity.unlink()  # the page is made without it
    assert site_now(home.path, time.time).account is not None


def test_a_policy_that_cannot_be_read_is_said(home) -> None:
    assert SitePolicy.read(home.policy).site == SITE
    home.policy.write_text("site = 3\n")
    view = site_now(home.path, time.time)
    assert "site.toml" in words(view.notices, "policy")[0]
    assert view.policy == ()
    assert view.account is not None


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [1280, 420])
def test_no_page_is_wider_than_its_window(width, federation_folder, run, home, tmp_path) -> None:
    write_status(federation_folder, warnings=("a" * 200,))
    AuditLog(home.path / "audit.jsonl").append("long", text="w" * 300)
    pages = (
        coordinator_page(shown(federation_folder)),
        site_page(site_now(home.path, time.time)),
    )
    for page in pages:
        inside, content, past = measured(page, width, tmp_path)
        assert inside >= width - 20  # a scroll bar's width
        assert (content, past) == (inside, 0)
