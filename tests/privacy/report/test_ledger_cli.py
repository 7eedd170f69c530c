"""`hedgerow privacy report`, `verify` and `amend`, with right input and with every wrong one."""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sample_consortium import KEY as CONSORTIUM
from sample_ledgers import (
    KINDS,
    TRAINING,
    create,
    key_of,
    plain,
    play,
    roster,
    statement,
    ticking,
    written,
)

from federation import canonical
from federation.errors import HedgerowError, IntegrityError, UsageError
from federation.site_policy import SitePolicy
from privacy.budget import Budget, DatasetPolicy
from privacy.ledger import Ledger
from privacy.report.document import PrivacyReport

# typer asks click for names that click deprecates; both are imported late, under this filter.
pytestmark = pytest.mark.filterwarnings("ignore:'click:DeprecationWarning")

FILES = ["dp-registry.json", "privacy-events.csv", "privacy-report.html", "privacy-report.json"]


def call(*arguments: object):
    from typer.testing import CliRunner  # noqa: PLC0415 - see pytestmark

    from privacy.cli import app  # noqa: PLC0415 - see pytestmark

    return CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "120"})


def refused(kind: type[HedgerowError], *arguments: object) -> str:
    error = call(*arguments).exception
    assert isinstance(error, kind), error
    assert "\n" not in str(error)
    return str(error)


def consortium_files(folder: Path, *sites: str) -> Path:
    (folder / "consortium.pub").write_bytes(CONSORTIUM.public.to_pem())
    (folder / "roster.json").write_bytes(roster(*sites).to_bytes())
    return folder / "roster.json"


def witness_file(path: Path, *statements) -> Path:
    plainly = [one.model_dump(mode="json") for one in statements]
    path.write_bytes(canonical.encode({"v": 1, "statements": plainly}) + b"\n")
    return path


def tamper(path: Path, *statements: str) -> None:
    with sqlite3.connect(path) as db:
        db.execute("DROP TRIGGER no_update")
        db.execute("DROP TRIGGER no_delete")
        for each in statements:
            db.execute(each)
    db.close()


# -- report --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_ledger_gives_the_same_bytes_wherever_it_lies(tmp_path, kind) -> None:
    here = written(tmp_path / "here", kind)
    there = shutil.copy(here, tmp_path / "copy.sqlite")
    for path, out in ((here, "a"), (there, "b")):
        outcome = call("report", path, "--out", tmp_path / out)
        assert outcome.exit_code == 0, outcome.exception
    for name in FILES:
        first, second = ((tmp_path / out / name).read_bytes() for out in "ab")
        assert first == second
        assert str(tmp_path).encode() not in first
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == FILES


def test_the_terminal_shows_what_is_spent_and_the_json_is_the_file(tmp_path) -> None:
    path = written(tmp_path, "plain")
    shown = call("report", path, "--out", tmp_path / "out").stdout
    assert "ulm" in shown
    assert "privacy-report.html" in shown
    printed = call("report", path, "--json").stdout
    assert printed == (tmp_path / "out" / "privacy-report.json").read_text(encoding="utf-8")
    report = PrivacyReport.model_validate_json(printed)
    assert report.ledgers[0].site == "ulm"


def test_a_run_folder_stands_for_all_its_ledgers_and_brings_roster_and_witness(tmp_path) -> None:
    run = tmp_path / "run"
    (run / "ledgers").mkdir(parents=True)
    statements = []
    for site in ("ulm", "bonn"):
        ledger = play(create(run / "ledgers", site=site), "first", TRAINING, 3)
        statements += [statement(ledger, "ulm"), statement(ledger, "bonn")]
        ledger.close()
    consortium_files(run, "ulm", "bonn")
    witness_file(run / "witness.json", *statements)
    report = PrivacyReport.model_validate_json(call("report", run, "--json").stdout)
    assert [one.site for one in report.ledgers] == ["bonn", "ulm"]
    for one in report.ledgers:
        assert one.integrity.key_source == "roster"
        assert {seen.signer for seen in one.integrity.witnesses} == {"ulm", "bonn"}
    tamper(run / "ledgers" / "ulm.sqlite", "DELETE FROM entries WHERE seq > 6")
    assert "behind its witness" in refused(IntegrityError, "report", run, "--json")


def test_what_is_missing_is_named(tmp_path) -> None:
    path = written(tmp_path, "plain")
    assert "no ledger at" in refused(UsageError, "report", tmp_path / "nope.sqlite")
    assert "no ledgers/*.sqlite" in refused(UsageError, "report", tmp_path)
    assert "summary.json" in refused(UsageError, "report", path, "--run", tmp_path)
    (tmp_path / "file").write_text("x")
    wrong = refused(UsageError, "report", path, "--out", tmp_path / "file")
    assert "cannot write" in wrong
    assert "two ledgers of ulm" in refused(UsageError, "report", path, path)


