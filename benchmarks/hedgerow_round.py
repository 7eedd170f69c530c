"""One round of our secure sum, with the CPU seconds of its two ends.

Both ends are the state machines of `privacy.secure_sum`; messages pass as bytes. The encoding of a
site's vector counts as its client's time, the decoding of the sum as the server's. All that the
secure-sum benchmark knows of the core stands here.

The round is the second of its run, as every later one would be: sites know each other from the
first, and accept adverts by their vouchers. The first is played as far as its keys and shares go;
only these stages cost a client more in it, so the others count as in the second.
"""

import time
import tracemalloc
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from round_cost import Floats, RoundCost

from federation.entropy import SystemEntropy
from federation.layout import Segment, VectorLayout
from federation.ring_vector import RingVector, Stretch
from privacy.secure_sum import coordinator, site
from privacy.secure_sum.mask_stream import add_masks
from privacy.secure_sum.messages import MaskedInput
from privacy.secure_sum.terms import SessionTerms
from privacy.secure_sum.vouchers import NOBODY, Acquaintances

WORD_BITS = 32
KEY_BYTES = 16
MODEL = bytes(32)
CLIP = 8.0
STEP = 2 * CLIP / 2**22  # Flower's 2**22 levels from -8 to 8
FLOOR = site.SitePolicyFloor(minimum_quorum=3, minimum_threshold=2)
DECODE = "decode"

ServerMeter = Callable[[str, int], AbstractContextManager[None]]
"""Given a stage and the bytes that came in for it, measures what the server does about them."""


def round_cpu(  # noqa: PLR0913, PLR0917 - the shape of a round
    sites: Sequence[str],
    vectors: Mapping[str, Floats],
    degree: int | None,
    threshold: int,
    quorum: int,
    lost: Collection[str],
    threads: int = 1,
) -> RoundCost:
    """Play the second round of a run.

    Args:
        sites: sorted names.
        vectors: per site, shape (d,), within `CLIP`.
        degree: peers that a site masks with; None for all of them.
        threshold: fewest shares that give a secret back.
        quorum: fewest survivors.
        lost: sites that fail when they should send their masked vector.
        threads: for the masks, at both ends.

    Raises:
        SystemExit: the sum is not that of the survivors' words.
    """
    server_seconds: dict[str, float] = {}

    @contextmanager
    def clock(stage: str, received: int) -> Iterator[None]:
        del received
        began = time.process_time()
        yield
        server_seconds[stage] = server_seconds.get(stage, 0.0) + time.process_time() - began

    clients = _Clients(sites, vectors, lost, threads)
    terms = _terms(sites, clients.layout, degree, threshold, quorum)
    clients.meet(terms)
    mean = _play(replace(terms, round=2), clients, threads, clock)
    client = {stage: seconds / len(clients.survivors) for stage, seconds in clients.cpu.items()}
    first = {s: seconds / len(clients.survivors) for s, seconds in clients.first_cpu.items()}
    return RoundCost(
        client=client,
        first_client=client | first,
        server=server_seconds,
        upload=clients.upload / len(clients.survivors),
        vector_message=clients.vector_message,
        word_bits=WORD_BITS,
        mean=mean,
    )


def server_peak_bytes(sites: Sequence[str], vector: Floats, threshold: int, quorum: int) -> int:
    """The most memory that the server's half holds in a second round in which all send `vector`.

    Counted are the messages that a step is given, what it allocates, and what earlier steps left;
    not the sum as floats, which is for the caller.
    """
    held = peak = 0

    @contextmanager
    def memory(stage: str, received: int) -> Iterator[None]:
        nonlocal held, peak
        if stage == DECODE:
            yield
            return
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        yield
        after, highest = tracemalloc.get_traced_memory()
        peak = max(peak, held + received + highest - before)
        held += after - before

    clients = _Clients(sites, dict.fromkeys(sites, vector), (), threads=1)
    terms = _terms(sites, clients.layout, None, threshold, quorum)
    clients.meet(terms)
    tracemalloc.start()
    try:
        _play(replace(terms, round=2), clients, 1, memory)
    finally:
        tracemalloc.stop()
    return peak


def zero_vector(length: int) -> RingVector:
    """An accumulator of so many 32-bit words."""
    return RingVector.zeros((Stretch(WORD_BITS, length),))


def expand_masks(vector: RingVector, keys: Sequence[bytes], threads: int = 1) -> None:
    """Add the mask of each key of `KEY_BYTES`, in place: the inner loop of both ends."""
    add_masks(vector, keys, (), threads)


def masked_message(vector: RingVector) -> bytes:
    """A masked vector as a site sends it."""
    return MaskedInput(bytes(32), vector.pack()).to_bytes()


def add_message(total: RingVector, message: bytes) -> None:
    """What the server does with each masked vector, in place."""
    total.add_packed(MaskedInput.from_bytes(message, total.stretches).packed)


