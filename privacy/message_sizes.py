"""How large a body can be in each phase: whoever receives a larger one refuses it unopened.

Questions go from the coordinator to a site, answers the other way. Within a session the sizes
follow from its terms, to the byte: the message where every invited site takes part and every two
of them know each other. Outside there are bounds, a few times what is ever written.
"""

from collections.abc import Mapping

from federation.envelope import Phase
from federation.errors import ProtocolViolation
from federation.ring_vector import packed_bytes
from federation.round_messages import COMPLETED, MODEL_LENGTH_BYTES, SEED_BYTES
from privacy.secure_sum.dealing import COMMITMENTS_BYTES
from privacy.secure_sum.keys import SIGNATURE_BYTES, TAG_BYTES
from privacy.secure_sum.messages import Advert, Envelope
from privacy.secure_sum.shamir import SHARE_BYTES
from privacy.secure_sum.terms import SessionTerms
from privacy.secure_sum.transcript import DIGEST_BYTES
from privacy.secure_sum.wire import HEADER_BYTES

LARGEST_QUESTION: Mapping[Phase, int] = {
    Phase.ENLIST: 256,
    Phase.AGREE: 1 << 20,
    Phase.WITNESS: 1 << 21,
    Phase.ADVERTISE: 1 << 10,
    Phase.CLOSE: len(COMPLETED),
}
"""Bytes, where no session is open yet: a name, an agreement, heads of ledgers, an invitation, one
word."""

LARGEST_ANSWER: Mapping[Phase, int] = {
    Phase.ENLIST: 1 << 20,
    Phase.AGREE: DIGEST_BYTES,
    Phase.WITNESS: 1 << 20,
    Phase.CLOSE: 1 << 12,
}
"""Bytes, outside sessions: public facts, a digest, heads of ledgers, what a ledger says."""


def largest_question(phase: Phase, terms: SessionTerms, model_bytes: int) -> int:
    """Bytes of the largest body that a session can ask one of its sites with.

    Args:
        phase: one that needs an open session: share, train, sign or open.
        terms: of the session.
        model_bytes: of the global model as it travels.

    Raises:
        KeyError: another phase.
    """
    others = len(terms.sites) - 1
    fields = {
        Phase.SHARE: len(terms.sites) * Advert.WIDTH + _bit_set_bytes(terms) + others * TAG_BYTES,
        Phase.TRAIN: terms.degree * Envelope.WIDTH + MODEL_LENGTH_BYTES + model_bytes,
        Phase.SIGN: 0,
        Phase.OPEN: others * TAG_BYTES,
    }
    return HEADER_BYTES + _bit_set_bytes(terms) + fields[phase]


def largest_answer(phase: Phase, terms: SessionTerms, noise_seeds: int = 0) -> int:
    """Bytes of the largest body that one site of a session can answer with.

    Args:
        phase: one of a round.
        terms: of the session.
        noise_seeds: how many of surplus noise a site reveals when it opens its shares.

    Raises:
        KeyError: another phase.
    """
    others, holders, bit_set = len(terms.sites) - 1, terms.degree + 1, _bit_set_bytes(terms)
    dealt = terms.degree * Envelope.WIDTH + COMMITMENTS_BYTES
    fields = {
        Phase.ADVERTISE: Advert.WIDTH + bit_set + others * TAG_BYTES,
        Phase.SHARE: bit_set + dealt + DIGEST_BYTES + SIGNATURE_BYTES,
        Phase.TRAIN: DIGEST_BYTES + packed_bytes(terms.stretches),
        Phase.SIGN: bit_set + others * TAG_BYTES,
        Phase.OPEN: 2 * bit_set + holders * SHARE_BYTES + noise_seeds * SEED_BYTES,
    }
    return HEADER_BYTES + fields[phase]


def require_size(phase: Phase, size: int, largest: int) -> None:
    """Return if a body of `size` bytes can be of its phase.

    Raises:
        ProtocolViolation: it is larger than the largest.
    """
    if size > largest:
        raise ProtocolViolation(
            f"a body of {size} bytes in phase {phase}: the largest that can be is {largest}"
        )


def _bit_set_bytes(terms: SessionTerms) -> int:
    return -(-len(terms.sites) // 8)
