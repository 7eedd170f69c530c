"""`<site>.request`: how a site asks to be enrolled, or to have its keys exchanged.

It holds public keys only and proves that the site holds the private ones: the identity key and the
node key each sign all of it. Where keys are exchanged, the keys in force sign as well, and the
request names the one it replaces, so that no old exchange can be played again.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Literal, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import AfterValidator, Field

from federation import canonical, node_key
from federation.canonical import Digest
from federation.consortium import PublicKey, Signature
from federation.errors import IntegrityError
from federation.node_key import NodeKeyLine, NodeSignature
from federation.section import Name, PublicRows, Section
from federation.software import Software, Version

LARGEST_BYTES = 16_384
"""No request is longer."""
LASTS = timedelta(days=30)
"""After that an unused request is to be made anew."""
CLOCKS_DIFFER = timedelta(days=1)
"""By as much the clocks of a site and of the coordinator may."""
_LABEL = b"hedgerow/site-request/v1\x00"
_SIGNATURES = {"signature", "node_signature", "previous_signature", "previous_node_signature"}


def _is_utc(text: str) -> str:
    if datetime.fromisoformat(text).strftime(_UTC) != text:
        raise ValueError("a time in UTC, such as 2027-01-01T00:00:00+00:00")
    return text


_UTC = "%Y-%m-%dT%H:%M:%S+00:00"


class RequestedSite(Section):
    """What a site asks to be known by."""

    site: Name
    """The name in the roster."""
    federation: Name
    """The request is good for this one alone."""
    public_rows: PublicRows
    """The number of training rows the site declares in public."""
    delta: Annotated[float, Field(gt=0, lt=1)]
    """That the site states its budget at."""


class SiteEnrolment(RequestedSite):
    """A request with its proofs; `verify` says whether they hold."""

    version: Literal[1]
    identity_key: PublicKey
    """Ed25519: speaks for the site in every run."""
    node_key: NodeKeyLine
    """EC P-384: by it Flower's SuperLink knows the site's node."""
    hedgerow: Version
    """Version at the site."""
    flwr: Version
    """Version at the site."""
    created: Annotated[str, Field(max_length=40), AfterValidator(_is_utc)]
    """UTC, ISO 8601."""
    replaces: Digest | None
    """`keys_digest` of the request in force, where keys are exchanged."""
    signature: Signature
    """By the identity key."""
    node_signature: NodeSignature
    """By the node key."""
    previous_signature: Signature | None
    """By the identity key in force, where keys are exchanged."""
    previous_node_signature: NodeSignature | None
    """By the node key in force, where keys are exchanged and the site still has it."""

    @property
    def software(self) -> Software:
        """Of the site."""
        return Software(hedgerow=self.hedgerow, flwr=self.flwr)

    @property
    def signed(self) -> bytes:
        """What every signature is over."""
        return _LABEL + canonical.encode(self.model_dump(mode="json", exclude=_SIGNATURES))

    def digest(self) -> str:
        """Shown at the site and at the coordinator, to be compared by phone."""
        return canonical.digest(self.model_dump(mode="json"))

    def keys_digest(self) -> str:
        """Tells one pair of keys of a site from every other; no key ever comes back."""
        return canonical.digest([self.federation, self.site, self.identity_key, self.node_key])

    def to_bytes(self) -> bytes:
        """Canonical JSON and a newline."""
        return canonical.encode(self.model_dump(mode="json")) + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse, and verify both proofs of possession.

        Raises:
            IntegrityError: no request, altered, or of somebody without the private keys.
        """
        try:
            request = canonical.decode_line(cls, data)
        except ValueError as error:
            raise IntegrityError(
                f"it is no site request, as hedgerow site init writes: {error}"
            ) from error
        if not _identity_signed(request.identity_key, request.signed, request.signature):
            raise IntegrityError(
                f"the request of {request.site} was altered: the signature of its identity key "
                "does not fit"
            )
        if not node_key.is_signed(request.node_key, request.signed, request.node_signature):
            raise IntegrityError(
                f"the request of {request.site} was altered: the signature of its node key does "
                "not fit"
            )
        return request


@dataclass(frozen=True, slots=True)
class SiteKeys:
    """Both private keys of a site."""

    identity: Ed25519PrivateKey
    node: EllipticCurvePrivateKey