def test_what_is_no_ledger_is_refused(tmp_path) -> None:
    (tmp_path / "x.sqlite").write_text("no database")
    assert "cannot be read" in refused(IntegrityError, "report", tmp_path / "x.sqlite")


def test_a_ledger_is_held_against_the_run_that_is_given_with_it(tmp_path) -> None:
    path = written(tmp_path, "plain")
    run = tmp_path / "run"
    run.mkdir()
    consortium_files(run, "bonn")
    assert "not in the roster" in refused(IntegrityError, "report", path, "--run", run)


# -- verify --------------------------------------------------------------------------------------


def test_a_whole_ledger_is_said_to_be_whole_and_by_which_key(tmp_path) -> None:
    path = written(tmp_path, "plain")
    hexadecimal = key_of("ulm").public_key().public_bytes_raw().hex()
    files = consortium_files(tmp_path, "ulm", "bonn")
    for options, source in (
        ((), "the ledger itself states"),
        (("--public-key", hexadecimal), "that was given"),
        (("--roster", files), "consortium certified"),
    ):
        said = call("verify", path, *options).stdout
        assert "entries: 22" in said
        assert hexadecimal in said
        assert source in said
        assert "none given" in said


def test_what_others_saw_is_named_and_held(tmp_path) -> None:
    ledger = plain(tmp_path)
    witness = witness_file(
        tmp_path / "witness.json", statement(ledger, "ulm"), statement(ledger, "bonn", seq=9)
    )
    ledger.close()
    files = consortium_files(tmp_path, "ulm", "bonn")
    said = call("verify", tmp_path / "ulm.sqlite", "--roster", files, "--witness", witness).stdout
    assert "up to entry 22" in said
    assert "by other sites: bonn" in said


def test_a_ledger_that_was_cut_is_behind_its_witness(tmp_path) -> None:
    ledger = plain(tmp_path)
    witness = witness_file(tmp_path / "witness.json", statement(ledger, "bonn"))
    ledger.close()
    files = consortium_files(tmp_path, "ulm", "bonn")
    path = tmp_path / "ulm.sqlite"
    tamper(path, "DELETE FROM entries WHERE seq > 20")
    assert call("verify", path, "--roster", files).exit_code == 0
    wrong = refused(IntegrityError, "verify", path, "--roster", files, "--witness", witness)
    assert "ends at entry 20, and bonn saw entry 22" in wrong


def test_a_ledger_that_was_rolled_back_and_went_on_is_another_history(tmp_path) -> None:
    ledger = play(create(tmp_path), "first", TRAINING, 9, charged=3)
    ledger.close()
    path = tmp_path / "ulm.sqlite"
    shutil.copy(path, tmp_path / "old.sqlite")
    ledger = Ledger.open(path, key_of("ulm"), lambda: "2026-05-01T00:00:00+00:00")
    ledger.commit(ledger.reserve("first", 4, 1), "a" * 64)
    witness = witness_file(tmp_path / "witness.json", statement(ledger, "bonn"))
    ledger.close()
    shutil.copy(tmp_path / "old.sqlite", path)
    ledger = Ledger.open(path, key_of("ulm"), lambda: "2026-06-01T00:00:00+00:00")
    ledger.commit(ledger.reserve("first", 4, 1), "b" * 64)
    ledger.close()
    files = consortium_files(tmp_path, "ulm", "bonn")
    wrong = refused(IntegrityError, "verify", path, "--roster", files, "--witness", witness)
    assert "entry 10: bonn saw another entry" in wrong


