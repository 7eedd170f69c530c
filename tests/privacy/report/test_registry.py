"""The registry's form: its required fields are there, and what it lists is out of its lists."""

import json

import pytest
from sample_ledgers import TRAINING, create, play, written

from privacy.report.build import privacy_report
from privacy.report.registry import ASK, registry_entry
from privacy.report.source import Trust, read_ledger

# github.com/opendp/deployments-registry-data, schemas/deployments-schema.yaml: sections and fields.
FIELDS = {
    "basic": {
        "name", "data_curators", "intended_use", "data_product_type", "data_product_region",
        "description", "publication_date", "data_product_sector",
    },
    "dp_variant": {"variant_name", "data_domain", "unprotected_quantities"},
    "privacy_loss": {
        "privacy_unit", "privacy_unit_details", "privacy_parameters", "privacy_parameters_details",
    },
    "deployment_model": {
        "model_name", "model_name_details", "actors", "release_type", "release_type_details",
        "data_source_type", "data_source_type_details", "access_type", "access_type_details",
    },
    "accounting": {"post_processing", "composition"},
    "implementation": {"preprocessing_and_hyperparameter_tuning", "mechanisms", "justification"},
    "administrative": {"sources", "notes", "registry_authors"},
}  # fmt: skip
LISTS = {
    ("basic", "data_product_type"): {"Machine learning model", "Summary statistics"},
    ("dp_variant", "variant_name"): {"Pure DP", "Approximate DP", "Custom"},
    ("deployment_model", "model_name"): {"Local", "Central", "Shuffle", "Federated"},
    ("deployment_model", "release_type"): {"One release", "Many releases"},
    ("deployment_model", "data_source_type"): {"Static", "Dynamic"},
    ("deployment_model", "access_type"): {"Interactive", "Non-interactive"},
}


def entry(*paths):
    return registry_entry(privacy_report([read_ledger(path, Trust()) for path in paths]))


@pytest.mark.parametrize("kind", ["empty", "plain", "mixed", "of_site", "non_private"])
def test_it_has_the_registrys_fields_and_no_others(tmp_path, kind) -> None:
    record = entry(written(tmp_path, kind))
    assert set(record) == {"url_slug", "status", "tier", "deployment"}
    assert (record["status"], record["tier"]) == ("Draft", 3)
    deployment = record["deployment"]
    assert set(deployment) == set(FIELDS)
    for section, fields in FIELDS.items():
        assert set(deployment[section]) <= fields
    assert FIELDS["basic"] - set(deployment["basic"]) == {"data_product_sector"}
    for (section, name), allowed in LISTS.items():
        assert deployment[section][name] in allowed
    texts = [v for part in deployment.values() for v in part.values() if not isinstance(v, dict)]
    assert all(isinstance(text, str | list) and text for text in texts)
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_epsilon_is_the_largest_and_absent_where_nothing_is_proven(tmp_path) -> None:
    play(create(tmp_path, site="ulm"), "a", TRAINING, 4).close()
    play(create(tmp_path, site="bonn"), "b", TRAINING, 8).close()
    paths = sorted(tmp_path.glob("*.sqlite"))
    report = privacy_report([read_ledger(path, Trust()) for path in paths])
    loss = entry(*paths)["deployment"]["privacy_loss"]["privacy_parameters"]
    assert loss == {"epsilon": report.ledgers[0].record.epsilon, "delta": 1e-5}
    bare = entry(written(tmp_path / "bare", "non_private"))
    assert bare["deployment"]["privacy_loss"]["privacy_parameters"] == {"delta": 1e-5}


def test_what_no_ledger_knows_is_left_to_the_curator(tmp_path) -> None:
    basic = entry(written(tmp_path, "plain"))["deployment"]["basic"]
    assert basic["intended_use"] == basic["data_product_region"] == ASK
    assert basic["data_curators"] == ["ulm"]
    assert basic["publication_date"] == "2026-03-01"