def make_request(
    wanted: RequestedSite, keys: SiteKeys, software: Software, created: str
) -> SiteEnrolment:
    """A request to be enrolled.

    Args:
        wanted: what the site asks to be known by.
        keys: the site's; only their public halves are in the request.
        software: of the site.
        created: UTC now, ISO 8601.
    """
    return _signed(wanted, keys, software, created, None)


def make_exchange(
    wanted: RequestedSite,
    keys: SiteKeys,
    software: Software,
    created: str,
    in_force: SiteEnrolment,
    old: SiteKeys | tuple[Ed25519PrivateKey, None],
) -> SiteEnrolment:
    """A request to have keys exchanged, signed by those in force too.

    Args:
        wanted: as `make_request`.
        keys: the ones to be in force; one of them may be as before.
        software: as `make_request`.
        created: as `make_request`.
        in_force: the request that this one replaces.
        old: the keys of that one; None for a node key that is lost.
    """
    identity, node = (old.identity, old.node) if isinstance(old, SiteKeys) else old
    unproven = _signed(wanted, keys, software, created, in_force.keys_digest())
    return unproven.model_copy(
        update={
            "previous_signature": identity.sign(unproven.signed).hex(),
            "previous_node_signature": node and node_key.sign(node, unproven.signed),
        }
    )


def require_recent(request: SiteEnrolment, now: datetime) -> None:
    """Return if a request was made lately.

    Raises:
        IntegrityError: it is too old, or of the future.
    """
    created = datetime.fromisoformat(request.created)
    if created + LASTS < now:
        raise IntegrityError(
            f"the request of {request.site} of {request.created} expired after {LASTS.days} days; "
            "the site makes a new one: hedgerow site request HOME"
        )
    if created - CLOCKS_DIFFER > now:
        raise IntegrityError(
            f"the request of {request.site} is of {request.created}, and it is "
            f"{now.isoformat(timespec='seconds')} here: one of the two clocks is wrong"
        )


def require_exchange(request: SiteEnrolment, in_force: SiteEnrolment, *, node_lost: bool) -> None:
    """Return if a request exchanges the keys of the one in force, signed by those.

    Args:
        request: verified as `SiteEnrolment.from_bytes` does.
        in_force: the site's present one.
        node_lost: whether to do without the signature of the node key in force.

    Raises:
        IntegrityError: a signature is missing or does not fit, or it replaces another request.
    """
    if request.replaces is None:
        raise IntegrityError(
            f"the request of {request.site} asks to be enrolled, not to have keys exchanged; the "
            "site makes such a one with hedgerow site rotate-keys HOME"
        )
    if request.replaces != in_force.keys_digest():
        raise IntegrityError(
            f"the request of {request.site} replaces other keys than those in force: it is old, "
            "or was made in a copy of the site's folder"
        )
    if request.created < in_force.created:
        raise IntegrityError(f"the request of {request.site} is older than the one in force")
    old = in_force.identity_key
    if request.previous_signature is None or not _identity_signed(
        old, request.signed, request.previous_signature
    ):
        raise IntegrityError(
            f"the request of {request.site} is not signed by the identity key in force: somebody "
            "else made it, or that key is lost; then revoke the site"
        )
    if request.previous_node_signature is None:
        if not node_lost:
            raise IntegrityError(
                f"the request of {request.site} is not signed by the node key in force; if the "
                "site says by phone that the key is lost: --node-key-lost"
            )
    elif not node_key.is_signed(in_force.node_key, request.signed, request.previous_node_signature):
        raise IntegrityError(f"the request of {request.site}: not signed by the node key in force")


def _signed(
    wanted: RequestedSite,
    keys: SiteKeys,
    software: Software,
    created: str,
    replaces: str | None,
) -> SiteEnrolment:
    unsigned = SiteEnrolment(
        version=1,
        **wanted.model_dump(include=set(RequestedSite.model_fields)),
        identity_key=keys.identity.public_key().public_bytes_raw().hex(),
        node_key=node_key.public_line(keys.node),
        hedgerow=software.hedgerow,
        flwr=software.flwr,
        created=created,
        replaces=replaces,
        signature="0" * 128,
        node_signature="00",
        previous_signature=None,
        previous_node_signature=None,
    )
    return unsigned.model_copy(
        update={
            "signature": keys.identity.sign(unsigned.signed).hex(),
            "node_signature": node_key.sign(keys.node, unsigned.signed),
        }
    )


def _identity_signed(key: str, message: bytes, signature: str) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(
            bytes.fromhex(signature), message
        )
    except (InvalidSignature, ValueError):
        return False
    return True
