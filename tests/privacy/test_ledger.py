"""The ledger: nothing is forgotten, nothing forged, nothing overspent, whatever is killed."""

import itertools
import math
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.errors import BudgetExhausted, HedgerowError, IntegrityError, UsageError
from privacy.accountant import cost
from privacy.event import NonPrivate, PoissonSampledGaussian
from privacy.ledger import Budget, Charge, Ledger, verify

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
EVENT = PoissonSampledGaussian(0.25, 3.0, 3)


def clock() -> str:
    return "2026-01-01T00:00:00+00:00"


def create(path, epsilon: float = 1.0) -> Ledger:
    return Ledger.create(path, KEY, ("ulm", "heart"), Budget(epsilon, 1e-3), clock)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ulm.sqlite"


def test_what_is_reserved_counts_and_what_is_voided_does_not(path) -> None:
    ledger = create(path)
    assert ledger.spent().epsilon == 0
    first = ledger.reserve("r", 1, 1, Charge(EVENT))
    assert ledger.spent() == cost([EVENT], 1e-3)
    ledger.commit(first, "ab" * 32)
    second = ledger.reserve("r", 2, 1, Charge(EVENT))
    assert ledger.spent() == cost([EVENT] * 2, 1e-3)
    ledger.void(second, "the journal holds no contribution for this round")
    assert ledger.spent() == cost([EVENT], 1e-3)
    assert [e.kind for e in ledger.entries()] == ["budget", "reserve", "commit", "reserve", "void"]


def test_the_budget_admits_exactly_what_it_covers(path) -> None:
    most = next(n for n in itertools.count(1) if cost([EVENT] * (n + 1), 1e-3).epsilon > 1.0)
    ledger = create(path)
    for number in range(1, most + 1):
        ledger.require_affordable(Charge(EVENT))
        ledger.reserve("r", number, 1, Charge(EVENT))
    with pytest.raises(BudgetExhausted, match=r"budget of epsilon 1 at delta 0\.001.*is spent"):
        ledger.require_affordable(Charge(EVENT))
    with pytest.raises(BudgetExhausted):
        ledger.reserve("r", most + 1, 1, Charge(EVENT))
    assert ledger.entries()[-1].kind == "refuse"
    assert ledger.spent() == cost([EVENT] * most, 1e-3)


def test_a_charge_is_refused_as_often_as_it_is_asked_for_and_noted_once(path) -> None:
    ledger = create(path, 1e-6)
    for _ in range(3):
        for place in (("r", 1, 1), ("r", 1, 2), ("r", 2, 1), ("s", 1, 1)):
            with pytest.raises(BudgetExhausted):
                ledger.reserve(*place, Charge(EVENT))
    kinds = [entry.kind for entry in ledger.entries()]
    assert kinds == ["budget", *["refuse"] * 4]


def test_a_budget_may_be_spent_to_its_last_bit_and_no_further(tmp_path) -> None:
    # The accountant has rounded outwards already.
    price = cost([EVENT], 1e-3).epsilon
    create(tmp_path / "enough.db", price).reserve("r", 1, 1, Charge(EVENT))
    with pytest.raises(BudgetExhausted):
        create(tmp_path / "less.db", math.nextafter(price, 0)).reserve("r", 1, 1, Charge(EVENT))


def test_other_runs_on_the_dataset_count(path) -> None:
    ledger = create(path, 0.5)
    ledger.reserve("one", 1, 1, Charge(EVENT))
    with pytest.raises(BudgetExhausted):
        ledger.reserve("other", 1, 1, Charge(EVENT))


def test_a_retry_finds_its_reservation_and_pays_nothing(path) -> None:
    ledger = create(path)
    assert ledger.reservation("r", 1, 1) is None
    seq = ledger.reserve("r", 1, 1, Charge(EVENT))
    found = ledger.reservation("r", 1, 1)
    assert found is not None
    assert (found.seq, found.event, found.committed) == (seq, EVENT, False)
    ledger.commit(seq, "00" * 32)
    assert ledger.reservation("r", 1, 1).committed
    assert ledger.reservation("r", 1, 2) is None
    with pytest.raises(UsageError, match="reserved already"):
        ledger.reserve("r", 1, 1, Charge(EVENT))
    voided = ledger.reserve("r", 2, 1, Charge(EVENT))
    ledger.void(voided, "proof")
    assert ledger.reservation("r", 2, 1) is None


