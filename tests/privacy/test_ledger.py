"""The ledger: nothing is forgotten, nothing forged, nothing overspent, whatever is killed."""

import json
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.errors import (
    BudgetExhausted,
    HedgerowError,
    IntegrityError,
    PrivacyRefusal,
    UsageError,
)
from privacy.account import Charge, ChargePlan
from privacy.accountant import cost
from privacy.budget import Budget, DatasetPolicy
from privacy.event import NonPrivate, PoissonSampledGaussian
from privacy.ledger import Ledger, verify
from privacy.ledger_entry import written

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
EVENT = PoissonSampledGaussian(0.25, 3.0, 3)


def clock() -> str:
    return "2026-01-01T00:00:00+00:00"


def create(path, epsilon: float = 1.0, **policy) -> Ledger:
    rules = DatasetPolicy(Budget(epsilon, 1e-3), **policy)
    return Ledger.create(path, KEY, ("ulm", "heart"), rules, clock)


def planned(run: str = "r", rounds: int = 10, event=EVENT, cohort: int = 3) -> ChargePlan:
    return ChargePlan(run, Charge(event), rounds, cohort)


def opened(path, epsilon: float = 1.0, rounds: int = 10, event=EVENT) -> Ledger:
    ledger = create(path, epsilon)
    ledger.register(planned(rounds=rounds, event=event))
    return ledger


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ulm.sqlite"


def test_what_is_reserved_counts_and_what_is_voided_does_not(path) -> None:
    ledger = opened(path)
    assert ledger.spent().epsilon == 0
    first = ledger.reserve("r", 1, 1)
    assert ledger.spent() == cost([EVENT], 1e-3)
    ledger.commit(first, "ab" * 32)
    second = ledger.reserve("r", 2, 1)
    assert ledger.spent() == cost([EVENT] * 2, 1e-3)
    ledger.void(second, "the journal holds no contribution for this round")
    assert ledger.spent() == cost([EVENT], 1e-3)
    kinds = [entry.kind for entry in ledger.entries()]
    assert kinds == ["budget", "plan", "reserve", "commit", "reserve", "void"]


def test_a_charge_is_refused_as_often_as_it_is_asked_for_and_noted_once(path) -> None:
    ledger = create(path, 1e-6)
    for run in ("r", "s"):
        ledger.register(planned(run))
    for _ in range(3):
        for place in (("r", 1, 1), ("r", 1, 2), ("r", 2, 1), ("s", 1, 1)):
            with pytest.raises(BudgetExhausted, match=r"of epsilon 1e-06 at delta .*is spent"):
                ledger.reserve(*place)
    kinds = [entry.kind for entry in ledger.entries()]
    assert kinds == ["budget", *["plan"] * 2, *["refuse"] * 4]
    assert {entry.body["reason"] for entry in ledger.entries()[3:]} == {"budget"}


def test_nothing_is_charged_that_was_not_planned(path) -> None:
    ledger = create(path)
    for ask in (lambda: ledger.reserve("r", 1, 1), lambda: ledger.require_admitted("r")):
        with pytest.raises(UsageError, match="registered no plan"):
            ask()
    assert len(ledger.entries()) == 1


def test_a_run_has_one_plan(path) -> None:
    ledger = opened(path)
    ledger.register(planned())
    assert len(ledger.entries()) == 2
    for other in (planned(rounds=11), planned(cohort=4), planned(event=NonPrivate())):
        with pytest.raises(UsageError, match="another plan"):
            ledger.register(other)


def test_a_retry_finds_its_reservation_and_pays_nothing(path) -> None:
    ledger = opened(path)
    assert ledger.reservation("r", 1, 1) is None
    seq = ledger.reserve("r", 1, 1)
    found = ledger.reservation("r", 1, 1)
    assert found is not None
    assert (found.seq, found.charge, found.committed) == (seq, Charge(EVENT), False)
    ledger.commit(seq, "00" * 32)
    assert ledger.reservation("r", 1, 1).committed
    assert ledger.reservation("r", 1, 2) is None
    with pytest.raises(UsageError, match="reserved already"):
        ledger.reserve("r", 1, 1)
    voided = ledger.reserve("r", 2, 1)
    ledger.void(voided, "proof")
    assert ledger.reservation("r", 2, 1) is None
    assert ledger.reserve("r", 2, 1) > voided


def test_a_reservation_is_settled_once(path) -> None:
    ledger = opened(path)
    seq = ledger.reserve("r", 1, 1)
    with pytest.raises(UsageError, match="proof"):
        ledger.void(seq, "  ")
    ledger.commit(seq, "00" * 32)
    for again in (lambda: ledger.commit(seq, "00" * 32), lambda: ledger.void(seq, "p")):
        with pytest.raises(UsageError, match="no open reservation"):
            again()
    with pytest.raises(UsageError, match="no open reservation"):
        ledger.commit(1, "00" * 32)


