"""Ledgers of every kind that a report must be able to tell of, written by the ledger itself."""

import hashlib
import itertools
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sample_consortium import roster_of

from federation.errors import PrivacyRefusal
from federation.ledger_head import HeadStatement, LedgerHead, dataset_digest, sign_head
from federation.roster import Roster
from privacy.account import Charge, ChargePlan, PlanTerms
from privacy.budget import Budget, DatasetPolicy
from privacy.event import (
    Composed,
    DiscreteLaplace,
    DistributedDiscreteGaussian,
    NonPrivate,
    PoissonSampledDistributedGaussian,
    PoissonSampledGaussian,
    PrivacyEvent,
)
from privacy.ledger import Ledger
from privacy.neighbours import RECORD, Neighbours

DELTA = 1e-5
TRAINING = PoissonSampledGaussian(0.05, 1.1, 2)
SHARED = PoissonSampledDistributedGaussian(0.05, 1.5, 500, 2**20, honest=5, count=1)
QUERIES = Composed((DiscreteLaplace(1, 20.0, 1), DiscreteLaplace(2, 50.0, 1)))
OF_SITE = DistributedDiscreteGaussian(500, 2**20, 4.0, honest=4, count=1)
TERMS = PlanTerms(
    agreement_sha256="ab" * 32, task="heart", sites=7, threshold=4, colluders=1, max_grad_norm=1.0,
    expected_batch_size=52.5, local_steps=2, noise_source="operating system", software="hedgerow 9",
)  # fmt: skip


def key_of(site: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(site.encode()).digest())


def ticking() -> Callable[[], str]:
    seconds = itertools.count()
    return lambda: f"2026-03-01T12:{(s := next(seconds)) // 60:02d}:{s % 60:02d}+00:00"


def create(
    folder: Path,
    epsilon: float = 8.0,
    site: str = "ulm",
    dataset: str = "ward",
    rows: int | None = 4000,
    site_level: Budget | None = None,
    neighbours: Neighbours = RECORD,
) -> Ledger:
    rules = DatasetPolicy(Budget(epsilon, DELTA), site_level, neighbours=neighbours)
    path = folder / f"{site}.sqlite"
    return Ledger.create(path, key_of(site), (site, dataset), rules, ticking(), rows)


def play(
    ledger: Ledger,
    run: str,
    event: PrivacyEvent,
    rounds: int,
    charged: int | None = None,
    site_level: DistributedDiscreteGaussian | None = None,
    terms: PlanTerms = TERMS,
) -> Ledger:
    ledger.register(ChargePlan(run, Charge(event, site_level), rounds, 4, terms))
    for number in range(1, (rounds if charged is None else charged) + 1):
        ledger.commit(ledger.reserve(run, number, 1), f"{number:064x}")
    return ledger


def empty(folder: Path) -> Ledger:
    return create(folder)


def plain(folder: Path) -> Ledger:
    return play(create(folder), "first", TRAINING, 10)


def mixed(folder: Path) -> Ledger:
    ledger = play(create(folder, 20.0), "first", TRAINING, 6)
    play(ledger, "queries", QUERIES, 2)
    return play(ledger, "shared", SHARED, 5, charged=4)


def of_site(folder: Path) -> Ledger:
    ledger = create(folder, site_level=Budget(50.0, 1e-4))
    return play(ledger, "whole", TRAINING, 3, site_level=OF_SITE)


def non_private(folder: Path) -> Ledger:
    return play(create(folder, float("inf")), "bare", NonPrivate(), 2)


def refused_only(folder: Path) -> Ledger:
    ledger = create(folder, 0.1)
    ledger.register(ChargePlan("much", Charge(TRAINING), 5, 4, TERMS))
    for number in (1, 2):
        try:
            ledger.reserve("much", number, 1)
        except PrivacyRefusal:
            continue
        raise AssertionError("it was admitted")
    return ledger


def with_voids(folder: Path) -> Ledger:
    ledger = play(create(folder), "first", TRAINING, 6, charged=3)
    ledger.void(ledger.reserve("first", 4, 1), "the journal holds no answer of round 4")
    ledger.reserve("first", 5, 1)
    return ledger


def amended(folder: Path) -> Ledger:
    ledger = plain(folder)
    ledger.amend(DatasetPolicy(Budget(12.0, DELTA)), "second study", "data protection officer")
    return play(ledger, "second", TRAINING, 2)


def spent_up(folder: Path) -> Ledger:
    """As many charges as the filter admits, and not one more."""
    ledger = create(folder, 2.0)
    ledger.register(ChargePlan("first", Charge(TRAINING), 1, 4, TERMS))
    ledger.commit(ledger.reserve("first", 1, 1), "0" * 64)
    play(ledger, "second", TRAINING, 10_000, charged=0)
    for number in range(1, ledger.account().charges_left("second") + 1):
        ledger.commit(ledger.reserve("second", number, 1), "0" * 64)
    return ledger


def of_persons(folder: Path) -> Ledger:
    return play(create(folder, 12.0, neighbours=Neighbours(records=2)), "first", TRAINING, 4)


KINDS: dict[str, Callable[[Path], Ledger]] = {
    "empty": empty,
    "plain": plain,
    "mixed": mixed,
    "of_site": of_site,
    "non_private": non_private,
    "refused_only": refused_only,
    "with_voids": with_voids,
    "amended": amended,
    "spent_up": spent_up,
    "of_persons": of_persons,
}


def written(folder: Path, kind: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    KINDS[kind](folder).close()
    return folder / "ulm.sqlite"


def roster(*sites: str) -> Roster:
    return roster_of({site: key_of(site).public_key().public_bytes_raw() for site in sites})


def statement(ledger: Ledger, signer: str, seq: int | None = None) -> HeadStatement:
    """What `signer` saw of the ledger, as it is now or as it was at entry `seq`."""
    entries = ledger.entries()
    entry = entries[(seq or len(entries)) - 1]
    site, dataset = ledger.account().holder
    head = LedgerHead(
        run="first", site=site, dataset=dataset_digest("f", site, dataset), seq=entry.seq,
        hash=entry.hash,
    )  # fmt: skip
    return sign_head(head, "f", signer, key_of(signer))
