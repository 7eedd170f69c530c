"""docs/secure-sum.md says what the code does: its tables against sessions that are played."""

import re
import struct
from collections import defaultdict
from math import ceil
from pathlib import Path

import numpy as np
import pytest
from rehearsal import MODEL, Rehearsal, Stage, make_terms, names, play, play_again

from federation.ring_vector import RingVector, Stretch
from privacy.secure_sum import keys, messages, transcript, vouchers, wire
from privacy.secure_sum.session import round_digest, survivor_digest

DOCUMENT = (Path(__file__).parents[3] / "docs" / "secure-sum.md").read_text(encoding="utf-8")
ALL = (
    messages.VouchedAdvert, messages.Bundle, messages.Dealt, messages.Envelopes,
    messages.MaskedInput, messages.Survivors, messages.Agreed, messages.Agreements,
    messages.OpenedShares,
)  # fmt: skip


def table(first: str) -> list[dict[str, str]]:
    """Rows of the one table whose first column is headed `first`, by column; no backquotes."""
    (found,) = re.findall(rf"^\| {first} \|.*\n(?:\|.*\n)+", DOCUMENT, re.MULTILINE)
    lines = [
        [cell.strip() for cell in line.strip("|").replace("`", "").split(" | ")]
        for line in found.splitlines()
    ]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]


def sizes() -> tuple[list[dict[str, str]], dict[tuple[int, int], str]]:
    """The table of sizes, and of each federation in it, by sites and neighbours, the column."""
    rows = [row for row in table("message") if row["message"] != "MaskedInput"]
    columns = {}
    for head in list(rows[0])[1:]:
        n, k = re.fullmatch(r"([\d,]+) sites, (\d+) neighbours", head).groups()
        columns[int(n.replace(",", "")), int(k)] = head
    return rows, columns


LAYOUTS = {row["message"]: row["after the header, widths in bytes"] for row in table("kind")}


def bytes_by_layout(name: str, n: int, counts: dict[str, int], packed: int = 0) -> int:
    """What a message takes by its layout in words."""
    total = 4
    for part in LAYOUTS[name].split("; "):
        if part == "bit set":
            total += ceil(n / 8)
        elif part == "the packed vector":
            total += packed
        else:
            per, colon, fields = part.rpartition(": ")
            each = sum(int(width) for width in re.findall(r" (\d+)(?:,|$)", fields))
            total += each * (counts[per.removeprefix("per ")] if colon else 1)
    return total


def played_sizes(rehearsal: Rehearsal, name: str) -> dict[str, int]:
    """Bytes of each message that the site `name` sent or was told, by the message's name."""
    sent = {stage: by_site[name] for stage, by_site in rehearsal.sent.items() if by_site.get(name)}
    told = {stage: by_site[name] for stage, by_site in rehearsal.told.items() if by_site.get(name)}
    by_kind = {kind.KIND: kind.__name__ for kind in ALL}
    return {by_kind[data[3]]: len(data) for data in (*sent.values(), *told.values())}


def test_every_message_is_in_the_table_under_its_kind() -> None:
    assert {row["message"]: int(row["kind"]) for row in table("kind")} == {
        kind.__name__: kind.KIND for kind in ALL
    }


@pytest.mark.parametrize(
    ("n", "degree", "lost"), [(7, 6, ()), (7, 6, (4,)), (20, 8, ()), (20, 8, (3, 11))]
)
def test_messages_take_what_the_layouts_say(n: int, degree: int, lost: tuple[int, ...]) -> None:
    sites, gone = names(n), {names(n)[at] for at in lost}
    stretches = (Stretch(16, 5), Stretch(20, 7))
    terms = make_terms(n, threshold=5, quorum=n - 2, degree=degree, stretches=stretches)
    rehearsal = play_again(play(terms), lost=dict.fromkeys(gone, Stage.MASK))
    survivor = next(site for site in sites if site not in gone)
    near = set(rehearsal.sharing.graph[survivor])
    counts = {
        "advertised site": n,
        "acquaintance": n - 1,
        "vouching site": n - 1,
        "neighbour": degree,
        "holder": degree + 1,
        "dealer": degree,
        "other survivor": n - len(gone) - 1,
        "agreeing site": n - len(gone) - 1,
        "surviving dealer": len(near - gone) + 1,
        "lost dealer": len(near & gone),
    }
    packed = 5 * 16 // 8 + ceil(7 * 20 / 8)
    assert played_sizes(rehearsal, survivor) == {
        kind: bytes_by_layout(kind, n, counts, packed) for kind in LAYOUTS
    }


