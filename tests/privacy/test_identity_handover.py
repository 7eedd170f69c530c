"""A ledger under a new key: nothing is forgotten, and nobody but the old key can hand it over."""

import sqlite3

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.errors import IntegrityError, UsageError
from privacy.account import Charge, ChargePlan
from privacy.budget import Budget, DatasetPolicy
from privacy.event import PoissonSampledGaussian
from privacy.identity_handover import handover_facts, successor_of
from privacy.ledger import Ledger, stated_public_key, verify
from privacy.ledger_entry import link, written
from privacy.report.source import Trust, read_ledger

OLD, NEW, THIRD, EVE = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in range(4))
AT = "2026-01-01T00:00:00+00:00"


def clock() -> str:
    return AT


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.sqlite"
    policy = DatasetPolicy(Budget(4.0, 1e-3))
    ledger = Ledger.create(path, OLD, ("a", "rows"), policy, clock)
    ledger.register(ChargePlan("r", Charge(PoissonSampledGaussian(0.25, 3.0, 3)), 10, 3))
    ledger.reserve("r", 1, 1)
    ledger.close()
    return path


def hex_of(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes_raw().hex()


def rows(path) -> list[tuple[int, str, str, str]]:
    with sqlite3.connect(path) as db:
        return db.execute("SELECT seq, body, hash, signature FROM entries ORDER BY seq").fetchall()


def put(path, row) -> None:
    with sqlite3.connect(path) as db:
        db.execute("INSERT INTO entries VALUES (?, ?, ?, ?)", row)


def handed_over(path) -> Ledger:
    ledger = Ledger.open(path, OLD, clock)
    ledger.hand_over(NEW)
    return ledger


def test_what_was_spent_stays_spent_and_the_new_key_goes_on(path) -> None:
    ledger = handed_over(path)
    before = ledger.spent()
    ledger.reserve("r", 2, 1)  # by the same open ledger
    ledger.close()
    again = Ledger.open(path, NEW, clock)
    assert again.spent().epsilon > before.epsilon
    again.hand_over(THIRD)
    assert [entry.kind for entry in verify(path, THIRD.public_key())] == [
        "budget", "plan", "reserve", "identity", "reserve", "identity"
    ]  # fmt: skip
    assert stated_public_key(path) == hex_of(THIRD)


def test_the_old_key_opens_it_no_more_and_cannot_go_on(path) -> None:
    still_open = Ledger.open(path, OLD, clock)
    handed_over(path)
    for attempt in (
        lambda: Ledger.open(path, OLD, clock),
        lambda: still_open.reserve("r", 2, 1),
        lambda: verify(path, OLD.public_key()),
    ):
        with pytest.raises(IntegrityError, match="is not signed by the site"):
            attempt()
    last = rows(path)[-1]
    put(path, written("void", {"reservation": 3, "proof": "x"}, AT, last, OLD))
    with pytest.raises(IntegrityError, match="entry 5: it is not signed by the site"):
        verify(path, NEW.public_key())


def test_nobody_hands_over_but_the_key_in_force(path) -> None:
    last = rows(path)[-1]
    put(path, written("identity", handover_facts(EVE, NEW, link(last)), AT, last, NEW))
    with pytest.raises(
        IntegrityError, match=r"entry 4: identity makes no sense .*did not hand over"
    ):
        verify(path, NEW.public_key())


def test_a_handover_cannot_be_moved_to_another_place(path) -> None:
    last = rows(path)[-1]
    facts = handover_facts(OLD, NEW, link(rows(path)[0]))
    put(path, written("identity", facts, AT, last, NEW))
    with pytest.raises(IntegrityError, match="did not hand over"):
        verify(path, NEW.public_key())
    body = handover_facts(OLD, NEW, "0" * 64) | {"before": "0" * 64}
    assert successor_of(hex_of(OLD), body) == hex_of(NEW)
    for changed in ({"public_key": hex_of(EVE)}, {"before": "1" * 64}):
        with pytest.raises(ValueError, match="did not hand over"):
            successor_of(hex_of(OLD), body | changed)


def test_a_change_before_the_handover_shows(path) -> None:
    handed_over(path).close()
    with sqlite3.connect(path) as db:
        db.execute("DROP TRIGGER no_update")
        db.execute("UPDATE entries SET body = replace(body, '\"round\":1', '\"round\":2')")
    with pytest.raises(IntegrityError, match="entry 3: its body was changed"):
        verify(path, NEW.public_key())


def test_a_forged_entry_after_the_handover_is_named(path) -> None:
    handed_over(path).close()
    last = rows(path)[-1]
    put(path, written("audit", {"result": {}}, AT, last, EVE))
    with pytest.raises(IntegrityError, match="entry 5: it is not signed by the site"):
        verify(path, NEW.public_key())


def test_the_same_key_is_no_handover(path) -> None:
    ledger = Ledger.open(path, OLD, clock)
    with pytest.raises(UsageError, match="signed by this key already"):
        ledger.hand_over(OLD)
    assert len(ledger.entries()) == 3


def test_the_report_reads_it_by_the_key_that_it_states(path) -> None:
    handed_over(path).close()
    assert read_ledger(path, Trust()).public_key == hex_of(NEW)