def test_a_reservation_is_settled_once(path) -> None:
    ledger = create(path)
    seq = ledger.reserve("r", 1, 1, Charge(EVENT))
    with pytest.raises(UsageError, match="proof"):
        ledger.void(seq, "  ")
    ledger.commit(seq, "00" * 32)
    for again in (lambda: ledger.commit(seq, "00" * 32), lambda: ledger.void(seq, "p")):
        with pytest.raises(UsageError, match="no open reservation"):
            again()
    with pytest.raises(UsageError, match="no open reservation"):
        ledger.commit(1, "00" * 32)


def test_without_a_finite_budget_a_release_without_privacy_is_recorded(path) -> None:
    ledger = create(path, float("inf"))
    ledger.reserve("r", 1, 1, Charge(NonPrivate()))
    assert ledger.spent().epsilon == float("inf")
    with pytest.raises(BudgetExhausted):
        create(path.with_name("b"), 1e6).reserve("r", 1, 1, Charge(NonPrivate()))


def test_a_reopened_ledger_remembers_everything(path) -> None:
    ledger = create(path)
    ledger.reserve("r", 1, 1, Charge(EVENT))
    head = ledger.head()
    ledger.close()
    again = Ledger.open(path, KEY, clock)
    assert again.head() == head
    assert again.spent() == cost([EVENT], 1e-3)
    assert again.budget() == Budget(1.0, 1e-3)
    assert verify(path, KEY.public_key()) == again.entries()


def test_a_ledger_is_never_started_over(path) -> None:
    create(path)
    with pytest.raises(UsageError, match="exists already"):
        create(path)
    with pytest.raises(UsageError, match="there is no ledger"):
        Ledger.open(path.with_name("other"), KEY, clock)
    with pytest.raises(UsageError, match="there is no ledger"):
        verify(path.with_name("other"), KEY.public_key())


def filled(path) -> None:
    ledger = create(path)
    for number in range(1, 4):
        ledger.commit(ledger.reserve("r", number, 1, Charge(EVENT)), "00" * 32)
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
            ["UPDATE entries SET body = replace(body, '3.0', '9.0') WHERE seq = 2"],
            "entry 2: its body",
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
    with pytest.raises(IntegrityError, match="entry 1: it is not signed"):
        verify(path, Ed25519PrivateKey.generate().public_key())


def test_a_cut_tail_shows_against_an_anchored_head(path) -> None:
    filled(path)
    anchored = verify(path, KEY.public_key())[-1]
    tamper(path, "DELETE FROM entries WHERE seq = 7")
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
    ledger = create(path)
    before = ledger.head()
    pages = ledger._db.execute("PRAGMA page_count").fetchone()[0]
    ledger._db.execute(f"PRAGMA max_page_count = {pages}")

    def spend_until_the_disk_is_full() -> None:
        nonlocal before
        for number in range(1, 100):
            ledger.reserve("r", number, 1, Charge(PoissonSampledGaussian(0.01, 50.0, 1)))
            before = ledger.head()

    with pytest.raises(HedgerowError, match="nothing was charged"):
        spend_until_the_disk_is_full()
    ledger.close()
    assert Ledger.open(path, KEY, clock).head() == before


def _spend(path, run: str, results) -> None:
    ledger = Ledger.open(path, KEY, clock)
    for number in range(1, 20):
        try:
            ledger.reserve(run, number, 1, Charge(EVENT))
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
    assert cost([EVENT] * admitted, 1e-3).epsilon <= 1.0
    assert cost([EVENT] * (admitted + 1), 1e-3).epsilon > 1.0


KILLED = """
import os, signal, sys
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pathlib import Path
from privacy.event import PoissonSampledGaussian
from privacy.ledger import Ledger, Charge
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
    seq = ledger.reserve("r", number, 1, Charge(PoissonSampledGaussian(0.01, 50.0, 1)))
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
    create(path, 10.0).close()
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