class _Clients:
    """All sites of a round, each in turn; keeps the CPU seconds and bytes of the survivors."""

    def __init__(
        self,
        sites: Sequence[str],
        vectors: Mapping[str, Floats],
        lost: Collection[str],
        threads: int,
    ) -> None:
        self.vectors, self.lost, self.threads = vectors, set(lost), threads
        self.survivors = [name for name in sites if name not in self.lost]
        self.identities = {name: Ed25519PrivateKey.generate() for name in sites}
        self.roster = {name: key.public_key() for name, key in self.identities.items()}
        length = len(next(iter(vectors.values())))
        self.layout = VectorLayout((Segment("update", length, CLIP, STEP),), len(sites))
        self.expected = RingVector.zeros(self.layout.stretches)
        self.cpu: dict[str, float] = {}
        self.first_cpu: dict[str, float] = {}
        self.known: dict[str, Acquaintances] = {}
        self.upload = self.vector_message = 0
        self.states: dict[str, object] = {}

    @contextmanager
    def timed(self, stage: str, name: str) -> Iterator[None]:
        """Book CPU time under a stage, unless the site is one of the lost."""
        began = time.process_time()
        yield
        if name not in self.lost:
            self.cpu[stage] = self.cpu.get(stage, 0.0) + time.process_time() - began

    def ask(
        self,
        stage: str,
        messages: Mapping[str, bytes],
        step: Callable[[str, object, bytes], tuple[object, bytes]],
    ) -> dict[str, bytes]:
        """Every site's answer to its message."""
        answers = {}
        for name, message in messages.items():
            with self.timed(stage, name):
                self.states[name], answers[name] = step(name, self.states.get(name), message)
            if name not in self.lost:
                self.upload += len(answers[name])
        return answers

    def advertise(self, terms: SessionTerms) -> dict[str, bytes]:
        """Every site's advert, vouched for where it knows the others."""
        return self.ask(
            "advertise",
            dict.fromkeys(terms.sites, b""),
            lambda name, _, __: site.advertise(
                terms, name, self.identities[name], SystemEntropy(), FLOOR,
                self.known.get(name, NOBODY),
            ),
        )  # fmt: skip

    def share(self, bundles: Mapping[str, bytes]) -> dict[str, bytes]:
        """Every site's shares."""
        return self.ask(
            "share",
            bundles,
            lambda _, state, message: site.share(state, message, self.roster, SystemEntropy()),
        )

    def meet(self, terms: SessionTerms) -> None:
        """Play a first session as far as sites know each other; its stages are kept apart."""
        _, bundles = coordinator.gather(terms, self.advertise(terms), self.roster)
        self.share(bundles)
        self.known = {name: state.acquaintances for name, state in self.states.items()}
        self.first_cpu, self.cpu, self.states, self.upload = self.cpu, {}, {}, 0

    def masked(self, envelopes: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
        """Every survivor's masked vector, one after the other."""
        for name in self.survivors:
            with self.timed("encode", name):
                vector = self.layout.encode({"update": self.vectors[name]})
            self.expected.add(vector)
            answer = self.ask(
                "mask",
                {name: envelopes[name]},
                lambda _, state, message, vector=vector: site.mask(
                    state, message, MODEL, vector, self.threads
                ),
            )
            self.vector_message = len(answer[name])
            yield name, answer.pop(name)


def _terms(
    sites: Sequence[str], layout: VectorLayout, degree: int | None, threshold: int, quorum: int
) -> SessionTerms:
    return SessionTerms(
        federation="benchmark", run="run-1", round=1, attempt=1,
        config_digest=bytes(32), layout_digest=bytes(32),
        sites=tuple(sites), threshold=threshold, quorum=quorum,
        degree=len(sites) - 1 if degree is None else degree, stretches=layout.stretches,
    )  # fmt: skip


def _play(terms: SessionTerms, clients: _Clients, threads: int, server: ServerMeter) -> Floats:
    """The five stages; the mean of the survivors' vectors."""
    adverts = clients.advertise(terms)
    with server("gather", _bytes(adverts)):
        sharing, bundles = coordinator.gather(terms, adverts, clients.roster)
        shown = dict(bundles)
    dealt = clients.share(shown)
    with server("route", _bytes(dealt)):
        shown.clear()
        masking, envelopes = coordinator.route(sharing, dealt)
    with server("collect", 0):
        sums = coordinator.Accumulation(masking, MODEL)
    for name, message in clients.masked(envelopes):
        with server("collect", len(message)):
            sums.add(name, message)
    with server("collect", 0):
        signing, survivors = sums.close()
    signed = clients.ask(
        "sign",
        dict.fromkeys(signing.survivors, survivors),
        lambda _, state, message: site.sign(state, message),
    )
    with server("relay", _bytes(signed)):
        opening, agreements = coordinator.relay(signing, signed)
    opened = clients.ask(
        "open",
        agreements,
        lambda _, state, message: site.open_shares(state, message),
    )
    with server("reveal", _bytes(opened)):
        revealed = coordinator.reveal(opening, opened, threads)
    with server(DECODE, 0):
        total = clients.layout.decode(revealed.total)["update"]
    if not np.array_equal(revealed.total.buffer, clients.expected.buffer):
        raise SystemExit("our sum is not that of the survivors' words")
    return total / len(clients.survivors)


def _bytes(messages: Mapping[str, bytes]) -> int:
    return sum(len(message) for message in messages.values())
