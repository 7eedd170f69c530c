"""Masks look random in every ring, across rings, sites and sessions; no key has under 128 bits.

p-values are of fixed seeds, so these tests never fail by chance.
"""

import inspect

import numpy as np
import pytest
from rehearsal import MASKED_HEAD, MODEL, Stage, constant, make_terms, play
from scipy.stats import chisquare, kstest

from federation.entropy import SeededEntropy
from federation.ring_vector import RING_BITS, RingVector, Stretch
from privacy.secure_sum import dealing, keys, mask_stream, shamir, site
from privacy.secure_sum.keys import AgreementKey
from privacy.secure_sum.mask_stream import add_masks
from privacy.secure_sum.session import round_digest

EVERY_RING = tuple(Stretch(bits, 3) for bits in RING_BITS)


def looks_uniform(counts: np.ndarray) -> bool:
    return bool(1e-4 < chisquare(counts).pvalue < 1 - 1e-4)


def words_of(data: bytes, stretches: tuple[Stretch, ...]) -> list[np.ndarray]:
    """Of a masked input, each reduced to its ring."""
    vector = RingVector.unpack(stretches, data[MASKED_HEAD:])
    return [
        part.astype(np.int64) % 2**s.bits for s, part in zip(stretches, vector.parts(), strict=True)
    ]


@pytest.fixture(scope="module")
def sessions() -> list[dict[str, list[np.ndarray]]]:
    """Masked inputs of all sites in many short sessions: every word is under fresh keys."""
    terms = make_terms(3, threshold=2, quorum=3, stretches=EVERY_RING)
    vectors = constant(terms, 3)
    return [
        {
            name: words_of(data, EVERY_RING)
            for name, data in play(terms, vectors=vectors, seed=seed).sent[Stage.MASK].items()
        }
        for seed in range(400)
    ]


@pytest.mark.parametrize("ring", range(len(RING_BITS)))
@pytest.mark.parametrize("word", range(3))
def test_every_word_of_every_ring_is_uniform_over_sessions(sessions, ring: int, word: int) -> None:
    drawn = [words[ring][word] for each in sessions for words in each.values()]
    fractions = np.array(drawn) / 2 ** RING_BITS[ring]
    assert kstest(fractions, "uniform").pvalue > 1e-4
    low = np.bincount(np.array(drawn) % 16, minlength=16)
    assert looks_uniform(low)


def jointly(one: list[int], other: list[int]) -> np.ndarray:
    return np.bincount(np.array(one) % 8 * 8 + np.array(other) % 8, minlength=64)


@pytest.mark.parametrize("ring", range(len(RING_BITS) - 1))
def test_the_words_on_both_sides_of_a_border_of_rings_are_independent(sessions, ring: int) -> None:
    """One keystream runs through all rings: none of its bytes serves on both sides."""
    pairs = [(words[ring][-1], words[ring + 1][0]) for each in sessions for words in each.values()]
    assert looks_uniform(jointly(*map(list, zip(*pairs, strict=True))))


def test_two_sites_two_sessions_and_two_rounds_are_independent(sessions) -> None:
    names = sorted(sessions[0])
    for ring in range(len(RING_BITS)):
        flat = {n: [int(w) for each in sessions for w in each[n][ring]] for n in names}
        assert looks_uniform(jointly(flat[names[0]], flat[names[1]]))
        assert looks_uniform(jointly(flat[names[0]][3:], flat[names[0]][:-3]))


def test_one_sessions_masks_under_two_models_are_independent() -> None:
    """The secrets are the same, as they would be for a site that was shown two models."""
    terms = make_terms(3, threshold=2, quorum=3, stretches=(Stretch(20, 2**14),))
    played = play(terms)
    name = terms.sites[1]
    state, envelopes = played.states[Stage.SHARE][name], played.told[Stage.MASK][name]
    one, other = (
        words_of(site.mask(state, envelopes, model, played.vectors[name])[1], terms.stretches)[0]
        for model in (MODEL, bytes(32))
    )
    assert looks_uniform(jointly(list(one), list(other)))
    assert looks_uniform(np.bincount((one - other) % 64, minlength=64))