def test_a_forged_statement_is_refused_and_one_of_another_ledger_is_not_held_against_it(
    tmp_path,
) -> None:
    ledger = plain(tmp_path)
    genuine = statement(ledger, "bonn")
    ledger.close()
    other = play(create(tmp_path, site="bonn"), "x", TRAINING, 9)
    elsewhere = statement(other, "bonn")
    other.close()
    files, path = consortium_files(tmp_path, "ulm", "bonn"), tmp_path / "ulm.sqlite"
    witness = witness_file(tmp_path / "witness.json", elsewhere)
    outcome = call("verify", path, "--roster", files, "--witness", witness)
    assert outcome.exit_code == 0
    assert "none given" in outcome.stdout
    forged = genuine.model_copy(update={"signature": elsewhere.signature})
    witness_file(witness, forged)
    assert "forged" in refused(
        IntegrityError, "verify", path, "--roster", files, "--witness", witness
    )


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            "UPDATE entries SET body = replace(body, '1.1', '9.1') WHERE seq = 3",
            "entry 3: its body",
        ),
        (
            "UPDATE entries SET body = replace(body, 'ulm', 'jena') WHERE seq = 1",
            "entry 1: its bod",
        ),
        ("DELETE FROM entries WHERE seq = 4", "entry 4: it is missing"),
        ("DELETE FROM entries WHERE seq = 1", "entry 1: it is missing"),
        ("DELETE FROM entries", "does not start with a budget"),
        ("DROP TABLE entries", "cannot be read"),
    ],
)
def test_the_first_bad_entry_is_named_with_what_it_means(tmp_path, change, complaint) -> None:
    path = written(tmp_path, "plain")
    tamper(path, change)
    assert complaint in refused(IntegrityError, "verify", path)
    assert complaint in refused(IntegrityError, "report", path, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_sites_key_is_found_out(tmp_path) -> None:
    path = written(tmp_path, "plain")
    other = key_of("bonn").public_key().public_bytes_raw().hex()
    assert "entry 1: it is not signed" in refused(
        IntegrityError, "verify", path, "--public-key", other
    )
    files = consortium_files(tmp_path, "bonn")
    assert "not in the roster" in refused(IntegrityError, "verify", path, "--roster", files)


def test_a_forgers_ledger_with_a_key_of_his_own_fails_against_the_roster(tmp_path) -> None:
    path, rules = tmp_path / "ulm.sqlite", DatasetPolicy(Budget(8.0, 1e-5))
    Ledger.create(path, key_of("thief"), ("ulm", "ward"), rules, ticking(), 10).close()
    assert call("verify", path).exit_code == 0
    files = consortium_files(tmp_path, "ulm")
    assert "entry 1: it is not signed" in refused(IntegrityError, "verify", path, "--roster", files)


def test_wrong_options_are_named(tmp_path) -> None:
    path = written(tmp_path, "plain")
    files = consortium_files(tmp_path, "ulm")
    assert "64 hexadecimal digits" in refused(UsageError, "verify", path, "--public-key", "zz")
    opened = Ledger.open(path, key_of("ulm"), ticking())
    witness = witness_file(tmp_path / "w.json", statement(opened, "ulm"))
    opened.close()
    assert "--roster with it" in refused(UsageError, "verify", path, "--witness", witness)
    hexadecimal = key_of("ulm").public_key().public_bytes_raw().hex()
    both = ("--public-key", hexadecimal, "--roster", files)
    assert "not both" in refused(UsageError, "verify", path, *both)
    assert "cannot read" in refused(
        UsageError, "verify", path, "--roster", files, "--witness", tmp_path / "none.json"
    )
    (tmp_path / "bad.json").write_text("{}\n")
    assert "no witness file" in refused(
        IntegrityError, "verify", path, "--roster", files, "--witness", tmp_path / "bad.json"
    )
    assert "roster.json" in refused(UsageError, "verify", path, "--roster", tmp_path / "r.json")


# -- amend ---------------------------------------------------------------------------------------


def policy_file(folder: Path, **changes: object) -> Path:
    facts = {
        "site": "ulm", "dataset": "ward", "public_rows": 4000, "tasks": ("heart",),
        "split_seed": 1, "epsilon_budget": 12.0, "delta": 1e-5,
    }  # fmt: skip
    SitePolicy.model_validate(facts | changes).write(folder / "site.toml")
    return folder / "site.toml"


def identity_file(folder: Path, site: str) -> Path:
    pem = key_of(site).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "identity.pem").write_bytes(pem)
    return folder / "identity.pem"


def amendment(folder: Path, site: str = "ulm", reason: str = "second study", **policy: object):
    return (
        "amend", folder / "ulm.sqlite", "--policy", policy_file(folder, **policy),
        "--key", identity_file(folder, site), "--reason", reason, "--role", "DPO",
    )  # fmt: skip


def test_a_budget_is_amended_with_its_reason_and_shows_in_the_report(tmp_path) -> None:
    path = written(tmp_path, "plain")
    outcome = call(*amendment(tmp_path))
    assert outcome.exit_code == 0
    assert "amended: entry 23" in outcome.stdout
    report = json.loads(call("report", path, "--json").stdout)
    first, second = report["ledgers"][0]["policies"]
    assert (first["epsilon"], second["epsilon"]) == (8.0, 12.0)
    assert (second["reason"], second["role"]) == ("second study", "DPO")


def test_an_amendment_that_is_none_or_not_the_sites_is_refused(tmp_path) -> None:
    path = written(tmp_path, "plain")
    before = path.read_bytes()
    assert "expected the same site" in refused(UsageError, *amendment(tmp_path, dataset="other"))
    assert "reason" in refused(UsageError, *amendment(tmp_path, reason=" "))
    assert "not signed" in refused(IntegrityError, *amendment(tmp_path, site="bonn"))
    missing = list(amendment(tmp_path))
    missing[5] = tmp_path / "none.pem"
    assert "cannot read the key" in refused(UsageError, *missing)
    missing[5] = policy_file(tmp_path)
    assert "no private key" in refused(UsageError, *missing)
    assert path.read_bytes() == before
    assert call(*amendment(tmp_path)).exit_code == 0
    assert "holds this budget already" in refused(UsageError, *amendment(tmp_path))
