"""The document `hedgerow/privacy-report/1`: every number that the page and the tables show.

An epsilon is an upper bound; None stands where no bound is proven. Sentences are part of it, so
that what the page says is what whoever reads the JSON was told.
"""

from typing import Literal

from federation.section import Section
from privacy.budget import Unit

SCHEMA: Literal["hedgerow/privacy-report/1"] = "hedgerow/privacy-report/1"


class Part(Section):
    """A frozen piece of the document; unknown fields are an error."""


class Statement(Part):
    """One thing that is claimed, in words."""

    name: str
    text: str


class Policy(Part):
    """What may be spent, from one entry of the ledger on."""

    entry: int
    at: str
    epsilon: float | None
    """None where there is no bound."""
    delta: float
    records_per_person: int
    """What the budget hides: a person with up to so many records."""
    neighbouring_relation: str
    """Whether they are added or removed, or replaced."""
    site_level_epsilon: float | None
    site_level_delta: float | None
    mechanisms: tuple[str, ...] | None
    """What may be charged; all if None."""
    whole_plans: bool
    """Whether a first plan may have the budget to itself."""
    minimum_cohort: int
    expires: str | None
    reason: str | None
    """Of an amendment; None for the first policy."""
    role: str | None
    """Whoever decided on the amendment."""


class CrossCheck(Part):
    """Opacus' PRV accountant on the same events: a band that holds epsilon."""

    lower: float
    upper: float


class Spending(Part):
    """What stands in one unit of privacy, held against its budget."""

    unit: Unit
    delta: float
    budget: float | None
    epsilon: float | None
    """Spent: the lesser of the two bounds below, over all that is reserved or committed."""
    epsilon_pld: float | None
    """By privacy loss distributions."""
    epsilon_rdp: float | None
    """By Renyi differential privacy."""
    prv: CrossCheck | None
    prv_note: str
    """Why there is no cross-check; empty where there is one."""
    filter_order: float | None
    """Order of the Renyi divergence that the filter adds up; None if infinite, or not yet fixed."""
    filtered: float | None
    """What stands, as the filter measures it."""
    guaranteed: float | None
    """What holds however plans were chosen: the budget, or the whole plan's cost."""
    guaranteed_by: Literal["filter", "whole plan", "nothing"]
    left: float | None
    """Budget less spent, not below 0; None without a budget. Epsilons do not simply add up."""


class Parameter(Part):
    """One parameter of an event, as exactly as the ledger holds it."""

    name: str
    value: str


class Plan(Part):
    """A run that was registered, and what became of it."""

    run: str
    entry: int
    at: str
    mechanism: str
    parameters: tuple[Parameter, ...]
    """Of one charge's event."""
    site_level: tuple[Parameter, ...]
    """Of what one charge costs a site as a whole; empty if that is not hidden."""
    rounds: int
    cohort: int
    whole: int
    """So many charges were reserved as one whole plan; 0 where the filter decides."""
    charged: int
    committed: int
    open: int
    epsilon: float | None
    """Of its own charges alone, by a quick bound."""
    left: int
    """How many more of its charges would be admitted."""
    agreement_sha256: str | None
    task: str | None
    sites: int | None
    threshold: int | None
    colluders: int | None
    max_grad_norm: float | None
    expected_batch_size: float | None
    local_steps: int | None
    noise_source: str | None
    software: str | None


class PlanStart(Part):
    """Where a run's charges begin on the axis of the cumulative chart."""

    charge: int
    run: str


class CurvePoint(Part):
    """A point of a curve; None where no bound is proven."""

    x: float
    y: float | None


class Cumulative(Part):
    """Epsilon after each charge that stands, in the order of the ledger."""

    rdp: tuple[float | None, ...]
    """After charges 1, 2, ...: Renyi differential privacy."""
    pld: tuple[CurvePoint, ...]
    """After some charges, the last among them: privacy loss distributions."""
    starts: tuple[PlanStart, ...]
    """Whenever another run charges than the one before."""


class HitRate(Part):
    """Most of the present records that any test finds, at a rate of false alarms."""

    false_positive_rate: float
    true_positive_rate: float


