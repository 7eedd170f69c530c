"""Tables that a coordinator passes on: what each sender has for each receiver, turned round.

There are sites times sites fields in them. They stay rows of one array, so that to read, turn and
write the tables takes few steps for each site, and little memory beyond the fields themselves.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from federation.ring_vector import Bytes


@dataclass(frozen=True, slots=True, eq=False)
class Table(Mapping[str, bytes]):
    """A field of one width for each of some sites.

    Attributes:
        members: the sites that have a field, sorted.
        rows: shape (members, width), uint8: their fields.
    """

    members: tuple[str, ...]
    rows: Bytes = field(repr=False)

    @classmethod
    def of(cls, fields: Mapping[str, bytes], width: int) -> Self:
        """The table of these fields, `width` bytes each.

        Raises:
            ValueError: one is not.
        """
        if set(map(len, fields.values())) - {width}:
            raise ValueError(f"table: expected fields of {width} bytes")
        members = tuple(sorted(fields))
        joined = b"".join(fields[member] for member in members)
        return cls(members, np.frombuffer(joined, np.uint8).reshape(len(members), width))

    def __getitem__(self, site: str) -> bytes:
        """A site's field; the place of each is looked for, so this is for few of them."""
        if site not in self.members:
            raise KeyError(site)
        row: Bytes = self.rows[self.members.index(site)]
        return row.tobytes()

    def __iter__(self) -> Iterator[str]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)


def transposed(tables: Mapping[str, Table]) -> dict[str, Table]:
    """Per receiver, what each sender's table holds for it; all tables are of one width.

    There is at least one sender; whoever has a field in no table is no receiver.

    >>> given = {"a": Table.of({"b": b"1", "c": b"2"}, 1), "b": Table.of({"c": b"3"}, 1)}
    >>> {site: dict(table) for site, table in transposed(given).items()}
    {'b': {'a': b'1'}, 'c': {'a': b'2', 'b': b'3'}}
    """
    senders = sorted(tables)
    receivers = sorted(set().union(*(tables[sender].members for sender in senders)))
    number = {receiver: at for at, receiver in enumerate(receivers)}
    to = np.array([number[to] for sender in senders for to in tables[sender].members], np.intp)
    # Rows stand by sender; a stable sort by receiver leaves each receiver's in the senders' order.
    order = np.argsort(to, kind="stable")
    rows = np.concatenate([tables[sender].rows for sender in senders])[order]
    by = [sender for sender in senders for _ in tables[sender].members]
    by = [by[at] for at in order.tolist()]
    counts = np.bincount(to, minlength=len(receivers))
    ends = np.cumsum(counts)
    return {
        receiver: Table(tuple(by[start:end]), rows[start:end])
        for receiver, start, end in zip(
            receivers, (ends - counts).tolist(), ends.tolist(), strict=True
        )
    }