def test_without_a_finite_budget_a_release_without_privacy_is_recorded(path) -> None:
    ledger = opened(path, float("inf"), event=NonPrivate())
    ledger.reserve("r", 1, 1)
    assert ledger.spent().epsilon == float("inf")
    with pytest.raises(BudgetExhausted):
        opened(path.with_name("b"), 1e6, event=NonPrivate()).reserve("r", 1, 1)


def test_a_reopened_ledger_remembers_everything(path) -> None:
    ledger = opened(path)
    ledger.reserve("r", 1, 1)
    head = ledger.head()
    ledger.close()
    again = Ledger.open(path, KEY, clock)
    assert again.head() == head
    assert again.spent() == cost([EVENT], 1e-3)
    assert again.account().in_force() == DatasetPolicy(Budget(1.0, 1e-3))
    assert again.account().plans == Ledger.open(path, KEY, clock).account().plans
    assert verify(path, KEY.public_key()) == again.entries()


def test_two_open_ledgers_see_what_the_other_wrote(path) -> None:
    one = opened(path)
    other = Ledger.open(path, KEY, clock)
    seq = one.reserve("r", 1, 1)
    assert other.reservation("r", 1, 1).seq == seq
    other.commit(seq, "00" * 32)
    assert one.reservation("r", 1, 1).committed
    assert one.head() == other.head()


def test_a_file_that_is_cut_or_exchanged_while_it_is_open_is_noticed(path) -> None:
    ledger = opened(path)
    ledger.reserve("r", 1, 1)
    tamper(path, "DELETE FROM entries WHERE seq = 3")
    with pytest.raises(IntegrityError, match=r"entry 3: it is not what stood there before"):
        ledger.head()


# -- policy ---------------------------------------------------------------------------------


def test_after_its_end_nothing_is_charged_whatever_the_clock_says_later(tmp_path) -> None:
    now = ["2026-01-01T00:00:00+00:00"]
    rules = DatasetPolicy(Budget(1.0, 1e-3), expires="2026-06-01T00:00:00+00:00")
    ledger = Ledger.create(tmp_path / "l", KEY, ("ulm", "heart"), rules, lambda: now[0])
    ledger.register(planned())
    ledger.reserve("r", 1, 1)
    now[0] = "2026-06-01T00:00:00+00:00"
    with pytest.raises(PrivacyRefusal, match="expired at 2026-06-01"):
        ledger.reserve("r", 2, 1)
    assert ledger.entries()[-1].body["reason"] == "policy"
    now[0] = "2026-01-02T00:00:00+00:00"
    with pytest.raises(PrivacyRefusal, match="expired"):
        ledger.reserve("r", 3, 1)
    times = [entry.body["at"] for entry in ledger.entries()]
    assert times == sorted(times)


def test_a_clock_that_goes_back_changes_no_count(tmp_path) -> None:
    now = ["2026-01-01T00:00:00+00:00"]
    rules = DatasetPolicy(Budget(1.0, 1e-3))
    ledger = Ledger.create(tmp_path / "l", KEY, ("ulm", "heart"), rules, lambda: now[0])
    ledger.register(planned())
    ledger.reserve("r", 1, 1)
    now[0] = "1999-01-01T00:00:00+00:00"
    ledger.reserve("r", 2, 1)
    assert ledger.spent() == cost([EVENT] * 2, 1e-3)
    assert ledger.entries()[-1].body["at"] == "2026-01-01T00:00:00+00:00"


def test_only_the_listed_mechanisms_are_charged(tmp_path) -> None:
    only = create(tmp_path / "a", mechanisms=("discrete_laplace",))
    with pytest.raises(PrivacyRefusal, match="does not allow poisson_sampled_gaussian"):
        only.register(planned())
    create(tmp_path / "b", mechanisms=("poisson_sampled_gaussian",)).register(planned())


def test_a_sum_of_fewer_sites_than_the_dataset_demands_is_refused(tmp_path) -> None:
    ledger = create(tmp_path / "a", minimum_cohort=4)
    with pytest.raises(PrivacyRefusal, match="a sum of 3 sites is too small"):
        ledger.register(planned(cohort=3))
    ledger.register(planned(cohort=4))