class Gain(Part):
    """What an attacker gains who guesses whether one record is in the table."""

    hit_rates: tuple[HitRate, ...]
    advantage: float
    """Largest difference between true and false positive rate."""
    gaussian_mu: float | None
    """One draw of N(0, 1) against N(mu, 1) is no harder to tell."""
    trade_off: tuple[HitRate, ...]
    epsilon_of_delta: tuple[CurvePoint, ...]
    """x is delta, y epsilon."""
    words: str


class Person(Part):
    """A person with at most so many records in this table."""

    records: int
    epsilon: float | None
    epsilon_pld: float | None
    """None where no bound is proven, or one is beyond any budget."""
    epsilon_rdp: float | None


class Adversary(Part):
    """Somebody who might learn something, and how much at most."""

    who: str
    sees: str
    epsilon: float | None
    rests_on: str


class Place(Part):
    """An entry of the ledger that concerns one release."""

    entry: int
    at: str
    run: str
    round: int
    charge: int


class Refusal(Place):
    """A charge that was not admitted."""

    reason: str


class Void(Place):
    """A charge that was given back."""

    reservation: int
    proof: str


class Audit(Part):
    """What an empirical audit found, as it was recorded."""

    entry: int
    at: str
    kind: str | None
    verdict: str | None
    proven_epsilon: float | None
    empirical_epsilon: float | None
    confidence: float | None
    trials: int | None
    recorded: str
    """All of it, as canonical JSON."""


class Witness(Part):
    """A signed statement that a site saw the ledger end at an entry."""

    signer: str
    run: str
    entry: int
    hash: str


class Integrity(Part):
    """What was checked of the ledger's file."""

    entries: int
    counts: dict[str, int]
    head: str
    first_at: str
    last_at: str
    public_key: str
    key_source: Literal["given", "roster", "ledger"]
    """Where the key is from: `ledger` is what the ledger says of itself."""
    witnesses: tuple[Witness, ...]
    words: tuple[str, ...]


class LedgerReport(Part):
    """One site's account of one dataset."""

    site: str
    dataset: str
    public_rows: int | None
    records_per_person: int
    neighbouring_relation: str
    rows_words: str
    headline: str
    warnings: tuple[str, ...]
    policies: tuple[Policy, ...]
    record: Spending
    whole_site: Spending | None
    plans: tuple[Plan, ...]
    more_of_last: int | None
    """How many charges more a further plan like the last one would be admitted."""
    claim: tuple[Statement, ...]
    adversaries: tuple[Adversary, ...]
    site_adversaries: tuple[Adversary, ...]
    """Of the second guarantee, whose unit is the site; never added to the first."""
    gain: Gain
    cumulative: Cumulative
    people: tuple[Person, ...]
    assumptions: tuple[str, ...]
    not_covered: tuple[str, ...]
    open: tuple[Place, ...]
    refusals: tuple[Refusal, ...]
    voids: tuple[Void, ...]
    audits: tuple[Audit, ...]
    integrity: Integrity


class Overlap(Part):
    """A person with one record at each of so many of the sites."""

    sites: int
    epsilon: float | None


class Federation(Part):
    """Several ledgers together."""

    ledgers: int
    epsilon: float | None
    """Of people whose records are in one ledger only: the largest of all."""
    delta: float
    largest: str
    overlaps: tuple[Overlap, ...]
    overlap_delta: float
    words: tuple[str, ...]


class NoiseRound(Part):
    """Whether a round's sum carried the noise that was promised."""

    round: int
    noise_multiplier: float
    ratio: float
    p_value: float
    alarm: bool
    too_little: bool


class GroupUtility(Part):
    """How well the run's model serves one group of held-out rows."""

    attribute: str
    group: str
    rows: int
    accuracy: float | None
    auc: float | None
    note: str


class RunFacts(Part):
    """What a run's summary adds to its ledgers."""

    run: str
    task: str
    status: str
    noise_source: str
    rows: int | None
    accuracy: float | None
    noise: tuple[NoiseRound, ...]
    groups: tuple[GroupUtility, ...]


class Version(Part):
    """Of a program that made the report."""

    name: str
    version: str


class PrivacyReport(Part):
    """The whole report."""

    schema_id: Literal["hedgerow/privacy-report/1"] = SCHEMA
    as_of: str
    """Time of the latest entry of all ledgers; the report has no clock of its own."""
    ledgers: tuple[LedgerReport, ...]
    federation: Federation | None
    runs: tuple[RunFacts, ...]
    versions: tuple[Version, ...]
