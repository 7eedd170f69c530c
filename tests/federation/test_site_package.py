"""Packages and countersignatures: nothing in them can be exchanged on the way."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_consortium import OTHER, signed_rules
from sample_enrolment import authority, keys_of, membership_of, package_of

from federation import canonical
from federation.countersignature import Countersignature, countersign, require_countersigned
from federation.digest_text import grouped, parse_digest
from federation.errors import ConfigError, IntegrityError, UsageError
from federation.site_connection import SiteConnection
from federation.site_package import SitePackage, ca_digest
from federation.software import Software, require_compatible

PACKAGE = package_of()
MEMBERS = PACKAGE.membership
SIGNED = countersign("a", keys_of("a").identity, MEMBERS.roster, MEMBERS.signed_rules)


def test_it_reads_back_and_becomes_a_connection(tmp_path) -> None:
    read = SitePackage.from_bytes(PACKAGE.to_bytes())
    assert read == PACKAGE
    path = tmp_path / "connection.toml"
    read.connection.write(path)
    assert SiteConnection.read(path) == read.connection
    assert read.connection.host_and_port == ("fed.example.org", 8443)
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text(path.read_text().replace("superlink", "superlnik"))
    with pytest.raises(ConfigError, match="did you mean superlink"):
        SiteConnection.read(path)


@given(st.integers(0, len(PACKAGE.to_bytes()) - 1), st.integers(1, 255))
def test_one_changed_byte_anywhere_is_refused_or_names_another_site(position, change) -> None:
    data = bytearray(PACKAGE.to_bytes())
    data[position] ^= change
    try:
        read = SitePackage.from_bytes(bytes(data))
    except IntegrityError:
        return
    assert read.site in {"b", "c"}  # which site a refuses, by its own name


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"site": "d"}, "is for d, which is not in its roster"),
        ({"ca_pem": authority("evil").decode()}, "another CA than the one that the consortium"),
        ({"ca_pem": authority().decode() + authority("evil").decode()}, "another CA"),
        ({"version": 2}, "no site package, as .* writes: version"),
    ],
)
def test_what_was_exchanged_is_named(changed: dict[str, object], says: str) -> None:
    plain = json.loads(PACKAGE.to_bytes()) | changed
    with pytest.raises(IntegrityError, match=says):
        SitePackage.from_bytes(canonical.encode(plain) + b"\n")


@pytest.mark.parametrize("pem", [b"", b"nonsense"])
def test_a_ca_file_without_a_ca_is_refused(pem: bytes) -> None:
    with pytest.raises(IntegrityError, match="no certificate in PEM"):
        SitePackage("a", pem, membership_of(ca_sha256=ca_digest(pem)))


def test_a_countersignature_is_of_one_site_one_roster_and_one_set_of_rules() -> None:
    require_countersigned(SIGNED, MEMBERS.roster, MEMBERS.signed_rules)
    assert Countersignature.from_bytes(SIGNED.to_bytes()) == SIGNED
    others = [
        (membership_of("abd"), "countersigned another roster"),
        (membership_of("bc"), "the roster has no site a"),
        (membership_of(federation="g"), "for the federation f, not g"),
        (membership_of(key=OTHER), "countersigned another roster"),
    ]
    for other, says in others:
        with pytest.raises(IntegrityError, match=says):
            require_countersigned(SIGNED, other.roster, other.signed_rules)
    with pytest.raises(IntegrityError, match="another set of run rules"):
        require_countersigned(SIGNED, MEMBERS.roster, signed_rules(most_rounds=7))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("site", "b"),
        ("roster_digest", "0" * 64),
        ("rules_digest", "0" * 64),
        ("signature", "0" * 128),
    ],
)
def test_no_field_of_a_countersignature_can_be_changed(field: str, value: str) -> None:
    changed = SIGNED.model_copy(update={field: value})
    with pytest.raises(IntegrityError, match="not by the key that the roster certifies"):
        require_countersigned(changed, MEMBERS.roster, MEMBERS.signed_rules)


@given(st.binary(max_size=200))
def test_garbage_is_neither(data: bytes) -> None:
    with pytest.raises(IntegrityError, match="no site package"):
        SitePackage.from_bytes(data)
    with pytest.raises(IntegrityError, match="no countersignature"):
        Countersignature.from_bytes(data)


@given(st.binary(min_size=32, max_size=32))
def test_a_digest_is_read_aloud_and_typed_in(digest: bytes) -> None:
    shown = grouped(digest.hex())
    assert len(shown.split()) == 16
    assert parse_digest(shown) == parse_digest(shown.upper().replace(" ", "-")) == digest.hex()


@pytest.mark.parametrize("text", ["", "abc", "g" * 64, "a" * 63, "a" * 65])
def test_what_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="16 groups of four"):
        parse_digest(text)


def test_the_first_two_numbers_of_versions_must_agree() -> None:
    ours = Software(hedgerow="0.1.0", flwr="1.41.0")
    require_compatible(ours, Software(hedgerow="0.1.7", flwr="1.41.2"), "the coordinator")
    for theirs, says in (
        (Software(hedgerow="0.2.0", flwr="1.41.0"), "runs hedgerow 0.2.0 and this machine .* 0.1"),
        (Software(hedgerow="0.1.0", flwr="1.42.0"), "install flwr 1.42 here, or 1.41 there"),
    ):
        with pytest.raises(UsageError, match=says):
            require_compatible(ours, theirs, "the coordinator")
