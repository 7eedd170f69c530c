"""The report in the form of the Differential Privacy Deployments Registry, as a draft to fill in.

The registry's schema (github.com/opendp/deployments-registry-data, schemas/deployments-schema.yaml)
follows Nanayakkara, Ghazi and Vadhan 2025, arXiv:2509.13509. JSON is YAML, which the registry
takes. What no ledger knows is left to the curator in so many words.
"""

from collections.abc import Sequence

from federation.report_page.number_text import listing
from privacy.report.document import LedgerReport, PrivacyReport
from privacy.report.wording import bound

ASK = "Not stated in the ledgers; to be filled in by the curator."


def registry_entry(report: PrivacyReport) -> dict[str, object]:
    """A record of tier 3, for `deployments/`."""
    ledgers = report.ledgers
    sites = tuple(dict.fromkeys(one.site for one in ledgers))
    return {
        "url_slug": f"federated-learning-{report.as_of[:10]}",
        "status": "Draft",
        "tier": 3,
        "deployment": {
            "basic": _basic(report, sites),
            "dp_variant": {
                "variant_name": "Approximate DP",
                "data_domain": "Tables of records at the sites, of any number of rows.",
                "unprotected_quantities": " ".join(ledgers[0].not_covered),
            },
            "privacy_loss": _privacy_loss(report),
            "deployment_model": _model(ledgers),
            "accounting": {
                "post_processing": "Noised sums are averaged into models or answers.",
                "composition": " ".join(ledgers[0].assumptions),
            },
            "implementation": {
                "preprocessing_and_hyperparameter_tuning": (
                    "Not in epsilon unless it was charged as an event of its own."
                ),
                "mechanisms": _of(ledgers[0], "Mechanisms", "Randomness", "Floating point"),
                "justification": ASK,
            },
            "administrative": {
                "notes": (
                    "Exported from signed ledgers by hedgerow; epsilons are upper bounds. What "
                    "is said of one ledger is said of the first one."
                ),
                "registry_authors": [ASK],
            },
        },
    }


def _basic(report: PrivacyReport, sites: tuple[str, ...]) -> dict[str, object]:
    plans = [plan for one in report.ledgers for plan in one.plans]
    tasks = tuple(dict.fromkeys(plan.task for plan in plans if plan.task))
    trained = any("sampled" in plan.mechanism for plan in plans)
    first = min(one.integrity.first_at for one in report.ledgers)
    return {
        "name": f"Federated learning: {listing(tasks) or 'no run yet'}",
        "data_curators": list(sites),
        "intended_use": ASK,
        "data_product_type": "Machine learning model" if trained else "Summary statistics",
        "data_product_region": ASK,
        "description": " ".join(f"{one.site}: {one.headline}" for one in report.ledgers),
        "publication_date": first[:10],
    }


def _privacy_loss(report: PrivacyReport) -> dict[str, object]:
    first = report.ledgers[0]
    epsilon = report.federation.epsilon if report.federation else first.record.epsilon
    delta = report.federation.delta if report.federation else first.record.delta
    parameters = {"delta": delta} | ({} if epsilon is None else {"epsilon": epsilon})
    many = " ".join(report.federation.words) if report.federation else ""
    return {
        "privacy_unit": "Record" if first.records_per_person == 1 else "Person",
        "privacy_unit_details": _of(first, "Unit of privacy", "Neighbouring relation"),
        "privacy_parameters": parameters,
        "privacy_parameters_details": (
            f"{_of(first, 'Guarantee', 'Delta against rows')} "
            f"Epsilon at most {bound(epsilon)}. {many}"
        ).strip(),
    }


def _model(ledgers: Sequence[LedgerReport]) -> dict[str, object]:
    first = ledgers[0]
    actors = "; ".join(
        f"{one.who} (sees {one.sees}): epsilon {bound(one.epsilon)}, resting on {one.rests_on}"
        for one in first.adversaries
    )
    charges = sum(plan.charged for one in ledgers for plan in one.plans)
    return {
        "model_name": "Federated",
        "model_name_details": _of(first, "Who is held off"),
        "actors": actors,
        "release_type": "One release" if charges == 1 else "Many releases",
        "release_type_details": _of(first, "Scope of composition", "What is released"),
        "data_source_type": "Static",
        "data_source_type_details": "A ledger is of one dataset; another dataset has another.",
        "access_type": "Non-interactive",
        "access_type_details": (
            "A coordinator proposes runs; each site's own policy and budget decide."
        ),
    }


def _of(ledger: LedgerReport, *names: str) -> str:
    return " ".join(one.text for one in ledger.claim if one.name in names)
