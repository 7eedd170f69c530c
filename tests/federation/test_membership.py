"""A membership's parts fit together, and an older one never comes back."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_consortium import KEY, OTHER
from sample_enrolment import identity, line, membership_of

from federation import canonical
from federation.consortium_files import ConsortiumFiles
from federation.errors import IntegrityError
from federation.membership import Membership, install, read_membership, settle
from federation.membership_changes import changes
from federation.release import SignedRelease
from federation.revocation import Revocation, RevocationList

MEMBERS = membership_of()


def revocation(name: str, reason: str = "revoked") -> list[Revocation]:
    return [
        Revocation(site=name, kind="identity", key=identity(name).hex(), reason=reason, at="t"),
        Revocation(site=name, kind="node", key=line(name), reason=reason, at="t"),
    ]


def test_it_reads_back_under_the_pinned_key_alone() -> None:
    assert Membership.from_bytes(MEMBERS.to_bytes(), KEY.public) == MEMBERS
    with pytest.raises(IntegrityError, match="another consortium"):
        Membership.from_bytes(MEMBERS.to_bytes(), OTHER.public)


@given(st.integers(0, len(MEMBERS.to_bytes()) - 1), st.integers(1, 255))
def test_one_changed_byte_anywhere_is_refused(position: int, change: int) -> None:
    data = bytearray(MEMBERS.to_bytes())
    data[position] ^= change
    with pytest.raises(IntegrityError):
        Membership.from_bytes(bytes(data), KEY.public)


@pytest.mark.parametrize(
    ("part", "other"),
    [
        ("roster", membership_of("abcd")),
        ("roster", membership_of(federation="g")),
        ("run_rules", membership_of(federation="g")),
        ("run_rules", membership_of(key=OTHER)),
        ("release", membership_of("abcd")),
        ("release", membership_of(federation="g")),
        ("release", membership_of(key=OTHER)),
        ("consortium_pub", membership_of(key=OTHER)),
    ],
)
def test_a_part_of_another_membership_is_refused(part: str, other: Membership) -> None:
    mine, theirs = json.loads(MEMBERS.to_bytes()), json.loads(other.to_bytes())
    with pytest.raises(IntegrityError):
        Membership.from_bytes(canonical.encode(mine | {part: theirs[part]}) + b"\n")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("federation", "g"),
        ("version", 7),
        ("signed_at", "x"),
        ("roster_digest", "0" * 64),
        ("rules_digest", "0" * 64),
        ("node_keys", {"a": line("a")}),
        ("revoked", {"version": 1, "revoked": []}),
        ("next_serial", 9),
        ("superlink", "evil.example.org:8443"),
        ("ca_sha256", "0" * 64),
        ("bundle_sha256", "0" * 64),
        ("hedgerow", "0.1.9"),
        ("flwr", "1.41.9"),
    ],
)
def test_no_field_of_a_release_can_be_changed(field: str, value: object) -> None:
    signed = membership_of("abc", revoked=RevocationList(revoked=tuple(revocation("x"))))
    plain = json.loads(signed.signed_release.to_bytes())
    plain["release"][field] = value
    with pytest.raises(IntegrityError, match="the release was altered"):
        SignedRelease.from_bytes(canonical.encode(plain) + b"\n", KEY.public)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda: membership_of(node_keys={"a": line("a")}), "node keys of other sites"),
        (lambda: membership_of(roster_digest="0" * 64), "names another roster"),
        (lambda: membership_of(rules_digest="0" * 64), "names other run rules"),
        (
            lambda: membership_of(node_keys=dict.fromkeys("abc", line("a"))),
            "one node key for two sites",
        ),
        (
            lambda: membership_of(revoked=RevocationList(revoked=(revocation("b")[0],))),
            "certifies a revoked identity key .* for b",
        ),
        (
            lambda: membership_of(revoked=RevocationList(revoked=(revocation("c")[1],))),
            "revoked node key for c",
        ),
    ],
)
def test_not_even_the_consortium_can_sign_what_does_not_fit(made, says: str) -> None:
    with pytest.raises(IntegrityError, match=says):
        made()


def test_a_newer_release_follows_and_an_older_one_does_not() -> None:
    newer = membership_of("ab", version=2)
    newer.require_follows(MEMBERS)
    newer.require_follows(newer)
    with pytest.raises(IntegrityError, match="it is release 1, and release 2 is in force here"):
        MEMBERS.require_follows(newer)


@pytest.mark.parametrize(
    ("after", "says"),
    [
        (membership_of("ab"), "signed two of one number"),
        (membership_of(version=2, key=OTHER), "another consortium"),
        (membership_of(version=2, federation="g"), "of the federation g, not f"),
    ],
)
def test_what_cannot_follow_says_why(after: Membership, says: str) -> None:
    with pytest.raises(IntegrityError, match=says):
        after.require_follows(MEMBERS)


def test_a_revocation_is_never_taken_back() -> None:
    without_c = membership_of(
        "ab", version=2, revoked=RevocationList(revoked=tuple(revocation("c")))
    )
    without_c.require_follows(MEMBERS)
    for again in (membership_of("ab", version=3), membership_of("abc", version=3)):
        with pytest.raises(IntegrityError, match="identity key of c was taken back"):
            again.require_follows(without_c)


def test_changes_are_told_in_words() -> None:
    assert [line_.split(",")[0] for line_ in changes(None, membership_of("ab"))] == [
        "site added: a",
        "site added: b",
    ]
    revoked = RevocationList(revoked=tuple(revocation("c")))
    after = membership_of(
        "abd", version=2, revoked=revoked, superlink="new.example.org:1", ca_sha256="0" * 64,
        node_keys={"a": line("a2"), "b": line("b"), "d": line("d")},
    )  # fmt: skip
    told = changes(MEMBERS, after)
    for start in (
        "site revoked: c", "site added: d", "node key exchanged: a", "coordinator's address: was",
        "CA of the coordinator: now 0000",
    ):  # fmt: skip
        assert any(one.startswith(start) for one in told), (start, told)
    assert changes(after, after) == []


def test_copies_of_the_parts_are_written_again_after_a_crash(tmp_path) -> None:
    files = ConsortiumFiles(tmp_path)
    assert read_membership(files) is None
    install(files, MEMBERS)
    assert read_membership(files) == MEMBERS
    newer = membership_of("ab", version=2)
    files.membership.write_bytes(newer.to_bytes())  # and then the power fails
    settle(files, read_membership(files))
    assert files.read_roster(0) == newer.roster
    assert files.read_run_rules(newer.roster) == newer.signed_rules
    files.membership.write_bytes(membership_of(key=OTHER).to_bytes())
    with pytest.raises(IntegrityError, match=rf"{files.membership}: it is of another consortium"):
        read_membership(files)
