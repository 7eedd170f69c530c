"""Whole runs under injected faults: real processes die, sites are lost as planned, lies refused."""

from pathlib import Path

import pytest
from federation_in_process import Federation

from client.site_home import SiteHome
from federation import config_file
from federation.errors import ConfigError, PrivacyRefusal
from federation.injected_drift_record import read_injected
from federation.run_folder import RunFolder
from federation.summary import Summary
from privacy.ledger import verify
from server.window_evaluation import Asked
from simulations.evaluation import evaluate
from simulations.injection import planned_faults
from simulations.lying_coordinator import LIES
from simulations.simulate import run
from simulations.sites import prepare, read_config

SITES = ("cleveland", "hungary", "switzerland", "va_long_beach")


def prepared(runs: Path, simulation: dict, rounds: int = 3, **tables: object) -> RunFolder:
    table = {
        "run": {"name": "test", "rounds": rounds, "on_failed_round": "continue"},
        "training": {"local_steps": 1, "sampling_rate": 0.1},
        "privacy": {"epsilon": 2.0, "delta": 1e-3},
        "simulation": {"baselines": False, **simulation},
        **tables,
    }
    return prepare(config_file.parse(table), runs)


def played(folder: RunFolder) -> Summary:
    return run(folder, read_config(folder.path), lambda _: None)


def charges(folder: RunFolder, site: str) -> list[tuple[int, bool]]:
    """Round of each reservation in a site's ledger, and whether it was voided."""
    key = SiteHome(folder.site_home(site)).read_identity().public_key()
    entries = verify(folder.ledger(site), key)
    voided = {e.body["reservation"] for e in entries if e.kind == "void"}
    return [(e.body["round"], e.seq in voided) for e in entries if e.kind == "reserve"]


def test_a_worker_that_is_killed_costs_its_sites_part_and_no_charge_is_lost(tmp_path) -> None:
    """It dies after its vector was made and before it left: charged, and not in the sum."""
    folder = prepared(
        tmp_path,
        {"workers": 4, "crashes": [{"site": "hungary", "round": 1, "phase": "train"}]},
    )
    summary = played(folder)
    assert summary.run.status == "completed"
    assert "hungary" not in summary.rounds[0].survivors
    assert "was killed by SIGKILL" in summary.rounds[0].dropped["hungary"]
    assert "hungary" in summary.rounds[2].survivors
    assert (folder.site_home("hungary") / "crashed-1-train").exists()
    # Charged for the round it died in, once, and for every round that its vector is in.
    trained = [one.round for one in summary.rounds[:3] if "hungary" in one.survivors]
    assert charges(folder, "hungary") == [(number, False) for number in (1, *trained)]
    assert summary.privacy.sites["hungary"].reserved == 1 + len(trained)
    assert summary.injected.rounds[0].lost == {"crash": 1}