@pytest.mark.parametrize("bits", RING_BITS)
def test_a_mask_is_uniform_across_the_chunks_it_is_made_in(bits: int) -> None:
    """The words on both sides of each chunk's border, over many keys."""
    stretch = Stretch(bits, mask_stream.CHUNK_BYTES)
    step, edges = mask_stream.CHUNK_BYTES // stretch.dtype.itemsize, []
    for number in range(64):
        total = RingVector.zeros((Stretch(16, 5), stretch) if bits != 16 else (stretch,))
        add_masks(total, [SeededEntropy(number).child("edge").bytes(16)], [], threads=2)
        part = total.parts()[-1].astype(np.int64)
        edges += [(int(part[at - 1]), int(part[at])) for at in range(step, len(part), step)]
    nibbles = np.bincount([a % 4 * 4 + b % 4 for a, b in edges], minlength=16)
    assert len(edges) >= 64
    assert looks_uniform(nibbles)


# -- how much there is to guess ------------------------------------------------------------


@pytest.fixture
def derived(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bytes, int]]:
    """Label, secret and length of every key that is derived."""
    calls: list[tuple[str, bytes, int]] = []
    honest = keys.derive

    def recording(secret: bytes, length: int, label: object, *context: bytes) -> bytes:
        calls.append((str(label), secret, length))
        return honest(secret, length, label, *context)

    monkeypatch.setattr(keys, "derive", recording)
    return calls


def test_every_key_comes_from_256_bits_and_has_128_at_least(derived) -> None:
    played = play(make_terms(5))
    assert {label for label, _, _ in derived} == {"channel", "self-mask", "pairwise-mask"}
    for label, secret, length in derived:
        assert len(secret) == 32
        assert len(set(secret)) > 8  # no padding, no counter
        assert length >= (4 * 32 if label == "channel" else 16)
    shared = played.states[Stage.SHARE][played.terms.sites[0]]
    for channel in shared.channels.values():
        every = [*channel.seals, *channel.tags]
        assert [len(key) for key in every] == [32] * 4
        assert len(set(every)) == 4


def test_everything_that_is_cut_short_keeps_128_bits() -> None:
    widths = {
        "mask keys": keys.MASK_KEY_BYTES,
        "tags": keys.TAG_BYTES,
        "commitments": dealing.COMMITMENT_BYTES,
        "seeds and private keys": keys.KEY_BYTES,
        "shared secrets": shamir.SECRET_BYTES,
    }
    assert min(widths.values()) >= 16
    # What the coefficients of a sharing lack to be uniform: 384 bits modulo a 257-bit prime.
    assert 8 * shamir._COEFFICIENT_BYTES - shamir.PRIME.bit_length() >= 127


class Counting:
    """Counts what is drawn."""

    def __init__(self) -> None:
        self.drawn: list[int] = []

    def bytes(self, n: int) -> bytes:
        self.drawn.append(n)
        return SeededEntropy(len(self.drawn)).bytes(n)


def test_keys_seeds_and_shares_are_drawn_in_full() -> None:
    """32 bytes a key or seed, 48 a coefficient, 12 a nonce; nothing is drawn once for two uses."""
    counting, terms = Counting(), make_terms(5)
    AgreementKey.generate(counting)
    assert counting.drawn == [32]
    played = play(terms)
    name = terms.sites[0]
    counting.drawn.clear()
    state = played.states[Stage.ADVERTISE][name]
    site.share(state, played.told[Stage.SHARE][name], played.roster, counting)
    peers, coefficients = len(terms.sites) - 1, terms.threshold - 1
    assert counting.drawn == [32, *[48] * (2 * coefficients), *[12] * peers]


def test_the_round_names_all_of_session_and_model() -> None:
    """Each of their bits changes every mask key."""
    secret, session = bytes(range(32)), bytes(32)
    honest = keys.self_mask_key(secret, round_digest(session, MODEL), "a")
    for at in range(256):
        bit = (1 << at).to_bytes(32, "big")
        flipped = bytes(a ^ b for a, b in zip(MODEL, bit, strict=True))
        assert keys.self_mask_key(secret, round_digest(bit, MODEL), "a") != honest
        assert keys.self_mask_key(secret, round_digest(session, flipped), "a") != honest


def test_no_randomness_of_the_core_comes_from_anywhere_but_its_entropy() -> None:
    for module in (keys, site, shamir, dealing, mask_stream):
        source = inspect.getsource(module)
        for other in ("import random", "import secrets", "np.random", "urandom"):
            assert other not in source
