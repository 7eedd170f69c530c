"""A site's identity key exchanged, and its ledger going on under the new one.

The entry is signed by the new key, as all that follow, and holds the old key's signature on the
place in the chain and on its successor. So whoever knows the new key verifies the whole chain, and
nobody without the old key could have put it there.
"""

from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from federation import canonical

_LABEL = b"hedgerow/ledger-handover/v1\x00"


def handover_facts(
    old: Ed25519PrivateKey, new: Ed25519PrivateKey, before: str
) -> dict[str, object]:
    """What the entry says.

    Args:
        old: the key that signed the entries so far.
        new: the one that signs from this entry on.
        before: the entry's link to the one before it.
    """
    successor = new.public_key().public_bytes_raw().hex()
    return {"public_key": successor, "handover": old.sign(_message(before, successor)).hex()}


def successor_of(public_key: str, body: Mapping[str, object]) -> str:
    """The key that an entry hands over to, 64 hexadecimal digits.

    Args:
        public_key: the one that signed the entries so far.
        body: of the entry.

    Raises:
        ValueError: that key did not sign the handover.
        KeyError: the entry lacks something.
    """
    successor, signature = str(body["public_key"]), str(body["handover"])
    held = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key))
    try:
        held.verify(bytes.fromhex(signature), _message(str(body["before"]), successor))
    except InvalidSignature as error:
        raise ValueError(
            f"the identity key {public_key[:16]}... did not hand over to {successor[:16]}..."
        ) from error
    return successor


def _message(before: str, successor: str) -> bytes:
    return _LABEL + canonical.encode([before, successor])
