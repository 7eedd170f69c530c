"""Rounds over real agents: who may be lost, what a retry costs, what a refusal stops."""

import json
import shutil
import sqlite3
from dataclasses import replace

import numpy as np
import pytest
import torch
from fairlearn.metrics import demographic_parity_difference, equalized_odds_difference
from federation_in_process import Federation, asked
from safetensors.torch import load
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    brier_score_loss,
    log_loss,
    roc_auc_score,
)

from client import agent, round_vectors
from client.site_home import SiteHome
from evaluation.gap_grades import JUDGED_GAPS
from federation.envelope import BUDGET_EXHAUSTED, Phase, parse_reply
from federation.errors import IntegrityError, PrivacyRefusal, RoundFailed
from federation.ring_vector import RingVector
from federation.task import SiteRequest
from federation.task_loading import load_task
from privacy.ledger import verify
from server.run_record import read_record
from simulations.sites import simulated_site

SITES = ("cleveland", "hungary", "switzerland", "va_long_beach")


def ledger_kinds(federation: Federation, site: str) -> list[str]:
    key = SiteHome(federation.folder.site_home(site)).read_identity().public_key()
    return [entry.kind for entry in verify(federation.folder.ledger(site), key)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    federation = Federation(tmp_path_factory.mktemp("runs"))
    federation.play()
    return federation


def test_an_undisturbed_run_records_everything(undisturbed) -> None:
    summary = undisturbed.folder.read_summary()
    assert summary.run.status == "completed"
    assert summary.run.rounds_completed == 3
    assert [p.after_round for p in summary.utility] == [0, 1, 2, 3]
    assert {r.survivors for r in summary.rounds} == {SITES}
    assert [r.clipped_updates for r in summary.rounds] == [0, 0, 0, None]
    assert summary.notes == ()
    assert all(a.epsilon_spent <= a.epsilon_budget for a in summary.privacy.sites.values())
    assert summary.utility[-1].overall.rows == 276
    assert summary.privacy.noise_source == "seeded (simulation)"
    for site in SITES:
        assert ledger_kinds(undisturbed, site) == ["budget", "plan", *["reserve", "commit"] * 3]


def test_every_number_is_what_sklearn_and_fairlearn_find_on_the_pooled_rows(undisturbed) -> None:
    config, task = undisturbed.config, load_task("heart", {})
    model = task.build_model()
    model.load_state_dict(load(undisturbed.model))
    parts = [
        part
        for site in SITES
        for data in [task.load(SiteRequest(site, config.run.seed))]
        for part in (data.reference, data.current)
    ]
    labels = np.concatenate([part.targets.numpy() for part in parts])
    with torch.no_grad():
        scores = task.probabilities(model(torch.cat([part.inputs for part in parts])))[:, 1].numpy()
    said = scores >= 0.5
    summary = undisturbed.folder.read_summary()
    final = summary.utility[-1].overall
    assert final.accuracy.value == accuracy_score(labels, said)
    assert final.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, said))
    assert final.log_loss == pytest.approx(log_loss(labels, scores), abs=1e-4)
    assert final.brier == pytest.approx(brier_score_loss(labels, scores), abs=1e-4)
    assert final.auc.low <= roc_auc_score(labels, scores) <= final.auc.high
    gaps = {(g.attribute, g.metric): g.estimate.value for g in summary.fairness[0].disparities}
    for attribute in ("sex", "age_group"):
        groups = np.concatenate([part.groups[attribute] for part in parts])
        for metric in (demographic_parity_difference, equalized_odds_difference):
            theirs = metric(labels, said, sensitive_features=groups)
            assert gaps[attribute, metric.__name__] == theirs


def test_gaps_are_recorded_for_the_model_of_every_round(undisturbed) -> None:
    summary = undisturbed.folder.read_summary()
    points = [(p.after_round, p.scope) for p in summary.fairness_by_round]
    assert points == [(k, "overall") for k in range(4)]
    final = tuple(
        gap.model_copy(update={"variants": ()})
        for gap in summary.fairness[0].disparities
        if gap.metric in JUDGED_GAPS
    )
    assert summary.fairness_by_round[-1].disparities == final
    assert summary.fairness_by_round[0].disparities != final


