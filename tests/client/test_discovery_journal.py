"""Where a site stands in a discovery: said once, kept over a restart, in order."""

from pathlib import Path

import pytest

from client.discovery_journal import DiscoveryJournal
from client.journal import Journal
from federation.errors import ProtocolViolation


@pytest.fixture
def journal(tmp_path) -> Path:
    return tmp_path / "journal.sqlite"


def opened(path: Path) -> DiscoveryJournal:
    return Journal(path).discoveries


def test_the_counts_of_the_beginning_are_those_of_the_whole_discovery(journal) -> None:
    first = {"age": (3, 4), "sex": (5, 2)}
    assert opened(journal).bind_counts("d", first) == first
    assert opened(journal).bind_counts("d", {"age": (0, 7), "sex": (5, 2)}) == first
    assert opened(journal).bind_counts("other", {"age": (9,)}) == {"age": (9,)}


def test_a_step_has_one_set_of_centres_and_of_admitted_moves(journal) -> None:
    opened(journal).bind_centres("d", 1, "c1")
    opened(journal).bind_centres("d", 1, "c1")
    with pytest.raises(ProtocolViolation, match="other ones before"):
        opened(journal).bind_centres("d", 1, "c2")
    with pytest.raises(ProtocolViolation, match="other ones before"):
        opened(journal).settle("d", 1, "c2", "a1", 0)
    opened(journal).settle("d", 1, "c1", "a1", 1)
    opened(journal).settle("d", 1, "c1", "a1", 1)
    with pytest.raises(ProtocolViolation, match="other moves were admitted"):
        opened(journal).settle("d", 1, "c1", "a2", 0)
    assert opened(journal).standing("d", 2) == 1


def test_a_site_stands_where_it_was_settled_last_before_a_step(journal) -> None:
    book = opened(journal)
    assert book.standing("d", 1) is None
    for step, cluster in ((1, 2), (2, None), (5, 0)):
        book.bind_centres("d", step, f"c{step}")
        book.settle("d", step, f"c{step}", "a", cluster)
    book.bind_centres("d", 6, "c6")  # nothing moved: no counts were asked for
    assert [book.standing("d", step) for step in (1, 2, 3, 5, 6, 7)] == [None, 2, None, None, 0, 0]
    assert book.standing("other", 9) is None


def test_steps_are_answered_in_order(journal) -> None:
    book = opened(journal)
    with pytest.raises(ProtocolViolation, match="step 1: out of order"):
        book.settle("d", 1, "c1", "a", 0)
    for step in (1, 3):
        book.bind_centres("d", step, f"c{step}")
    with pytest.raises(ProtocolViolation, match="step 2: out of order"):
        book.bind_centres("d", 2, "c2")
    with pytest.raises(ProtocolViolation, match="step 1: out of order"):
        book.settle("d", 1, "c1", "a", 0)
    book.bind_centres("d", 1, "c1")  # said again as it was
    book.settle("d", 3, "c3", "a", 0)


def test_a_journal_from_before_there_were_discoveries_gets_the_tables(journal) -> None:
    old = Journal(journal)
    old._db.executescript("DROP TABLE discoveries; DROP TABLE discovery_steps")
    old.close()
    assert opened(journal).standing("d", 1) is None
