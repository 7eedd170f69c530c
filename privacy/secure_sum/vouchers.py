"""Vouchers: how sites that shared a channel know each other's next adverts without a signature.

To verify a signature costs many times what a tag does, and every session has each site verify one
of every other. So from the second session of a run on, a site adds to its advert, for each peer of
its latest session, a tag on all that its signature is on, under a key that the two derived there.
The coordinator passes on to each peer the tags that are for it. A peer accepts an advert with a
tag that fits; else it looks at the signature. A voucher that is missing or wrong refuses nobody:
after losses, two sites may have different latest sessions, and after a restart a site has none.

This is as good as the signature: whenever an honest site accepts the advert of an honest peer, the
peer made it, for exactly these terms. By induction over the sessions of the site. What is accepted
by its signature is the peer's, as ever. What is accepted by a voucher is tagged under a key that
comes from the X25519 secret of two sealing keys of an earlier session, in which the site accepted
the peer's advert; so, by induction, the peer drew its sealing key itself. No private sealing key
ever leaves its site (that is the mask key, whose shares are dealt), so only the two can derive what
comes from their secret. The site tags nothing under the key of what comes in: each direction has
its own, and nothing can be reflected. The peer tags nothing under it but adverts of its own, and
the terms digest in each says of which run, round, attempt and agreement it is: nothing can be
replayed. And the roster decides as before: a peer must be in it, under the identity key by which
the site knew it. A peer that colludes can vouch for other keys towards each site, just as it can
sign two adverts: then the session digests differ, and those sites share no mask and no tag.

What changes. A voucher convinces only the one that it is for, who could have made it, too: what
was said to whom can be shown to a third party by the signature alone, which the coordinator still
verifies. And whoever reads these keys in a site's memory can, together with a coordinator that
lies and without any identity key, pass keys of its own off as the site's towards its peers and as
the peers' towards the site: in the next session of the run, and on from there as long as it does
so in every one. Where rows and identity key are in that memory, too, as in our agent, both are lost
with it anyway. The keys are never written to a disk, and are of use within one run only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from privacy.secure_sum import keys
from privacy.secure_sum.keys import Channel
from privacy.secure_sum.messages import Advert
from privacy.secure_sum.session import advert_body
from privacy.secure_sum.table import Table
from privacy.secure_sum.terms import SessionTerms
from privacy.secure_sum.transcript import Label, bind


@dataclass(frozen=True, slots=True)
class Acquaintance:
    """A peer whose advert of an earlier session was accepted.

    Attributes:
        identity: its key in this site's roster then.
        out: key of vouchers to it, 32 bytes.
        into: key of vouchers from it, 32 bytes.
    """

    identity: Ed25519PublicKey
    out: bytes = field(repr=False)
    into: bytes = field(repr=False)

    def vouched(
        self, voucher: bytes, identity: Ed25519PublicKey, terms: SessionTerms, peer: str,
        advert: Advert,
    ) -> bool:  # fmt: skip
        """Whether `peer`, whose identity key is `identity` now, vouched for its advert."""
        body = _body(terms, peer, advert)
        return self.identity == identity and keys.is_tagged(self.into, body, voucher)


Acquaintances = Mapping[str, Acquaintance]
"""Per peer of a site's latest session of a run. The caller keeps them in memory, for that run."""

NOBODY: Acquaintances = MappingProxyType({})
"""Of a site that has had no session in this run, or was restarted since."""


def acquaintances(
    channels: Mapping[str, Channel], roster: Mapping[str, Ed25519PublicKey]
) -> Acquaintances:
    """The peers of a session in which all adverts were accepted."""
    return {
        peer: Acquaintance(roster[peer], *channel.vouching) for peer, channel in channels.items()
    }


def vouchers(known: Acquaintances, terms: SessionTerms, site: str, advert: Advert) -> Table:
    """A site's vouchers for its own advert: for each invited peer that it knows, 16 bytes."""
    body = _body(terms, site, advert)
    peers = [peer for peer in terms.sites if peer in known]
    return Table.of({peer: keys.tag(known[peer].out, body) for peer in peers}, keys.TAG_BYTES)


def _body(terms: SessionTerms, site: str, advert: Advert) -> bytes:
    return bind(Label.VOUCHER, *advert_body(terms, site, advert))
