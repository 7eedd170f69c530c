"""The words of the report that a data-protection officer need not know already."""

from typing import NamedTuple


class Term(NamedTuple):
    """A word and what it means here."""

    word: str
    meaning: str


TERMS = (
    Term(
        "Adversary",
        "Whoever tries to learn about a record from what was released. It is taken to know every "
        "other record and to see all that its row in the table says.",
    ),
    Term(
        "Charge",
        "What one release costs, written into the ledger before the work for it starts.",
    ),
    Term(
        "Delta (δ)",
        "The probability with which the guarantee may fail altogether; to be far below 1 / rows.",
    ),
    Term(
        "Epsilon (ε)",
        "How much what is released can differ in probability, by a factor of up to e^ε, with and "
        "without one record. 0 tells nothing; above 10 it protects weakly.",
    ),
    Term(
        "Filter",
        "The rule that admits a charge only if all that stands, measured at one Rényi order that "
        "was fixed beforehand, stays within the budget.",
    ),
    Term(
        "Ledger",
        "A site's own signed, append-only account of what its releases cost. Each entry names the "
        "one before by its digest.",
    ),
    Term(
        "PLD, RDP, PRV",
        "Three accountants: privacy loss distributions, Rényi differential privacy, and Opacus' "
        "privacy random variables. The first two are upper bounds, of which the lesser counts; the "
        "third is a check.",
    ),
    Term(
        "Secure sum",
        "Sites mask their vectors so that the coordinator sees nothing but the total.",
    ),
    Term(
        "True and false positive rate",
        "Of an attacker who accuses people of being in the table: the share of those in it who are "
        "found, and of those not in it who are accused.",
    ),
    Term(
        "Whole plan",
        "A run that fixed all its charges beforehand and has the budget to itself.",
    ),
    Term(
        "Witness",
        "Another site's signed statement of how far it saw this ledger had come. A ledger that "
        "was cut or restored from an old copy is behind it.",
    ),
)