def test_the_same_seed_gives_the_same_model_and_another_another(undisturbed, tmp_path) -> None:
    again = Federation(tmp_path)
    again.play()
    assert again.model == undisturbed.model
    other = Federation(tmp_path, None, "run.seed=7")
    other.play()
    assert other.model != undisturbed.model


@pytest.mark.parametrize("phase", ["advertise", "share", "train", "sign", "open"])
def test_one_lost_site_is_survived_in_every_phase(phase: str, tmp_path) -> None:
    dropout = {"site": "hungary", "round": 2, "phase": phase}
    federation = Federation(tmp_path, {"simulation": {"dropouts": [dropout], "baselines": False}})
    federation.play()
    summary = federation.folder.read_summary()
    assert summary.run.status == "completed"
    lost_vector = phase in ("advertise", "share", "train")
    expected = tuple(s for s in SITES if s != "hungary") if lost_vector else SITES
    assert summary.rounds[1].survivors == expected
    assert ("hungary" in summary.rounds[1].dropped) == lost_vector
    charged = ledger_kinds(federation, "hungary").count("reserve")
    assert charged == (2 if lost_vector else 3)


def two_lost(**run: object) -> dict:
    dropouts = [{"site": site, "round": 2, "phase": "train"} for site in SITES[:2]]
    return {
        "run": {"name": "test", "rounds": 3, **run},
        "simulation": {"dropouts": dropouts, "baselines": False},
    }


def test_below_the_quorum_the_run_stops_with_the_reason(tmp_path) -> None:
    federation = Federation(tmp_path, two_lost())
    outcome = federation.play()
    assert "round 2 failed" in outcome.stopped.reason
    assert "quorum is 3" in outcome.stopped.reason
    summary = federation.folder.read_summary()
    assert (summary.run.status, summary.run.rounds_completed) == ("stopped", 1)
    assert summary.rounds[1].status == "failed"
    assert set(summary.rounds[1].dropped) == set(SITES[:2])
    assert summary.utility[-1].after_round == 1


def test_a_stopped_run_resumes_with_the_round_that_failed(undisturbed, tmp_path) -> None:
    federation = Federation(tmp_path, two_lost())
    federation.play()
    federation.play()
    summary = federation.folder.read_summary()
    assert (summary.run.status, summary.run.rounds_completed) == ("completed", 3)
    assert federation.model == undisturbed.model
    assert [p.after_round for p in summary.utility] == [0, 1, 2, 3]
    for site in SITES:
        assert ledger_kinds(federation, site) == ledger_kinds(undisturbed, site)


def test_or_the_run_goes_on_with_the_model_as_it_was(tmp_path) -> None:
    federation = Federation(tmp_path, two_lost(on_failed_round="continue"))
    federation.play()
    summary = federation.folder.read_summary()
    assert [r.status for r in summary.rounds] == ["completed", "failed", "completed", "completed"]
    assert summary.run.rounds_completed == 2
    assert [p.after_round for p in summary.utility] == [0, 1, 3]


def test_a_retry_resends_the_same_vectors_and_costs_nothing(undisturbed, tmp_path) -> None:
    federation = Federation(tmp_path, two_lost(attempts_per_round=2))
    federation.play()
    summary = federation.folder.read_summary()
    assert summary.rounds[1].attempts == 2
    assert federation.model == undisturbed.model
    for site in SITES:
        assert ledger_kinds(federation, site) == ledger_kinds(undisturbed, site)


@pytest.mark.parametrize("phase", list(Phase)[3:8])
@pytest.mark.parametrize(
    "restarted",
    [
        pytest.param(False, id="agents live", marks=pytest.mark.slow),
        pytest.param(True, id="agents die too"),
    ],
)
def test_a_killed_run_resumes_to_the_same_model_and_spends_nothing_twice(
    undisturbed, tmp_path, phase: Phase, restarted: bool
) -> None:
    federation = Federation(tmp_path)
    federation.play_until_killed(asked(2, phase, node=2))
    if restarted:
        federation.restart_agents()
    federation.play()
    summary = federation.folder.read_summary()
    assert (summary.run.status, summary.run.resumed) == ("completed", 1)
    # The keys of round 2 are exchanged in round 1, which is then the one that was cut short.
    cut_short = 0 if phase in (Phase.ADVERTISE, Phase.SHARE) else 1
    assert [r.attempts for r in summary.rounds] == [1 + (at == cut_short) for at in range(4)]
    assert federation.model == undisturbed.model
    for site in SITES:
        assert sorted(ledger_kinds(federation, site)) == sorted(ledger_kinds(undisturbed, site))