def test_a_budget_is_amended_with_a_reason_and_a_role_and_not_otherwise(path) -> None:
    ledger = opened(path, 1e-6)
    with pytest.raises(BudgetExhausted):
        ledger.reserve("r", 1, 1)
    more = DatasetPolicy(Budget(1.0, 1e-3))
    for reason, role in (("", "officer"), ("approved", " ")):
        with pytest.raises(UsageError, match="expected words"):
            ledger.amend(more, reason, role)
    ledger.amend(more, "the ethics board approved the second study", "data protection officer")
    ledger.reserve("r", 1, 1)
    entry = next(e for e in reversed(ledger.entries()) if e.kind == "budget")
    assert entry.body["role"] == "data protection officer"
    with pytest.raises(UsageError, match="nothing was written"):
        ledger.amend(more, "again", "officer")
    assert Ledger.open(path, KEY, clock).account().in_force() == more


def test_an_audit_is_kept_and_costs_nothing(path) -> None:
    ledger = opened(path)
    ledger.record_audit({"kind": "mechanism", "verdict": "PASS"})
    assert ledger.entries()[-1].body["result"] == {"kind": "mechanism", "verdict": "PASS"}
    assert ledger.spent().epsilon == 0


def test_a_ledger_is_never_started_over(path) -> None:
    create(path)
    with pytest.raises(UsageError, match="exists already"):
        create(path)
    with pytest.raises(UsageError, match="there is no ledger"):
        Ledger.open(path.with_name("other"), KEY, clock)
    with pytest.raises(UsageError, match="there is no ledger"):
        verify(path.with_name("other"), KEY.public_key())


def filled(path) -> None:
    ledger = opened(path)
    for number in range(1, 4):
        ledger.commit(ledger.reserve("r", number, 1), "00" * 32)
    ledger.close()


def tamper(path, *statements: str) -> None:
    with sqlite3.connect(path) as db:
        db.execute("DROP TRIGGER no_update")
        db.execute("DROP TRIGGER no_delete")
        for statement in statements:
            db.execute(statement)
    db.close()


@pytest.mark.parametrize(
    ("statements", "complaint"),
    [
        (
            ["UPDATE entries SET body = replace(body, '3.0', '9.0') WHERE seq = 3"],
            "entry 3: its body",
        ),
        (["DELETE FROM entries WHERE seq = 3"], "entry 3: it is missing"),
        (["DELETE FROM entries WHERE seq = 1"], "entry 1: it is missing"),
        (
            [
                "UPDATE entries SET seq = 99 WHERE seq = 2",
                "UPDATE entries SET seq = 2 WHERE seq = 4",
                "UPDATE entries SET seq = 4 WHERE seq = 99",
            ],
            "entry 2: it does not follow",
        ),
        (
            ["UPDATE entries SET signature = substr(signature, 3) || '00' WHERE seq = 5"],
            "entry 5: it is not signed",
        ),
        (["UPDATE entries SET signature = 'zz' WHERE seq = 5"], "entry 5: it is not signed"),
        (["DELETE FROM entries"], "does not start with a budget"),
        (
            ["UPDATE entries SET signature = replace(signature, 'a', 'A') WHERE seq = 5"],
            "entry 6: it does not follow",
        ),
        (
            ["UPDATE entries SET signature = substr(signature, 3) || '00' WHERE seq = 8"],
            "entry 8: it is not signed",
        ),
        (["DROP TABLE entries"], "cannot be read"),
    ],
)  # fmt: skip
def test_what_was_changed_is_named(path, statements, complaint) -> None:
    filled(path)
    tamper(path, *statements)
    with pytest.raises(IntegrityError, match=complaint):
        verify(path, KEY.public_key())
    with pytest.raises(IntegrityError, match=complaint):
        Ledger.open(path, KEY, clock)


def test_an_entry_of_another_key_is_not_the_sites(path) -> None:
    filled(path)
    with pytest.raises(IntegrityError, match="entry 1: it is not signed by the site"):
        verify(path, Ed25519PrivateKey.generate().public_key())


def test_a_forger_who_makes_every_hash_anew_lacks_the_signature(path) -> None:
    filled(path)
    with sqlite3.connect(path) as db:
        rows = db.execute("SELECT seq, body, hash, signature FROM entries ORDER BY seq").fetchall()
        db.execute("DROP TRIGGER no_delete")
        db.execute("DELETE FROM entries WHERE seq > 2")
        last = rows[1]
        forger = Ed25519PrivateKey.generate()
        for _, text, *_ in (rows[4], rows[5]):  # one round left out
            body = json.loads(text)
            facts = {k: v for k, v in body.items() if k not in ("v", "seq", "kind", "at", "before")}
            if body["kind"] == "commit":
                facts["reservation"] = last[0]
            last = written(body["kind"], facts, body["at"], last, forger)
            db.execute("INSERT INTO entries VALUES (?, ?, ?, ?)", last)
    db.close()
    with pytest.raises(IntegrityError, match="entry 3: it is not signed by the site"):
        verify(path, KEY.public_key())