def test_messages_of_a_real_session_have_the_sizes_in_the_table() -> None:
    rows, columns = sizes()
    assert len(columns) >= 2
    for (n, k), column in columns.items():
        if n > 100:
            continue
        assert k == n - 1
        terms = make_terms(n, quorum=n // 2 + 2 if n > 4 else 3, threshold=3)
        played = played_sizes(play_again(play(terms)), terms.sites[0])
        said = {row["message"]: int(row[column].replace(",", "")) for row in rows}
        assert said == {name: size for name, size in played.items() if name != "MaskedInput"}


def test_sizes_in_the_table_follow_from_the_layouts() -> None:
    rows, columns = sizes()
    for (n, k), column in columns.items():
        counts = defaultdict(
            lambda n=n: n - 1,
            {"advertised site": n, "neighbour": k, "dealer": k, "holder": k + 1}
            | {"surviving dealer": k + 1, "lost dealer": 0},
        )
        for row in rows:
            said = int(row[column].replace(",", ""))
            assert said == bytes_by_layout(row["message"], n, counts), (row["message"], column)


def test_the_whole_message_in_the_text_reads_as_the_text_says() -> None:
    sites, some, digits = re.search(
        r"Of the invited sites ([\w, ]+), the survivors ([\w, ]+) are\n`([0-9a-f ]+)`", DOCUMENT
    ).groups()
    read = messages.Survivors.from_bytes(bytes.fromhex(digits), tuple(sites.split(", ")))
    assert read.members == tuple(some.split(", "))


def test_packed_words_take_what_the_table_says() -> None:
    for row in table("modulo"):
        stretch = Stretch(int(row["modulo"].removeprefix("2^")), 1001)
        vector = RingVector.of((stretch,), [np.ones(1001, stretch.dtype)])
        assert row["1,001 words on the wire"] == f"{len(vector.pack()):,} bytes"
        assert row["a word in memory"] == f"{8 * stretch.dtype.itemsize} bits"


# -- the terms, encoded anew from the table --------------------------------------------------------


def number(value: int) -> bytes:
    return struct.pack(">I", value)


def text(value: str) -> bytes:
    return number(len(value.encode())) + value.encode()


def list_of_names(value: tuple[str, ...]) -> bytes:
    return number(len(value)) + b"".join(map(text, value))


ENCODINGS = {
    "text": text,
    "number": number,
    "32 bytes": bytes,
    "names": list_of_names,
    "count, then for each: bits number, length number": lambda stretches: (
        number(len(stretches)) + b"".join(number(s.bits) + number(s.length) for s in stretches)
    ),
    "count, then for each: names": lambda groups: (
        number(len(groups)) + b"".join(map(list_of_names, groups))
    ),
}


def test_the_terms_are_encoded_as_the_table_says() -> None:
    sites = names(7)
    terms = make_terms(
        7, quorum=5, stretches=(Stretch(16, 3), Stretch(32, 9)), groups=(sites[:3], sites[3:])
    )
    fields = [ENCODINGS[row["encoding"]](getattr(terms, row["field"])) for row in table("field")]
    assert terms.to_bytes() == wire.MAGIC + bytes([wire.VERSION, 0]) + b"".join(fields)


# -- the labels, against all that is bound in a session --------------------------------------------


def rows_of_labels() -> dict[str, dict[str, str]]:
    return {row["label"]: row for row in table("label")}


IN_FLOWER_APPS = {transcript.Label.ENLIST, transcript.Label.MODEL}
"""Labels of the mod for other Flower apps, which no session of its own binds."""


def test_every_label_is_in_the_table() -> None:
    assert set(rows_of_labels()) == set(transcript.Label) - IN_FLOWER_APPS


def bound_in_a_session(monkeypatch) -> tuple[Rehearsal, dict[str, set[tuple[bytes, ...]]]]:
    """A session with a loss and a false share, and per label the contexts that were bound."""
    known = play(make_terms()).acquaintances
    bound: dict[str, set[tuple[bytes, ...]]] = defaultdict(set)
    original = transcript.bind

    def recorded(label: transcript.Label, *parts: bytes) -> bytes:
        bound[label].add(parts)
        made = original(label, *parts)
        assert made == transcript.join(b"hedgerow/secure-sum/v3/" + label.encode(), *parts)
        return made

    for module in (transcript, keys, vouchers):
        monkeypatch.setattr(module, "bind", recorded)
    terms = make_terms(round=2)
    sites = terms.sites

    def falsified(data: bytes) -> bytes:
        opened = messages.OpenedShares.from_bytes(data, sites)
        false = {site: bytes([1]) + bytes(32) for site in opened.mask_keys}
        return messages.OpenedShares(opened.seeds, false).to_bytes(sites)

    rehearsal = Rehearsal(
        terms,
        lost={sites[3]: Stage.MASK},
        altered={(sites[0], Stage.OPEN): falsified},
        known=known,
    )
    assert rehearsal.play().blamed == (sites[0],)
    return rehearsal, bound


def framed(count: int) -> re.Pattern[bytes]:
    """`join` of as many parts; what is in them is not looked at."""
    return re.compile(re.escape(number(count)) + b".*", re.DOTALL)


def known_parts(rehearsal: Rehearsal) -> dict[str, object]:
    """What the words of the table stand for in this session: the value, or what fits it."""
    terms = rehearsal.terms
    session, adverts = rehearsal.sharing.session, rehearsal.sharing.adverts
    name = re.compile(b"|".join(site.encode() for site in terms.sites))
    round_ = round_digest(session, MODEL)
    survivors = rehearsal.signing.survivors
    return {
        "terms": terms.to_bytes(),
        "terms digest": terms.digest(),
        "session digest": session,
        "round digest": round_,
        "model digest": MODEL,
        "sealing key": {advert.sealing_key for advert in adverts.values()},
        "mask key": {advert.mask_key for advert in adverts.values()},
        "name": name,
        "lower name": name,
        "higher name": name,
        "dealer's name": name,
        "holder's name": name,
        "seed or mask-key": re.compile(b"seed|mask-key"),
        "share": re.compile(b".{33}", re.DOTALL),
        "seed": {state.seed for state in rehearsal.states[Stage.SHARE].values()},
        "seed commitment": {dealt.seed_commitment for dealt in rehearsal.masking.dealt.values()},
        "join(for each holder: join(name, commitments))": framed(terms.degree + 1),
        "join(the site and each that dealt to it: name)": framed(terms.degree + 1),
        "join(for each survivor: name)": transcript.join(*map(str.encode, survivors)),
    }


def fits(part: bytes, known: object) -> bool:
    if isinstance(known, re.Pattern):
        return known.fullmatch(part) is not None
    return part in known if isinstance(known, set) else part == known


def test_the_contexts_of_all_labels_are_what_the_table_says(monkeypatch) -> None:
    rehearsal, bound = bound_in_a_session(monkeypatch)
    known, adverts = known_parts(rehearsal), rehearsal.sharing.adverts
    each = "for each advertised site: join(name, sealing key, mask key)"
    entries = [
        transcript.join(site.encode(), advert.sealing_key, advert.mask_key)
        for site, advert in sorted(adverts.items())
    ]
    # The terms are bound when they are made, before anything is recorded.
    transcript.digest(transcript.Label.TERMS, rehearsal.terms.to_bytes())
    for label, row in rows_of_labels().items():
        words = row["context, in order"].split("; ")
        assert bound[label], label
        for parts in bound[label]:
            if words[-1] == each:
                assert list(parts[1:]) == entries
                assert parts[0] == known[words[0]]
                continue
            assert len(parts) == len(words), label
            for part, word in zip(parts, words, strict=True):
                assert fits(part, known[word]), (label, word)
            if "lower name" in words:
                assert parts[1] < parts[2]


def test_derived_keys_are_as_long_as_the_table_says(monkeypatch) -> None:
    lengths = {}
    original = keys.derive

    def recorded(secret: bytes, length: int, label: transcript.Label, *context: bytes) -> bytes:
        lengths[str(label)] = length
        return original(secret, length, label, *context)

    monkeypatch.setattr(keys, "derive", recorded)
    play(make_terms())
    said = {
        label: int(found[1])
        for label, row in rows_of_labels().items()
        if (found := re.match(r"HKDF, (\d+) bytes", row["what it makes"]))
    }
    assert said == lengths


def test_tags_are_on_the_survivor_digest() -> None:
    rehearsal = play(make_terms())
    one, other = rehearsal.terms.sites[:2]
    state = rehearsal.states[Stage.MASK][one]
    agreed = messages.Agreed.from_bytes(rehearsal.sent[Stage.SIGN][one], rehearsal.terms.sites)
    body = survivor_digest(rehearsal.signing.round, rehearsal.terms.sites)
    assert agreed.tags[other] == keys.tag(state.tags[other][0], body)
