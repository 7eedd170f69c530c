"""The roster: no such object exists with a certificate that is not genuine."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_consortium import KEY, OTHER, roster_of, signed_rules

from federation.consortium import certify
from federation.consortium_files import ConsortiumFiles
from federation.errors import IntegrityError, UsageError
from federation.roster import Roster

KEYS = {"b": b"b" * 32, "a": b"a" * 32}
ROSTER = roster_of(KEYS, validity=(1000, 2000))
NOW = 1500


def test_it_says_whose_key_is_whose() -> None:
    assert ROSTER.federation == "f"
    assert dict(ROSTER.keys) == KEYS
    public = ROSTER.public_keys()
    assert {site: key.public_bytes_raw() for site, key in public.items()} == KEYS


def test_it_reads_back_and_its_digest_binds_consortium_federation_keys_and_times() -> None:
    read = Roster.from_bytes(ROSTER.to_bytes(), KEY.public, NOW)
    assert read == ROSTER
    assert read.digest() == ROSTER.digest()
    others = [
        roster_of(KEYS, validity=(1000, 2000), key=OTHER),
        roster_of(KEYS, validity=(1000, 2001)),
        roster_of(KEYS, validity=(1000, 2000), federation="g"),
        roster_of({"a": KEYS["a"]}, validity=(1000, 2000)),
        roster_of(KEYS | {"b": b"c" * 32}, validity=(1000, 2000)),
    ]
    assert len({roster.digest() for roster in [ROSTER, *others]}) == 6


@given(st.integers(0, len(ROSTER.to_bytes()) - 1), st.integers(1, 255))
def test_one_changed_byte_anywhere_is_refused(position: int, change: int) -> None:
    data = bytearray(ROSTER.to_bytes())
    data[position] ^= change
    with pytest.raises(IntegrityError):
        Roster.from_bytes(bytes(data), KEY.public, NOW)


@given(st.integers(0, len(ROSTER.to_bytes()) - 1))
def test_a_file_that_was_cut_off_is_refused(length: int) -> None:
    with pytest.raises(IntegrityError, match="no roster"):
        Roster.from_bytes(ROSTER.to_bytes()[:length], KEY.public, NOW)


def one(site: str, federation: str = "f", key: bytes = b"k" * 32):
    return certify(KEY, federation, site, key, (1000, 2000), 9)


@pytest.mark.parametrize(
    ("certificates", "says"),
    [
        ((), "without a site"),
        ((one("a"), one("b", key=b"l" * 32, federation="g")), "for the federation g, not f"),
        ((one("b"), one("a", key=b"l" * 32)), "out of order"),
        ((one("a"), one("a", key=b"l" * 32)), "two for one site"),
        ((one("a"), one("b")), "one key is certified for two sites"),
        ((one("a").model_copy(update={"site": "b"}),), "altered"),
    ],
)
def test_no_roster_is_made_of_what_does_not_fit_together(certificates, says: str) -> None:
    with pytest.raises(IntegrityError, match=says):
        Roster(KEY.public, certificates)


def test_a_roster_of_another_consortium_is_refused() -> None:
    with pytest.raises(IntegrityError, match=r"another consortium"):
        Roster.from_bytes(ROSTER.to_bytes(), OTHER.public, NOW)
    with pytest.raises(IntegrityError, match=r"another consortium"):
        Roster(OTHER.public, ROSTER.certificates)


def test_one_certificate_that_is_not_in_force_stops_the_whole_roster() -> None:
    late = certify(KEY, "f", "c", b"c" * 32, (1000, 1999), 3)
    roster = Roster(KEY.public, (*ROSTER.certificates, late))
    roster.require_current(1999)
    for now in (999, 2000):
        with pytest.raises(IntegrityError, match="the certificate of"):
            Roster.from_bytes(roster.to_bytes(), KEY.public, now)
    with pytest.raises(IntegrityError, match=r"the certificate of c \(serial 3\) expired"):
        roster.require_current(2000)


@pytest.mark.parametrize(
    "content",
    [
        b"nope\n",
        b"[]\n",
        b'{"certificates":[],"version":1}\n',
        ROSTER.to_bytes().replace(b'"version":1', b'"version":2'),
        ROSTER.to_bytes() + b"\n",
        ROSTER.to_bytes().rstrip(),
    ],
)
def test_what_is_no_roster_is_named_with_its_remedy(tmp_path, content: bytes) -> None:
    files = ConsortiumFiles(tmp_path)
    files.write(ROSTER, signed_rules())
    files.roster.write_bytes(content)
    says = rf"^{files.roster}: it is no roster: .*; ask the consortium for the one in force$"
    with pytest.raises(IntegrityError, match=says):
        files.read_roster(NOW)


def test_the_files_read_back_and_a_missing_one_is_a_usage_error(tmp_path) -> None:
    files, rules = ConsortiumFiles(tmp_path), signed_rules()
    files.write(ROSTER, rules)
    assert files.read_roster(NOW) == ROSTER
    assert files.read_run_rules(ROSTER) == rules
    files.run_rules.unlink()
    with pytest.raises(UsageError, match=r"run-rules\.json: No such file .* hands it out"):
        files.read_run_rules(ROSTER)
    for path in (files.roster, files.consortium):
        path.unlink()
        with pytest.raises(UsageError, match=rf"cannot read .* {path}: No such file"):
            files.read_roster(NOW)


def test_a_pinned_key_that_was_replaced_by_nonsense_says_how_to_get_it_back(tmp_path) -> None:
    files = ConsortiumFiles(tmp_path)
    files.write(ROSTER, signed_rules())
    files.consortium.write_bytes(b"nonsense")
    with pytest.raises(IntegrityError, match=r"consortium\.pub: it holds no public key; put back"):
        files.read_roster(NOW)
