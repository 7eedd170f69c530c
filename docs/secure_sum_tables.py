"""The parts of docs/secure-sum.md that the code knows: sizes, numbers, and a command's output.

The text is written by hand. Between a line `<!-- written by make docs: NAME -->` and the next
`<!-- end -->` stands what the writer called NAME makes; `filled` puts it there.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from unittest.mock import patch

from typer.testing import CliRunner

from federation.config import usual_quorum, usual_threshold
from federation.envelope import Phase, Request
from federation.ring_vector import RING_BITS, Stretch
from privacy.secure_sum import messages, wire
from privacy.secure_sum.dealing import COMMITMENT_BYTES, COMMITMENTS_BYTES, PAIR_BYTES
from privacy.secure_sum.keys import (
    KEY_BYTES,
    NONCE_BYTES,
    SEALING_BYTES,
    SIGNATURE_BYTES,
    TAG_BYTES,
)
from privacy.secure_sum.messages import Envelope
from privacy.secure_sum.shamir import SHARE_BYTES
from privacy.secure_sum.table import Table
from privacy.secure_sum.terms import tolerated_colluders
from privacy.secure_sum.transcript import DIGEST_BYTES
from privacy.secure_sum_cli import app

FEDERATIONS = ((4, 3), (50, 49), (1000, 284))
"""Sites and neighbours; the sizes of messages are given for these."""
GRAPH_COMMAND = "graph --sites 1000 --dropouts 0.1 --colluders 0.2"
USUAL_SITES = (3, 4, 5, 7, 10, 20, 50, 100, 200)
RING_EXAMPLE = 1001
WIDTH_OF_PAGE = 80

_BLOCK = re.compile(r"(<!-- written by make docs: ([a-z-]+) -->\n).*?(?=<!-- end -->)", re.DOTALL)


def filled(text: str) -> str:
    """`text` with every block as its writer writes it.

    Raises:
        ValueError: a writer has no block, or more than one.
    """
    named = [match[2] for match in _BLOCK.finditer(text)]
    if sorted(named) != sorted(WRITERS):
        raise ValueError(f"secure-sum.md: blocks {sorted(named)}, expected {sorted(WRITERS)}")
    return _BLOCK.sub(lambda match: f"{match[1]}\n{WRITERS[match[2]]().strip()}\n\n", text)


def kinds() -> str:
    """Which message has which kind, and what stands in it after the header."""
    advert = f"sealing key {KEY_BYTES}, mask key {KEY_BYTES}, signature {SIGNATURE_BYTES}"
    sealed = f"nonce {NONCE_BYTES}, ciphertext {PAIR_BYTES}, tag {SEALING_BYTES - NONCE_BYTES}"
    committed = f"commitment {COMMITMENT_BYTES}, commitment {COMMITMENT_BYTES}"
    kept = f"own commitment {COMMITMENT_BYTES}, own commitment {COMMITMENT_BYTES}"
    signed = f"seed commitment {DIGEST_BYTES}; signature {SIGNATURE_BYTES}"
    dealt = f"bit set; per neighbour: {sealed}, {committed}; {kept}; {signed}"
    opened = (
        f"bit set; per surviving dealer: seed share {SHARE_BYTES}; "
        f"bit set; per lost dealer: mask key share {SHARE_BYTES}"
    )
    vouched = f"{advert}; bit set; per acquaintance: voucher {TAG_BYTES}"
    vouchers = f"bit set; per vouching site: voucher {TAG_BYTES}"
    rows = (
        (messages.VouchedAdvert, "site", vouched),
        (messages.Bundle, "coordinator", f"bit set; per advertised site: {advert}; {vouchers}"),
        (messages.Dealt, "site", dealt),
        (messages.Envelopes, "coordinator", f"bit set; per dealer: {sealed}, {committed}"),
        (messages.MaskedInput, "site", f"digest of the masks {DIGEST_BYTES}; the packed vector"),
        (messages.Survivors, "coordinator", "bit set"),
        (messages.Agreed, "site", f"bit set; per other survivor: tag {TAG_BYTES}"),
        (messages.Agreements, "coordinator", f"bit set; per agreeing site: tag {TAG_BYTES}"),
        (messages.OpenedShares, "site", opened),
    )
    cells = ((f"{m.KIND}", f"`{m.__name__}`", sender, layout) for m, sender, layout in rows)
    return _table(("kind", "message", "sent by", "after the header, widths in bytes"), cells)


def sizes() -> str:
    """Bytes of every message where nobody is lost and all know each other, from such messages."""
    columns = [dict(_sizes(n, k)) for n, k in FEDERATIONS]
    heads = (f"{n:,} sites, {k} neighbours" for n, k in FEDERATIONS)
    rows = ((f"`{name}`", *(f"{column[name]:,}" for column in columns)) for name in columns[0])
    return _table(("message", *heads), rows)


def _sizes(n: int, k: int) -> Iterator[tuple[str, int]]:
    sites = tuple(f"{number:04d}" for number in range(n))
    near, holders = sites[1 : k + 1], sites[: k + 1]
    advert = messages.Advert(bytes(KEY_BYTES), bytes(KEY_BYTES), bytes(SIGNATURE_BYTES))
    envelopes = Table.of(dict.fromkeys(near, bytes(Envelope.WIDTH)), Envelope.WIDTH)
    dealt = messages.Dealt(
        envelopes,
        bytes(COMMITMENTS_BYTES),
        bytes(DIGEST_BYTES),
        bytes(SIGNATURE_BYTES),
    )
    tags = Table.of(dict.fromkeys(sites[1:], bytes(TAG_BYTES)), TAG_BYTES)
    yield "VouchedAdvert", len(messages.VouchedAdvert(advert, tags).to_bytes(sites))
    yield "Bundle", len(messages.Bundle(dict.fromkeys(sites, advert), tags).to_bytes(sites))
    yield "Dealt", len(dealt.to_bytes(sites))
    yield "Envelopes", len(messages.Envelopes(envelopes).to_bytes(sites))
    yield "Survivors", len(messages.Survivors(sites).to_bytes(sites))
    yield "Agreed", len(messages.Agreed(tags).to_bytes(sites))
    yield "Agreements", len(messages.Agreements(tags).to_bytes(sites))
    opened = messages.OpenedShares(dict.fromkeys(holders, bytes(SHARE_BYTES)), {})
    yield "OpenedShares", len(opened.to_bytes(sites))


def example() -> str:
    """A whole message in hexadecimal digits."""
    sites, some = ("basel", "bern", "chur", "genf"), ("basel", "chur", "genf")
    data = messages.Survivors(some).to_bytes(sites)
    return (
        f"Of the invited sites {', '.join(sites)}, the survivors {', '.join(some)} are\n"
        f"`{data.hex(' ')}`: magic `{wire.MAGIC.hex(' ')}`, version `{data[2]:02x}`, "
        f"kind `{data[3]:02x}`, bit set `{data[4]:02x}`."
    )


def rings() -> str:
    """What a word takes in memory and on the wire."""
    rows = []
    for bits in RING_BITS:
        stretch = Stretch(bits, RING_EXAMPLE)
        word = f"{8 * stretch.dtype.itemsize} bits"
        rows.append((f"2^{bits}", word, f"{bits} bits", f"{stretch.packed_bytes:,} bytes"))
    heads = ("modulo", "a word in memory", "on the wire", f"{RING_EXAMPLE:,} words on the wire")
    return _table(heads, rows)


def envelope() -> str:
    """The header of a request."""
    request = Request("20250131-heart-9f3c", 2, 1, Phase.SIGN, "0" * 32, 1738312345.0)
    data = request.to_bytes()
    length = int.from_bytes(data[:4], "big")
    return f"```json\n{data[4 : 4 + length].decode()}\n```"


def colluders() -> str:
    """What the usual quorum and threshold of a federation tolerate, on the complete graph."""
    rows = []
    for n in USUAL_SITES:
        quorum, threshold = usual_quorum(n), usual_threshold(n)
        tolerated = tolerated_colluders(threshold, quorum, n)
        rows.append(tuple(map(str, (n, quorum, threshold, tolerated, quorum - tolerated))))
    return _table(("sites", "quorum", "threshold", "colluders", "honest in a sum, at least"), rows)


def graph() -> str:
    """What `hedgerow secure-sum graph` prints."""
    # What it sees of the terminal must not depend on whoever runs this.
    with patch.dict(os.environ, {"COLUMNS": str(WIDTH_OF_PAGE), "TERM": "dumb"}):
        result = CliRunner().invoke(app, GRAPH_COMMAND.split())
    if result.exit_code:
        raise RuntimeError(result.output)
    lines = [line.rstrip() for line in result.output.rstrip().splitlines()]
    return "\n".join(("```", f"$ hedgerow secure-sum {GRAPH_COMMAND}", *lines, "```"))


WRITERS: dict[str, Callable[[], str]] = {
    "kinds": kinds,
    "sizes": sizes,
    "example": example,
    "rings": rings,
    "envelope": envelope,
    "colluders": colluders,
    "graph": graph,
}


def _table(heads: Iterable[str], rows: Iterable[tuple[str, ...]]) -> str:
    heads = tuple(heads)
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
