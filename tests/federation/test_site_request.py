"""Requests: made by whoever has both private keys, and by nobody else; never changed or reused."""

import json
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from hypothesis import given
from hypothesis import strategies as st
from sample_enrolment import NOW, SOFTWARE, keys_of, line, request_of

from federation import canonical
from federation.errors import IntegrityError
from federation.site_request import (
    RequestedSite,
    SiteEnrolment,
    SiteKeys,
    make_exchange,
    require_exchange,
    require_recent,
)

REQUEST = request_of("ulm")
WANTED = RequestedSite(site="ulm", federation="f", public_rows=100, delta=1e-3)
LATER = "2027-03-01T11:00:00+00:00"


def exchange(new: str = "ulm2", old: str = "ulm", in_force: SiteEnrolment = REQUEST, **changes):
    keys = SiteKeys(keys_of(old).identity, keys_of(new).node)
    given_old = changes.pop("old_keys", keys_of(old))
    return make_exchange(WANTED, keys, SOFTWARE, changes.pop("created", LATER), in_force, given_old)


def test_it_reads_back() -> None:
    assert SiteEnrolment.from_bytes(REQUEST.to_bytes()) == REQUEST
    made = exchange()
    assert SiteEnrolment.from_bytes(made.to_bytes()) == made


def test_both_keys_sign_a_label_and_canonical_json() -> None:
    """An independent spelling of what is signed."""
    plain = json.loads(REQUEST.to_bytes())
    identity = bytes.fromhex(plain.pop("signature"))
    node = bytes.fromhex(plain.pop("node_signature"))
    assert plain.pop("previous_signature") is plain.pop("previous_node_signature") is None
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    signed = b"hedgerow/site-request/v1\x00" + text.encode()
    Ed25519PublicKey.from_public_bytes(bytes.fromhex(plain["identity_key"])).verify(
        identity, signed
    )
    key = load_ssh_public_key(plain["node_key"].encode())
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(node, signed, ec.ECDSA(SHA384()))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("site", "bonn"),
        ("federation", "g"),
        ("identity_key", request_of("bonn").identity_key),
        ("node_key", line("bonn")),
        ("public_rows", 101),
        ("delta", 1e-5),
        ("hedgerow", "0.1.1"),
        ("flwr", "1.41.1"),
        ("created", "2027-03-02T10:00:00+00:00"),
        ("replaces", "0" * 64),
        ("signature", "0" * 128),
        ("node_signature", "3006020101020101"),
        ("node_signature", request_of("bonn").node_signature),
    ],
)
def test_no_field_can_be_changed(field: str, value: object) -> None:
    changed = json.loads(REQUEST.to_bytes()) | {field: value}
    with pytest.raises(IntegrityError, match=r"the request of .* was altered"):
        SiteEnrolment.from_bytes(canonical.encode(changed) + b"\n")


@given(st.integers(0, len(REQUEST.to_bytes()) - 1), st.integers(1, 255))
def test_one_changed_byte_anywhere_is_refused(position: int, change: int) -> None:
    data = bytearray(REQUEST.to_bytes())
    data[position] ^= change
    with pytest.raises(IntegrityError):
        SiteEnrolment.from_bytes(bytes(data))


@given(st.binary(max_size=300))
def test_garbage_is_no_request(data: bytes) -> None:
    with pytest.raises(IntegrityError, match="it is no site request"):
        SiteEnrolment.from_bytes(data)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (
            "node_key",
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGlnMb7qT5kNbQc0J0q8pZt0xgJrYQ0mUq0d6bX3a",
        ),
        ("node_key", line("ulm") + " a comment"),
        ("node_key", "nonsense"),
        ("created", "2027-99-01T10:00:00+00:00"),
        ("created", "2027-03-01T10:00:00"),
        ("public_rows", 0),
        ("version", 2),
        ("hedgerow", "new"),
    ],
)
def test_a_wrong_value_is_named(field: str, value: object) -> None:
    changed = json.loads(REQUEST.to_bytes()) | {field: value}
    with pytest.raises(IntegrityError, match=f"no site request, .*: {field}"):
        SiteEnrolment.from_bytes(canonical.encode(changed) + b"\n")


def test_a_request_is_good_for_30_days_and_not_from_the_future() -> None:
    made = REQUEST.created
    require_recent(request_of("ulm", created=made), NOW + timedelta(days=29, hours=21))
    with pytest.raises(IntegrityError, match="expired after 30 days; the site makes a new one"):
        require_recent(REQUEST, NOW + timedelta(days=29, hours=23))
    require_recent(REQUEST, NOW - timedelta(days=1))
    with pytest.raises(IntegrityError, match="one of the two clocks is wrong"):
        require_recent(REQUEST, NOW - timedelta(days=1, hours=3))


def test_an_exchange_is_signed_by_the_keys_in_force_and_names_them() -> None:
    require_exchange(exchange(), REQUEST, node_lost=False)
    with pytest.raises(IntegrityError, match="asks to be enrolled, not to have keys exchanged"):
        require_exchange(REQUEST, REQUEST, node_lost=False)


def test_an_exchange_by_somebody_else_is_refused() -> None:
    forged = exchange(old_keys=SiteKeys(keys_of("eve").identity, keys_of("ulm").node))
    with pytest.raises(IntegrityError, match="not signed by the identity key in force"):
        require_exchange(forged, REQUEST, node_lost=False)
    forged = exchange(old_keys=SiteKeys(keys_of("ulm").identity, keys_of("eve").node))
    for lost in (False, True):
        with pytest.raises(IntegrityError, match="not signed by the node key in force"):
            require_exchange(forged, REQUEST, node_lost=lost)


def test_a_lost_node_key_need_not_sign_where_that_is_said() -> None:
    request = exchange(old_keys=(keys_of("ulm").identity, None))
    with pytest.raises(IntegrityError, match="--node-key-lost"):
        require_exchange(request, REQUEST, node_lost=False)
    require_exchange(request, REQUEST, node_lost=True)


def test_an_exchange_cannot_be_played_again() -> None:
    first = exchange("ulm2")
    with pytest.raises(IntegrityError, match="replaces other keys than those in force"):
        require_exchange(first, first, node_lost=False)
    with pytest.raises(IntegrityError, match="older than the one in force"):
        require_exchange(exchange(created="2027-03-01T09:00:00+00:00"), REQUEST, node_lost=False)
