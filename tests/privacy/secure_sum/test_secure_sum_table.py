"""Tables turned round: against a dictionary of dictionaries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import ProtocolViolation
from privacy.secure_sum import wire
from privacy.secure_sum.table import Table, transposed

SITES = ("a", "b", "c", "d", "e", "f", "g", "h", "i")
KIND = 1
FIELDS = st.dictionaries(st.sampled_from(SITES), st.binary(min_size=3, max_size=3), min_size=1)


def read(data: bytes) -> wire.Reader:
    return wire.Reader(data, KIND, "test")


@given(FIELDS)
def test_a_table_is_the_mapping_it_was_made_of(fields: dict[str, bytes]) -> None:
    table = Table.of(fields, 3)
    assert table == fields
    assert list(table) == sorted(fields)
    for missing in set(SITES) - set(fields):
        with pytest.raises(KeyError):
            table[missing]


@given(FIELDS)
def test_a_table_travels_as_a_mapping_does(fields: dict[str, bytes]) -> None:
    data = wire.frame(KIND, wire.table(fields, SITES))
    assert wire.frame(KIND, wire.table(Table.of(fields, 3), SITES)) == data
    reader = read(data)
    assert reader.rows(3, SITES) == read(data).table(3, SITES) == fields
    reader.end()
    with pytest.raises(ProtocolViolation, match="too short"):
        read(data[:-1]).rows(3, SITES)


@given(st.dictionaries(st.sampled_from(SITES), FIELDS, min_size=1))
def test_what_each_sender_has_for_each_receiver_is_turned_round(
    sent: dict[str, dict[str, bytes]],
) -> None:
    expected: dict[str, dict[str, bytes]] = {}
    for sender, fields in sent.items():
        for receiver, field in fields.items():
            expected.setdefault(receiver, {})[sender] = field
    turned = transposed({sender: Table.of(fields, 3) for sender, fields in sent.items()})
    assert turned == expected


def test_fields_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match="fields of 2 bytes"):
        Table.of({"a": b"123", "b": b"4"}, 2)


def test_the_order_of_many_senders_is_kept() -> None:
    names = [f"{number:03d}" for number in range(60)]
    sent = {a: {b: f"{a}{b}".encode() for b in names if b != a} for a in names}
    turned = transposed({sender: Table.of(fields, 6) for sender, fields in sent.items()})
    for receiver, table in turned.items():
        assert table == {sender: sent[sender][receiver] for sender in names if sender != receiver}
        assert list(table) == sorted(table)