def test_what_the_sites_key_signed_must_still_make_sense(path) -> None:
    filled(path)
    with sqlite3.connect(path) as db:
        last = db.execute("SELECT seq, body, hash, signature FROM entries WHERE seq = 8").fetchone()
        row = written("commit", {"reservation": 77, "released_sha256": ""}, "now", last, KEY)
        db.execute("INSERT INTO entries VALUES (?, ?, ?, ?)", row)
    db.close()
    with pytest.raises(IntegrityError, match="entry 9: commit makes no sense to this version"):
        verify(path, KEY.public_key())


def test_a_cut_tail_shows_against_an_anchored_head(path) -> None:
    filled(path)
    anchored = verify(path, KEY.public_key())[-1]
    tamper(path, "DELETE FROM entries WHERE seq = 8")
    left = verify(path, KEY.public_key())
    assert left[-1].seq < anchored.seq


def test_the_file_itself_refuses_updates_and_deletes(path) -> None:
    filled(path)
    with sqlite3.connect(path) as db:
        for statement in ("UPDATE entries SET body = ''", "DELETE FROM entries"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                db.execute(statement)
    db.close()


def test_what_is_no_ledger_is_an_integrity_error(path) -> None:
    path.write_bytes(b"hello" * 1000)
    with pytest.raises(IntegrityError, match="cannot be"):
        Ledger.open(path, KEY, clock)


def test_a_disk_that_refuses_charges_nothing(path) -> None:
    ledger = opened(path, rounds=100, event=PoissonSampledGaussian(0.01, 50.0, 1))
    before = ledger.head()
    pages = ledger._db.execute("PRAGMA page_count").fetchone()[0]
    ledger._db.execute(f"PRAGMA max_page_count = {pages}")

    def spend_until_the_disk_is_full() -> None:
        nonlocal before
        for number in range(1, 100):
            ledger.reserve("r", number, 1)
            before = ledger.head()

    with pytest.raises(HedgerowError, match="nothing was charged"):
        spend_until_the_disk_is_full()
    ledger.close()
    assert Ledger.open(path, KEY, clock).head() == before


def _spend(path, run: str, results) -> None:
    ledger = Ledger.open(path, KEY, clock)
    for number in range(1, 20):
        try:
            ledger.register(planned(run, 20))
            ledger.reserve(run, number, 1)
            results.put(run)
        except BudgetExhausted:
            return


def test_two_processes_cannot_overspend_together(path) -> None:
    create(path).close()
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    racers = [context.Process(target=_spend, args=(path, run, results)) for run in ("a", "b")]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(60)
    admitted = sum(e.kind == "reserve" for e in verify(path, KEY.public_key()))
    assert admitted == results.qsize() > 0
    assert cost([EVENT] * admitted, 1e-3).epsilon <= 1.0
    ledger = Ledger.open(path, KEY, clock)
    assert ledger.account().filtered() <= 1.0 or ledger.account().owner() is not None
    for run in ("a", "b"):
        with pytest.raises(BudgetExhausted):
            ledger.require_admitted(run)


KILLED = """
import os, signal, sys
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pathlib import Path
from privacy.ledger import Ledger
path, after = Path(sys.argv[1]), int(sys.argv[2])
ledger = Ledger.open(path, Ed25519PrivateKey.from_private_bytes(b"k" * 32), lambda: "now")
steps = 0
def watch(statement):
    global steps
    steps += 1
    if steps == after:
        os.kill(os.getpid(), signal.SIGKILL)
ledger._db.set_trace_callback(watch)
number = len(ledger.entries())
while True:
    number += 1
    seq = ledger.reserve("r", number, 1)
    print("reserved", flush=True)
    ledger.commit(seq, "00" * 32)
"""


def kill_after(path, statements: int) -> int:
    """Run until the n-th SQL statement, kill -9 there; returns how many charges were reported."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(path), str(statements)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    return done.stdout.count("reserved")


def reported_and_counted(path, kills) -> None:
    opened(path, 10.0, rounds=10_000, event=PoissonSampledGaussian(0.01, 50.0, 1)).close()
    reported = 0
    for statements in kills:
        reported += kill_after(path, statements)
        reserved = sum(e.kind == "reserve" for e in verify(path, KEY.public_key()))
        assert reserved >= reported
    assert reported > 0


def test_no_kill_makes_it_forget_a_charge_it_reported(path) -> None:
    reported_and_counted(path, range(4, 24, 4))


@pytest.mark.slow
def test_no_kill_at_any_of_a_hundred_points_makes_it_forget(path) -> None:
    reported_and_counted(path, range(1, 101))