@pytest.mark.parametrize("honest", [True, False], ids=["honest", "lying"])
def test_a_survivor_set_once_signed_is_the_only_one_for_its_vectors(
    undisturbed, tmp_path, monkeypatch, honest: bool
) -> None:
    federation = Federation(tmp_path)
    federation.play_until_killed(asked(2, Phase.OPEN, node=2))
    again = federation.transport()

    def without_one(node: int, request) -> None:
        if (request.round, request.phase, node) == (2, Phase.TRAIN, 0):
            raise ConnectionError("down")

    again.before = without_one
    if honest:
        outcome = federation.play(again)
        assert "cleveland did not come back; the round waits" in outcome.stopped.reason
    else:
        monkeypatch.setattr("server.secure_round.SurvivorRecord.bind", lambda *_: None)
        outcome = federation.play(again)
        assert "round 2 failed" in outcome.stopped.reason
        dropped = federation.folder.read_summary().rounds[1].dropped
        assert "another set was signed" in dropped["hungary"]
        monkeypatch.undo()
    # The sites are not stuck: with all of them back, the round is completed.
    federation.play()
    assert federation.folder.read_summary().run.status == "completed"
    assert federation.model == undisturbed.model


def test_a_retry_comes_to_the_survivors_that_signed_before(tmp_path) -> None:
    lost_early = {"site": "hungary", "round": 2, "phase": "train"}
    lost_late = {"site": "cleveland", "round": 2, "phase": "sign"}
    table = {
        "federation": {"quorum": 3, "threshold": 3},
        "simulation": {"dropouts": [lost_early, lost_late], "baselines": False},
    }
    federation = Federation(tmp_path, table)
    assert "round 2 failed" in federation.play().stopped.reason
    federation.play()
    summary = federation.folder.read_summary()
    assert (summary.run.status, summary.run.rounds_completed) == ("completed", 3)
    second = next(r for r in summary.rounds if (r.round, r.status) == (2, "completed"))
    assert second.survivors == ("cleveland", "switzerland", "va_long_beach")
    assert "signed a sum without it" in second.dropped["hungary"]
    # The stopped run's model and the final one were judged in rounds of their own.
    assert [p.after_round for p in summary.utility] == [0, 1, 2, 3]
    judged = [r.round for r in summary.rounds if r.kind == "evaluate" and r.status == "completed"]
    assert judged[-1] == 4
    assert summary.baselines[-1].utility == summary.utility[-1].overall


def test_a_run_cannot_charge_for_more_rounds_than_were_agreed(tmp_path) -> None:
    federation = Federation(tmp_path, {"site_policy": {"epsilon_budget": 50.0}})
    federation.play()
    home = federation.folder.site_home("hungary")
    journal = sqlite3.connect(home / "journal.sqlite")
    # As after a journal is lost: the site knows neither its vectors nor what it answered.
    for table in ("contributions", "marks", "models", "survivors", "ledger_head"):
        journal.execute(f"DELETE FROM {table}")
    journal.commit()
    journal.close()
    federation.restart_agents()
    rounds = federation.folder.rounds
    kept = [line for line in rounds.read_text().splitlines() if '"event": "start"' in line]
    rounds.write_text("\n".join(kept) + "\n")
    for checkpoint in federation.folder.path.glob("checkpoints/*"):
        checkpoint.unlink()
    federation.play()
    first = federation.folder.read_summary().rounds[0]
    assert "charged this site for all the rounds it agreed to" in first.dropped["hungary"]
    assert ledger_kinds(federation, "hungary").count("reserve") == 3