def test_the_same_sites_are_lost_whatever_plays_them(tmp_path) -> None:
    """One worker, three, and none at all: losses by the plan, and one model."""
    simulation = {
        "faults": {"dropout_rate": {"train": 0.1, "open": 0.1}},
        "availability": {"kind": "rate", "rate": 0.9},
        "stragglers": {"sigma": 0.3, "jitter": 0.3, "deadline_seconds": 1.9},
    }
    models, lost = [], []
    for workers in (1, 3):
        folder = prepared(tmp_path, {**simulation, "workers": workers}, rounds=4)
        summary = played(folder)
        models.append(folder.model.read_bytes())
        lost.append([sorted(set(SITES) - set(one.survivors)) for one in summary.rounds])
    table = {
        "run": {"name": "test", "rounds": 4, "on_failed_round": "continue"},
        "training": {"local_steps": 1, "sampling_rate": 0.1},
        "simulation": {"baselines": False, **simulation},
    }
    direct = Federation(tmp_path, table)
    direct.play()
    assert models == [direct.model, direct.model]
    plan = planned_faults(direct.folder, direct.config)
    outside = ("offline", "straggler", "dropout")
    for one in direct.folder.read_summary().rounds:
        found = {site: plan.lost_in(site, one.round, one.attempts) for site in SITES}
        planned = {
            site for site, loss in found.items()
            if loss and loss.cause in outside and loss.phase not in ("sign", "open")
        }  # fmt: skip
        if one.status == "completed":
            assert set(one.dropped) == planned
        assert planned or not one.dropped
        for site, why in one.dropped.items():
            assert found[site] is None or found[site].reason in why
    assert lost[0] == lost[1]
    assert any(lost[0])


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        ("two_survivor_sets", "phase open: protocol: agreements: fewer than the quorum agreed"),
        ("two_models", "phase open: protocol: agreements: fewer than the quorum agreed"),
        ("second_sum", "phase sign: protocol: survivors: another set was signed for this round"),
        ("another_agreement", "phase agree: protocol: agreement: this run was agreed on other"),
    ],
)
def test_a_lying_coordinator_is_refused_by_the_rule_that_is_named(tmp_path, kind, rule) -> None:
    folder = prepared(tmp_path, {"coordinator": kind})
    with pytest.raises(PrivacyRefusal) as caught:
        played(folder)
    assert str(caught.value).startswith(f"simulation.coordinator = {kind}: ")
    assert rule in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 4
    for site in SITES:  # whatever was charged is charged once
        assert len(charges(folder, site)) <= 1


def test_every_lie_of_the_settings_is_told() -> None:
    named = config_file.FederationConfig.model_json_schema()["$defs"]["Simulation"]["properties"]
    assert set(named["coordinator"]["enum"]) == {"honest", *LIES}


def test_a_lie_is_about_one_sum(tmp_path) -> None:
    table = {"robustness": {"aggregate": "median", "groups": 3}}
    with pytest.raises(ConfigError, match=r"^simulation\.coordinator ="):
        prepared(tmp_path, {"coordinator": "two_models"}, **table)


def test_injected_drift_is_found_where_it_was_injected(tmp_path) -> None:
    """Labels all turned round from the second of three windows on: errors show it at once."""
    drift = {"kind": "concept", "strength": 1.0, "from_window": "window-002"}
    folder = prepared(tmp_path, {"windows": 3, "drift": [drift]}, privacy={"mode": "off"},
                      training={"local_steps": 10, "sampling_rate": 0.5})  # fmt: skip
    summary = played(folder)
    assert summary.injected.windows == 3
    assert summary.injected.drift == ("concept, strength 1, from window-002 on at once: all sites",)
    truth = read_injected(folder)
    assert [change.window for change in truth.changes] == ["window-002", "window-003"]
    found = evaluate(folder.path, Asked(truth.windows))
    scores = {one.detector: one for one in found.detection.scores}
    assert [one.kinds for one in found.detection.windows] == [(), ("concept",), ("concept",)]
    assert (scores["concept"].recall, scores["concept"].delay) == (1.0, 0)
    assert scores["concept"].false_positives == 0
    assert scores["covariate"].positives == 0
    page = (folder.path / "evaluation" / "evaluation.html").read_text()
    assert "Against what was injected" in page
    assert "window-002 (concept)" in page


def test_a_backdoor_opens_for_its_trigger_and_the_report_says_how_often(tmp_path) -> None:
    backdoor = {"kind": "backdoor", "target": "yes", "feature": "oldpeak", "value": 7.0,
                "share": 0.9}  # fmt: skip
    attackers = [{"site": site, **backdoor} for site in SITES[1:]]
    folder = prepared(
        tmp_path, {"attackers": attackers}, rounds=5, privacy={"mode": "off"},
        training={"local_steps": 20, "sampling_rate": 0.5, "learning_rate": 0.5},
    )  # fmt: skip
    summary = played(folder)
    truth = {one.site: one for one in summary.injected.attackers}
    assert set(truth) == set(SITES[1:])
    assert truth["hungary"].with_trigger > truth["hungary"].as_they_are
    assert truth["hungary"].with_trigger > 0.6
    assert "hungary was malicious: backdoor" in folder.report.read_text()
