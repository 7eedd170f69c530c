"""`hedgerow site approve` as a site's people use it."""

import hashlib
import io
import shutil
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from client import courier
from client.bundle_review import MOST_DIFF_LINES, as_installed, difference, read_bundle, visible
from client.site_cli import app
from client.site_home import SiteHome
from federation.app_bundle import AppBundle
from federation.approvals import Approvals
from federation.audit_log import AuditLog
from federation.errors import IntegrityError, UsageError
from federation.site_policy import SitePolicy

POLICY = SitePolicy(
    site="a",
    dataset="rows",
    public_rows=100,
    tasks=("heart",),
    split_seed=1,
    epsilon_budget=4.0,
    delta=1e-3,
)
INSTALLED = Path(courier.__file__).read_bytes()


def fab(version: str, courier_code: bytes = INSTALLED, **more: bytes) -> bytes:
    settings = (
        f'[project]\nname = "hedgerow"\nversion = "{version}"\n'
        '[tool.flwr.app.components]\nclientapp = "client.courier:app"\n'
    )
    files = {"pyproject.toml": settings.encode(), "client/courier.py": courier_code, **more}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        lines = [f"{n},{hashlib.sha256(c).hexdigest()},{8 * len(c)}" for n, c in files.items()]
        archive.writestr(".info/CONTENT", "\n".join(lines))
    return out.getvalue()


@pytest.fixture
def home(tmp_path) -> SiteHome:
    made = SiteHome(tmp_path / "a")
    made.path.mkdir()
    POLICY.write(made.policy)
    return made


@pytest.fixture
def offered(tmp_path):
    def write(data: bytes) -> tuple[Path, str]:
        digest = hashlib.sha256(data).hexdigest()
        path = tmp_path / f"hedgerow.{digest[:8]}.fab"
        path.write_bytes(data)
        return path, digest

    return write


def run(*arguments: str | Path, answer: str | None = None):
    return CliRunner().invoke(app, [str(a) for a in arguments], input=answer)


def test_a_bundle_is_shown_and_approved_when_the_answer_is_yes(home, offered):
    path, digest = offered(fab("0.1.0"))
    done = run("approve", home.path, path, "--note", "asked by the DPO", answer="y\n")
    assert done.exit_code == 0, done.output
    assert "courier  the one that is installed here, byte for byte" in done.output
    assert digest in done.output
    # Held against what the site installed: of its courier nothing is shown, for it is the same.
    assert "same     client/courier.py" in done.output
    assert '+name = "hedgerow"' in done.output
    assert "def client_app" not in done.output
    approval = Approvals.read(home.approvals).bundles[digest]
    assert (approval.version, approval.note) == ("0.1.0", "asked by the DPO")
    assert (home.bundles / f"{digest}.fab").read_bytes() == path.read_bytes()
    (entry,) = AuditLog(home.audit).entries()
    assert (entry.event, entry.details["bundle"]) == ("bundle_approved", digest)


def test_nothing_is_approved_when_the_answer_is_no(home, offered):
    path, _ = offered(fab("0.1.0"))
    done = run("approve", home.path, path, answer="n\n")
    assert isinstance(done.exception, UsageError)
    assert not home.approvals.exists()
    assert not home.audit.exists()


def test_the_next_bundle_is_held_against_the_one_before(home, offered):
    first, before = offered(fab("0.1.0"))
    run("approve", home.path, first, "--yes")
    path, digest = offered(fab("0.2.0", INSTALLED + b"import socket\n", **{"client/spy.py": b"1"}))
    done = run("approve", home.path, path, "--yes")
    assert "NOT THE ONE THAT IS INSTALLED HERE" in done.output
    assert "+import socket" in done.output
    assert '-version = "0.1.0"' in done.output
    assert f"before   {before}" in done.output
    assert "hedgerow.agent_connector" not in done.output  # what is the same is not shown
    assert Approvals.read(home.approvals).latest_bundle == digest


def test_a_bundle_that_was_offered_is_approved_by_its_hash(home, offered):
    path, digest = offered(fab("0.1.0"))
    home.bundles.mkdir()
    shutil.move(path, home.bundles / f"{digest}.fab")
    assert run("approve", home.path, digest, "--yes").exit_code == 0
    assert Approvals.read(home.approvals).is_approved(digest)


def test_a_kept_file_under_a_wrong_name_is_refused(home, offered):
    path, _ = offered(fab("0.1.0"))
    home.bundles.mkdir()
    shutil.move(path, home.bundles / f"{'0' * 64}.fab")
    done = run("approve", home.path, "0" * 64, "--yes")
    assert isinstance(done.exception, IntegrityError)
    with pytest.raises(IntegrityError, match="not the bundle of its name"):
        read_bundle("0" * 64, home.bundles)


def test_a_withdrawn_bundle_is_not_approved(home, offered):
    path, digest = offered(fab("0.1.0"))
    run("approve", home.path, path, "--yes")
    assert run("approve", home.path, digest, "--withdraw").exit_code == 0
    assert not Approvals.read(home.approvals).is_approved(digest)
    assert [entry.event for entry in AuditLog(home.audit).entries()] == [
        "bundle_approved",
        "bundle_withdrawn",
    ]


@pytest.mark.parametrize("command", ["approve", "approve-task"])
def test_a_folder_that_is_no_home_is_said_to_be_none(tmp_path, command):
    done = run(command, tmp_path, "x", "--yes")
    assert isinstance(done.exception, UsageError)
    assert "is no site's home" in str(done.exception)


def test_a_task_is_approved_by_the_hash_of_its_code(home):
    done = run("approve-task", home.path, "heart", answer="y\n")
    assert done.exit_code == 0, done.output
    assert "tasks/heart.py" in done.output
    assert "approved before: never" in done.output
    assert set(Approvals.read(home.approvals).tasks) == {"heart"}
    assert "approved already" in run("approve-task", home.path, "heart").output
    assert run("approve-task", home.path, "heart", "--withdraw").exit_code == 0
    assert not Approvals.read(home.approvals).tasks
    events = [entry.event for entry in AuditLog(home.audit).entries()]
    assert events == ["task_approved", "task_withdrawn"]


def test_what_is_shown_moves_no_cursor_and_turns_no_text():
    hostile = "\x1b]0;x\x07 \x1b[2J\r\u202e\u2066\u200b\ufeff\x85\u2028evil".encode()
    bundle = AppBundle.parse(fab("0.1.0", hostile))
    shown = "\n".join(difference(bundle, as_installed(bundle)))
    assert "evil" in shown
    assert "\\x1b[2J" in shown
    assert "\\u202e" in shown
    assert all(char.isprintable() or char in "\n\t" for char in shown)
    assert visible("naïve – Größe\t1") == "naïve – Größe\t1"


def test_a_file_that_is_no_text_and_one_without_end_are_said_in_short():
    bundle = AppBundle.parse(fab("0.1.0", b"\0\1", **{"client/long.py": b"x\n" * 5000}))
    shown = list(difference(bundle, as_installed(bundle)))
    assert "+(2 bytes that are no text" in "\n".join(shown)
    assert len(shown) < MOST_DIFF_LINES + 100
    assert "client/long.py: more than 2000 lines differ" in "\n".join(shown)