def test_a_resumed_run_goes_on_under_the_agreement_that_was_signed(tmp_path, monkeypatch) -> None:
    federation = Federation(tmp_path, two_lost())
    federation.play()
    monkeypatch.setattr("server.proposal.noise_multiplier", lambda *_: 99.0)
    federation.play()
    assert federation.folder.read_summary().run.status == "completed"
    federation.folder.agreement.write_bytes(b"{}")
    with pytest.raises(IntegrityError, match=r"agreement\.json is not what was written"):
        federation.play()


def test_a_round_that_had_all_its_attempts_stops_the_run_and_is_not_tried_on(
    tmp_path, monkeypatch
) -> None:
    """Attempts are counted over all starts, and a start makes as many as the settings say."""
    monkeypatch.setattr(agent, "MOST_ATTEMPTS", 5)
    table = two_lost(attempts_per_round=3)
    table["simulation"]["dropouts"] = [
        drop | {"attempts": 99} for drop in table["simulation"]["dropouts"]
    ]
    federation = Federation(tmp_path, table)
    assert "quorum is 3" in federation.play().stopped.reason
    assert read_record(federation.folder).attempts[2] == 3
    stopped = federation.play().stopped
    assert (
        "advertise: refused: attempts_exhausted: this site takes part in 5 attempts of a round"
        in stopped.reason
    )
    assert "this is number 6: begin a new run" in stopped.reason
    assert not stopped.by_budget
    federation.play()
    assert read_record(federation.folder).attempts[2] == 7  # tried once, not three times


def test_a_site_refuses_a_spent_round_as_often_as_it_is_asked_and_notes_it_once(tmp_path) -> None:
    table = {
        "run": {"name": "test", "rounds": 2},
        "privacy": {"noise_multiplier": 3.0, "delta": 1e-3},
        "site_policy": {"epsilon_budget": 0.45},
    }
    federation = Federation(tmp_path, table)
    line = federation.transport()
    federation.play(line)
    asked = [(node, q) for node, q, _ in line.wire if (q.phase, q.round) == (Phase.ADVERTISE, 2)]
    node, invitation = asked[0]
    before = ledger_kinds(federation, SITES[node])
    assert before == ["budget", "plan", "reserve", "commit", "refuse"]
    for attempt in range(50, 55):
        again = replace(invitation, attempt=attempt, expires=invitation.expires + 1e3)
        answer = simulated_site(federation.folder.path, node)(again.to_bytes())
        reply = parse_reply(answer)[0]
        assert (reply.status, reply.code) == ("refused", BUDGET_EXHAUSTED)
    assert ledger_kinds(federation, SITES[node]) == before


@pytest.mark.parametrize(
    ("phase", "body"),
    [
        (Phase.ENLIST, {"public_rows": 0}),
        (Phase.ENLIST, None),
        (Phase.CLOSE, {"reserved": "many"}),
        (Phase.CLOSE, None),
    ],
)
def test_a_site_that_says_nonsense_is_named_and_ends_nothing_by_a_traceback(
    tmp_path, phase: Phase, body: dict | None
) -> None:
    federation = Federation(tmp_path)
    line = federation.transport()
    key = SiteHome(federation.folder.site_home("hungary")).read_identity()

    def spoil(node: int, request, reply: bytes) -> bytes:
        if (node, request.phase) != (1, phase):
            return reply
        said = parse_reply(reply)[0]
        spoiled = b"\xff" if body is None else json.dumps(json.loads(said.body) | body).encode()
        return replace(said, body=spoiled).sign("test", request, key)

    line.alter = spoil
    if phase is Phase.ENLIST:
        with pytest.raises(RoundFailed, match="hungary"):
            federation.play(line)
        return
    federation.play(line)
    summary = federation.folder.read_summary()
    assert "hungary" not in summary.privacy.sites
    assert any("hungary" in note for note in summary.notes)
    assert summary.privacy.noise_source == "seeded (simulation)"


