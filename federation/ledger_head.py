"""Signed statements of how far a site's ledger has come: what a cut or copied ledger is found by.

A site signs its own head, and each other site that was shown it signs that it saw it. A ledger that
is restored from an old copy, together with everything else at its site, is still behind what the
others remember.
"""

from collections.abc import Mapping
from typing import Annotated

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import Field

from federation import canonical
from federation.canonical import Digest
from federation.errors import ProtocolViolation
from federation.section import Name, Section

_SIGNING = b"hedgerow/ledger-head/v1\x00"


class LedgerHead(Section):
    """The last entry of a ledger, as somebody saw it."""

    run: Annotated[str, Field(min_length=1, max_length=200)]
    """In which it was shown: an old statement cannot stand for a new one."""
    site: Name
    """Whose ledger."""
    dataset: Digest
    """Tells the ledgers of one site apart; of the dataset's name, which it does not tell."""
    seq: Annotated[int, Field(ge=1)]
    """Number of the entry."""
    hash: Digest
    """Of the entry, and by it of all before."""


class HeadStatement(Section):
    """`signer` says: this is the head."""

    head: LedgerHead
    signer: Name
    signature: Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]
    """Ed25519, by the signer's identity key."""


def dataset_digest(federation: str, site: str, dataset: str) -> str:
    """What stands for a dataset in statements, 64 hexadecimal digits."""
    return canonical.digest(["hedgerow/dataset/1", federation, site, dataset])


def sign_head(
    head: LedgerHead, federation: str, signer: str, key: Ed25519PrivateKey
) -> HeadStatement:
    """The statement of one who saw a head."""
    return HeadStatement(
        head=head, signer=signer, signature=key.sign(_message(head, federation, signer)).hex()
    )


def verify_head(
    statement: HeadStatement, federation: str, keys: Mapping[str, Ed25519PublicKey]
) -> None:
    """Return if the signer made this statement.

    Raises:
        ProtocolViolation: no site of the roster, or not its signature.
    """
    key = keys.get(statement.signer)
    if key is None:
        raise ProtocolViolation(f"ledger head: {statement.signer} is not in the roster")
    message = _message(statement.head, federation, statement.signer)
    try:
        key.verify(bytes.fromhex(statement.signature), message)
    except InvalidSignature as error:
        raise ProtocolViolation(
            f"ledger head of {statement.head.site}: not signed by {statement.signer}"
        ) from error


def _message(head: LedgerHead, federation: str, signer: str) -> bytes:
    return _SIGNING + canonical.encode([federation, signer, head.model_dump(mode="json")])