@pytest.mark.parametrize(
    "seed", [*range(3), *(pytest.param(n, marks=pytest.mark.slow) for n in range(3, 8))]
)
def test_counts_that_no_rows_can_give_fail_the_round(tmp_path, monkeypatch, seed: int) -> None:
    federation = Federation(tmp_path, {"run": {"name": "test", "rounds": 1}})
    honest, random = round_vectors.evaluation_contribution, np.random.default_rng(seed)

    def garbled(*given: object) -> RingVector:
        vector = honest(*given)
        most = [2**16, 1000, 2][seed % 3]
        for part in vector.parts():
            np.add(part, random.integers(0, most, len(part)).astype(part.dtype), out=part)
        return vector

    monkeypatch.setattr(round_vectors, "evaluation_contribution", garbled)
    outcome = federation.play()
    assert "the evaluation round failed" in outcome.stopped.reason
    assert outcome.record.rounds[-1].round.dropped == {}  # no site failed: their counts did
    summary = federation.folder.read_summary()
    assert summary.fairness == ()
    assert any("was not evaluated" in note for note in summary.notes)


def test_a_site_refuses_past_its_budget_and_the_run_says_so(tmp_path) -> None:
    table = {
        "run": {"name": "test", "rounds": 6},
        "privacy": {"noise_multiplier": 3.0, "delta": 1e-3},
        "site_policy": {"epsilon_budget": 0.7},
    }
    federation = Federation(tmp_path, table)
    outcome = federation.play()
    assert "the budget of epsilon 0.7" in outcome.record.rounds[-2].round.dropped["hungary"]
    summary = federation.folder.read_summary()
    assert 1 <= summary.run.rounds_completed < 6
    for account in summary.privacy.sites.values():
        assert account.epsilon_spent <= 0.7
        assert account.refused > 0
    assert summary.rounds[-1].kind == "evaluate"
    assert summary.rounds[-1].status == "completed"


def test_privacy_off_is_stamped_and_its_ledgers_say_so_for_ever(tmp_path) -> None:
    federation = Federation(tmp_path, {"privacy": {"mode": "off"}})
    federation.play()
    summary = federation.folder.read_summary()
    assert (summary.privacy.mode, summary.privacy.noise_source) == ("off", "none")
    assert any("WITHOUT differential privacy" in text for text in summary.privacy.not_covered)
    assert "WITHOUT" in federation.folder.report.read_text().upper()
    assert federation.progress[0].record.training_loss is not None
    for account in summary.privacy.sites.values():
        assert (account.epsilon_spent, account.epsilon_budget) == (None, None)
        assert account.committed == 3


def test_updates_that_were_all_clipped_are_told(tmp_path) -> None:
    federation = Federation(tmp_path, None, "training.learning_rate=1e4")
    federation.play()
    summary = federation.folder.read_summary()
    assert [r.clipped_updates for r in summary.rounds] == [4, 4, 4, None]
    assert summary.rounds[0].update_norm == pytest.approx(20.0, rel=1e-3)
    assert any("in 3 of 3 rounds every site's update" in note for note in summary.notes)


def test_delta_above_one_over_rows_is_refused(tmp_path) -> None:
    with pytest.raises(PrivacyRefusal, match=r"at most 1 / 212"):
        Federation(tmp_path, {"privacy": {"epsilon": 2.0, "delta": 0.01}}).play()


def test_a_forged_reply_is_a_lost_site(tmp_path) -> None:
    federation = Federation(tmp_path)
    line = federation.transport()

    def forge(node: int, request, reply: bytes) -> bytes:
        if (node, request.round, request.phase) != (1, 1, Phase.TRAIN):
            return reply
        end = len(reply) - len(parse_reply(reply)[0].rider)
        return reply[: end - 1] + bytes([reply[end - 1] ^ 1]) + reply[end:]

    line.alter = forge
    federation.play(line)
    summary = federation.folder.read_summary()
    assert "signature is not valid" in summary.rounds[0].dropped["hungary"]
    assert [r.survivors for r in summary.rounds[1:]] == [SITES] * 3


def test_a_forged_rider_costs_the_next_round_and_not_this_one(tmp_path) -> None:
    """The site has advertised and does so once; the forged keys are nobody's."""
    federation = Federation(tmp_path)
    line = federation.transport()

    def forge(node: int, request, reply: bytes) -> bytes:
        spoiled = (node, request.round, request.phase) == (1, 1, Phase.TRAIN)
        return reply[:-1] + bytes([reply[-1] ^ 1]) if spoiled else reply

    line.alter = forge
    federation.play(line)
    summary = federation.folder.read_summary()
    others = tuple(site for site in SITES if site != "hungary")
    assert [r.survivors for r in summary.rounds] == [SITES, others, SITES, SITES]
    assert "signature is not valid" in summary.rounds[1].dropped["hungary"]


def test_three_exchanges_a_round_once_keys_are_exchanged_ahead(undisturbed) -> None:
    summary = undisturbed.folder.read_summary()
    assert [r.exchanges for r in summary.rounds] == [5, 3, 3, 3]
    assert summary.secure_sum.exchanges_per_round == 3
    assert summary.secure_sum.tolerated_colluders == 1  # of 4 sites, quorum 3, threshold 3


def test_a_site_cut_off_before_it_dealt_is_asked_once_more(undisturbed, tmp_path) -> None:
    """It is silent at the very end of round 1, on which its shares for round 2 should ride."""
    dropout = {"site": "hungary", "round": 1, "phase": "open"}
    federation = Federation(tmp_path, {"simulation": {"dropouts": [dropout], "baselines": False}})
    federation.play()
    summary = federation.folder.read_summary()
    assert [r.survivors for r in summary.rounds] == [SITES] * 4
    assert [r.exchanges for r in summary.rounds] == [5, 4, 3, 3]
    assert federation.model == undisturbed.model


def test_a_site_that_never_comes_online_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("server.enlistment.ENLIST_SECONDS", 0.2)
    federation = Federation(tmp_path, None, "federation.round_timeout_seconds=0.2")
    line = federation.transport()
    line._count = 3
    with pytest.raises(RoundFailed, match=r"3 of 4 sites.*missing: va_long_beach"):
        federation.play(line)


def test_cohorts_are_read_apart_and_add_up(tmp_path) -> None:
    table = {
        "run": {"name": "test", "rounds": 1},
        "task": {"name": "digits"},
        "privacy": {"epsilon": 8.0, "delta": 1e-3},
        "federation": {"quorum": 6, "threshold": 4},
        "cohorts": {
            "north": [f"site-0{n}" for n in range(1, 5)],
            "south": [f"site-0{n}" for n in range(5, 9)],
        },
    }
    federation = Federation(tmp_path, table)
    federation.play()
    point = federation.folder.read_summary().utility[-1]
    assert set(point.cohorts) == {"north", "south"}
    assert point.overall.rows == sum(cohort.rows for cohort in point.cohorts.values())


def test_a_sparse_graph_opens_the_same_sums(undisturbed, tmp_path) -> None:
    """Every site masks with two of the three others; the model is the same bit for bit."""
    table = {"federation": {"neighbours": 2, "threshold": 2, "quorum": 3}}
    federation = Federation(tmp_path, table)
    federation.play()
    assert {r.survivors for r in federation.folder.read_summary().rounds} == {SITES}
    assert federation.model == undisturbed.model


def test_a_site_that_did_not_allow_it_refuses_a_sparse_graph(tmp_path) -> None:
    federation = Federation(tmp_path, {"federation": {"neighbours": 2, "threshold": 2}})
    home = SiteHome(federation.folder.site_home("hungary"))
    text = home.policy.read_text()
    assert "allow_sparse_graph = true" in text
    home.policy.write_text(text.replace("allow_sparse_graph = true", "allow_sparse_graph = false"))
    with pytest.raises(PrivacyRefusal, match="this site masks with all other sites"):
        federation.play()


def test_a_site_put_back_from_a_backup_between_two_starts_is_found(tmp_path) -> None:
    federation = Federation(tmp_path, two_lost(attempts_per_round=1))
    kept = (federation.folder.ledger("hungary"), federation.folder.site_home("hungary"))
    backup = tmp_path / "backup"
    shutil.copytree(kept[1], backup / "home")
    shutil.copy(kept[0], backup / "ledger")
    assert federation.play().stopped is not None
    statements = json.loads(federation.folder.witness.read_bytes())["statements"]
    assert {one["signer"] for one in statements} == set(SITES)
    federation.restart_agents()
    shutil.rmtree(kept[1])
    shutil.copytree(backup / "home", kept[1])
    shutil.copy(backup / "ledger", kept[0])
    with pytest.raises(PrivacyRefusal, match=r"hungary: .*this site's ledger ends at entry 1, and"):
        federation.play()
