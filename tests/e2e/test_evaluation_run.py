"""A trained model judged outside its run, over real agents on the heart data."""

import gc
import hashlib
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from federation_in_process import Federation, Killed

from client.observation import probabilities
from client.site_home import SiteHome
from evaluation.assessment import Judged, assess
from evaluation.measurement import FEATURE, feature_grids
from evaluation.mitigation.reweighing import reweighing_weights
from evaluation.tallies import count_outcomes
from evaluation.window_sums import sums_by_scope
from federation.drift_summary import WindowDrift
from federation.envelope import Phase, Request, parse_reply
from federation.errors import IntegrityError, PrivacyRefusal, RoundFailed, UsageError
from federation.evaluation_agreement import EvaluationAgreement, ModelTerms, Stage
from federation.evaluation_record import EvaluationFolder, file_name
from federation.round_layout import RoundKind
from federation.round_messages import Invitation
from federation.run_folder import RunFolder
from federation.site_policy import SitePolicy
from federation.task import SiteRequest, held_out_rows
from federation.task_loading import load_task
from federation.timestamp import utc_now
from privacy.ledger import Ledger
from server.evaluation_findings import judged_by
from server.evaluation_run import Evaluator
from server.metrics_text import metrics_text
from server.window_evaluation import Asked
from simulations import evaluation
from simulations.sites import simulated_agent

SITES = ("cleveland", "hungary", "switzerland", "va_long_beach")
TASK = load_task("heart", {})


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Federation:
    """A small run that is over; tests that change files make their own."""
    federation = Federation(tmp_path_factory.mktemp("runs"), {"run": {"name": "test", "rounds": 2}})
    federation.play()
    return federation


@pytest.fixture(scope="module")
def played(tmp_path_factory) -> Federation:
    """A run of one round; tests change copies of it."""
    federation = Federation(tmp_path_factory.mktemp("runs"), {"run": {"name": "test", "rounds": 1}})
    federation.play()
    return federation


@pytest.fixture
def federation(played: Federation, tmp_path: Path) -> Federation:
    """A run that is over and not evaluated yet, for this test alone."""
    return copied(played, tmp_path)


@pytest.fixture(scope="module")
def judged_once(played: Federation, tmp_path_factory) -> Federation:
    """The same with its window evaluated; tests change copies of it."""
    federation = copied(played, tmp_path_factory.mktemp("judged"))
    one = evaluator(federation)
    one.window(one.freeze("reference"), "current")
    return federation


@pytest.fixture
def evaluated(judged_once: Federation, tmp_path: Path) -> Federation:
    """A run whose window was evaluated, for this test alone."""
    return copied(judged_once, tmp_path)


def copied(original: Federation, folder: Path) -> Federation:
    """The same run in another place, under its own name: sites keep their keys and journals."""
    original.restart_agents()
    copy = Federation.__new__(Federation)
    copy.folder = RunFolder(folder / original.folder.id)
    copy.progress = []
    shutil.copytree(original.folder.path, copy.folder.path)
    return copy


def evaluator(federation: Federation, line=None) -> Evaluator:
    return Evaluator(line or federation.transport(), federation.folder, federation.config, TASK)


def pooled(window: str, seed: int, sites=SITES):
    return [held_out_rows(TASK, SiteRequest(site, seed), window) for site in sites]


def edit_policy(federation: Federation, site: str, **changes) -> None:
    home = SiteHome(federation.folder.site_home(site))
    SitePolicy.read(home.policy).model_copy(update=changes).write(home.policy)


def test_the_sums_are_the_counts_of_the_pooled_rows(trained: Federation) -> None:
    one = evaluator(trained)
    reference = one.freeze("reference")
    record = one.window(reference, "current")
    seed = trained.config.run.seed
    for told, window in ((reference.record, "reference"), (record, "current")):
        rows, sums = pooled(window, seed), told.in_scope("overall")
        for grid in feature_grids(TASK.schema, reference.grids):
            values = np.concatenate([site.features[grid.feature.name] for site in rows])
            assert np.array_equal(sums[f"{FEATURE}/{grid.feature.name}"], grid.count(values))
        model = TASK.build_model()
        from safetensors.torch import load  # noqa: PLC0415 - here alone

        model.load_state_dict(load(trained.folder.model.read_bytes()))
        expected = count_outcomes(
            one.spec,
            np.concatenate([probabilities(TASK, model, site) for site in rows]),
            torch.cat([site.targets for site in rows]).numpy(),
            {
                a.name: np.concatenate([site.groups[a.name] for site in rows])
                for a in TASK.schema.attributes
            },
        )
        for name, values in expected.items():
            assert np.array_equal(sums[name], values) or "fraction" in name or "whole" in name, name
        for loss in ("log_loss", "brier"):
            both = sums[f"{loss}/whole"] + sums[f"{loss}/fraction"]
            assert both == expected[f"{loss}/whole"] + expected[f"{loss}/fraction"]
        assert sums["sites"] == 4


@pytest.mark.slow
def test_cohorts_are_summed_apart_and_add_up(tmp_path) -> None:
    table = {
        "run": {"name": "test", "rounds": 1},
        "task": {"name": "acs-employment", "options": {"regions": 6}},
        "privacy": {"epsilon": 2.0, "delta": 1e-4},
        "cohorts": {"a": ["region-01", "region-02", "region-03"]},
    }
    federation = Federation(tmp_path, table)
    federation.play()
    task = load_task("acs-employment", {"regions": 6})
    one = Evaluator(federation.transport(), federation.folder, federation.config, task)
    reference = one.freeze("2015")
    overall, cohort = reference.record.in_scope("overall"), reference.record.in_scope("a")
    assert cohort["sites"] == 3
    assert overall["sites"] == 6
    mine = [
        held_out_rows(task, SiteRequest(site, federation.config.run.seed), "2015")
        for site in ("region-01", "region-02", "region-03")
    ]
    assert cohort["rows"] == sum(map(len, mine))
    later = one.window(reference, "2018")
    assert one.folder.read_windows() == (later,)
    assert later.in_scope("overall")["rows"][0] > later.in_scope("a")["rows"][0] > 0


def test_no_number_of_a_site_is_in_what_it_sends(federation: Federation) -> None:
    line = federation.transport()
    one = evaluator(federation, line)
    reference = one.freeze("reference")
    one.window(reference, "current")
    vectors = [
        (request.run, node, parse_reply(reply)[0].body)
        for node, request, reply in line.wire
        if request.phase is Phase.TRAIN and reply
    ]
    assert len(vectors) == 4 * len({run for run, _, _ in vectors})
    for run, node, body in vectors:
        stage = EvaluationAgreement.from_bytes(
            (one.folder.path / "stages" / run / "agreement.json").read_bytes()
        )
        rows = held_out_rows(
            TASK, SiteRequest(SITES[node], federation.config.run.seed), stage.window
        )
        words = np.frombuffer(body[-2000:], "<u2")
        # Counts would be small words; masked ones are as good as drawn evenly.
        assert np.mean(words <= len(rows)) < 0.05


def test_a_lost_site_is_left_out_and_named(federation: Federation) -> None:
    line = federation.transport()

    def silence(node: int, request: Request) -> None:
        if node == 1 and request.phase in (Phase.TRAIN, Phase.SIGN, Phase.OPEN):
            raise ConnectionError("gone")

    reference = evaluator(federation).freeze("reference")
    line.before = silence
    record = evaluator(federation, line).window(reference, "current")
    assert record.survivors == ("cleveland", "switzerland", "va_long_beach")
    assert set(record.dropped) == {"hungary"}
    rows = pooled("current", federation.config.run.seed, record.survivors)
    assert record.in_scope("overall")["rows"] == sum(map(len, rows))


@pytest.mark.parametrize(
    "phase",
    [
        pytest.param(Phase.AGREE, marks=pytest.mark.slow),
        Phase.TRAIN,
        pytest.param(Phase.OPEN, marks=pytest.mark.slow),
        Phase.CLOSE,
    ],
)
def test_a_kill_is_gone_on_from_with_the_same_vectors(phase: Phase, federation: Federation) -> None:
    reference = evaluator(federation).freeze("reference")
    line = federation.transport()

    def kill(_node: int, request: Request) -> None:
        if request.phase is phase:
            raise Killed

    line.before = kill
    with pytest.raises(Killed):
        evaluator(federation, line).window(reference, "current")
    federation.restart_agents()
    record = evaluator(federation).window(reference, "current")
    rows = pooled("current", federation.config.run.seed)
    assert record.in_scope("overall")["rows"] == sum(map(len, rows))
    assert evaluator(federation).folder.read_windows() == (record,)
    # No site keeps a vector of a sum that is over.
    federation.restart_agents()
    for site in SITES:
        with closing(sqlite3.connect(federation.folder.site_home(site) / "journal.sqlite")) as db:
            left = db.execute("SELECT run FROM contributions").fetchall()
        assert [run for (run,) in left if run != federation.folder.id] == []


def told_by(federation: Federation, site: str, phase: Phase, run: str, body: bytes, place=(0, 0)):
    federation.restart_agents()
    agent = simulated_agent(federation.folder, site, 1)
    request = Request(run, *place, phase, "0" * 32, 4e9, body)
    import time  # noqa: PLC0415 - here alone

    reply = parse_reply(agent.answer(Request(
        request.run, request.round, request.attempt, phase, request.nonce, time.time() + 60, body
    ).to_bytes()))[0]  # fmt: skip
    del agent
    gc.collect()
    return reply


def agreement_of(federation: Federation, **changes) -> EvaluationAgreement:
    """What a coordinator would ask for the window `current`, but for what a test changes."""
    one = evaluator(federation)
    reference = one.folder.read_reference() or one.freeze("reference")
    stage = one.folder.stage(federation.folder.id, Stage.WINDOW, "current")
    if not stage.agreement.exists():
        one.window(reference, "current")
    settled = EvaluationAgreement.from_bytes(stage.agreement.read_bytes())
    return settled.model_copy(update={"run": "another-one"} | changes)


def test_a_site_judges_only_models_that_it_helped_to_train(evaluated: Federation) -> None:
    agreement = agreement_of(evaluated)
    model = agreement.model
    assert model is not None
    made_up = hashlib.sha256(b"a model that singles somebody out").hexdigest()
    for wrong in (
        model.model_copy(update={"sha256": made_up}),
        model.model_copy(update={"run": "never-ran"}),
        model.model_copy(update={"run": "another-one"}),
    ):
        asked = agreement.model_copy(update={"model": wrong})
        reply = told_by(evaluated, "hungary", Phase.AGREE, asked.run, asked.to_bytes())
        assert (reply.status, reply.code) == ("refused", "unknown_model"), wrong


def test_a_site_counts_a_window_exactly_only_so_often(evaluated: Federation) -> None:
    agreement = agreement_of(evaluated)  # the first
    codes = []
    for number in range(2, 6):
        asked = agreement.model_copy(update={"run": f"again-{number}"})
        reply = told_by(evaluated, "hungary", Phase.AGREE, asked.run, asked.to_bytes())
        codes.append(reply.code)
    assert codes == ["", "", "counted_before", "counted_before"]
    # What was admitted may go on.
    asked = agreement.model_copy(update={"run": "again-2"})
    assert told_by(evaluated, "hungary", Phase.AGREE, "again-2", asked.to_bytes()).status == "ok"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"window": "next year"}, "unknown_window"),
        ({"spec_digest": "0" * 64}, "evaluation_impossible"),
        ({"grids": ()}, "ok"),
        ({"stage": Stage.TRAINING_ROWS, "model": None, "reference": None}, "privacy_required"),
        ({"public_rows": dict.fromkeys(SITES, 5)}, "public_rows_differ"),
        ({"rules_digest": "0" * 64}, "run_rules_differ"),
    ],
)
def test_a_site_counts_nothing_that_was_not_agreed(changes, code, evaluated: Federation) -> None:
    asked = agreement_of(evaluated, **changes)
    reply = told_by(evaluated, "hungary", Phase.AGREE, asked.run, asked.to_bytes())
    assert (reply.code or reply.status) == code


def test_a_vector_that_is_not_in_the_spec_is_refused(evaluated: Federation) -> None:
    asked = agreement_of(evaluated)
    evaluated.restart_agents()
    agent = simulated_agent(evaluated.folder, "hungary", 1)
    import time  # noqa: PLC0415 - here alone

    def ask(phase: Phase, body: bytes, place=(0, 0)):
        request = Request(asked.run, *place, phase, "0" * 32, time.time() + 60, body)
        return parse_reply(agent.answer(request.to_bytes()))[0]

    assert ask(Phase.AGREE, asked.to_bytes()).status == "ok"
    for kind, digest in ((RoundKind.MEASURE, "1" * 64), (RoundKind.TRAIN, "1" * 64)):
        invitation = Invitation(
            kind=kind, agreement_digest=asked.digest().hex(), layout_digest=digest
        )
        reply = ask(Phase.ADVERTISE, invitation.to_bytes(), (1, 1))
        assert (reply.status, reply.code) == ("refused", "protocol")


def test_a_model_of_another_size_is_refused(evaluated: Federation) -> None:
    agreement = agreement_of(evaluated)
    assert agreement.model is not None
    larger: ModelTerms = agreement.model.model_copy(update={"parameters": 99})
    asked = agreement.model_copy(update={"model": larger})
    reply = told_by(evaluated, "hungary", Phase.AGREE, asked.run, asked.to_bytes())
    assert (reply.status, reply.code) == ("refused", "evaluation_impossible")


def test_too_few_sites_open_nothing(federation: Federation) -> None:
    reference = evaluator(federation).freeze("reference")
    line = federation.transport()

    def silence(node: int, request: Request) -> None:
        if node in (0, 1) and request.phase is Phase.TRAIN:
            raise ConnectionError("gone")

    line.before = silence
    with pytest.raises(RoundFailed):
        evaluator(federation, line).window(reference, "current")
    assert evaluator(federation).folder.read_windows() == ()
    # Asked again, with all sites, it is answered.
    record = evaluator(federation).window(reference, "current")
    assert len(record.survivors) == 4


def test_a_reference_that_was_changed_is_not_used(federation: Federation) -> None:
    evaluator(federation).freeze("reference")
    path = EvaluationFolder.of(federation.folder).reference
    path.write_text(path.read_text().replace('"grids": [', '"grids": [1, ', 1))
    with pytest.raises(IntegrityError, match="not what was written"):
        EvaluationFolder.of(federation.folder).read_reference()


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (Asked(("next year",)), "has none of that name"),
        (Asked(("reference",)), "it is the reference"),
        (Asked(("current",), "last year"), "has none of that name"),
    ],
)
def test_a_window_that_makes_no_sense_is_refused(
    asked: Asked, says: str, federation: Federation
) -> None:
    federation.restart_agents()
    with pytest.raises(UsageError, match=says):
        evaluation.evaluate(federation.folder.path, asked)


def test_no_two_windows_share_a_file() -> None:
    names = ["2017", "week 3", "week-3", "Week 3", "WEEK 3", "a" * 64, "a" * 63, "ä", "ö", "."]
    assert len({file_name(name) for name in names}) == len(names)
    assert all("/" not in file_name(name) and len(file_name(name)) <= 50 for name in names)


NOISED = {"evaluation": {"epsilon": 3.0, "releases": 4}, "run": {"name": "test", "rounds": 2}}


def test_counts_with_noise_are_charged_and_near_the_truth(tmp_path) -> None:
    federation = Federation(tmp_path, NOISED)
    federation.play()
    before = {site: ledger_of(federation, site) for site in SITES}
    one = evaluator(federation)
    reference = one.freeze("reference")
    record = one.window(reference, "current")
    federation.restart_agents()
    stages = len(list((one.folder.path / "stages").iterdir()))
    for site in SITES:
        spent, committed = ledger_of(federation, site)
        assert committed == before[site][1] + stages
        assert spent > before[site][0]
    assert record.noise_variance > 0
    assert record.epsilon == pytest.approx(0.75)
    rows = sum(map(len, pooled("current", federation.config.run.seed)))
    told = sums_by_scope(one.spec, record, {})["overall"]
    deviation = (4 * told.noise_variance) ** 0.5
    assert abs(told.sums["rows"][0] - rows) < 6 * deviation
    # Fractions of counts do not exist: noise is whole, in the ring, on every cell.
    for name, values in record.sums.items():
        assert np.array_equal(values, np.rint(values)), name


def test_a_run_whose_counts_carry_noise_counts_nothing_exactly(tmp_path) -> None:
    federation = Federation(tmp_path, NOISED)
    outcome = federation.play()
    assert all(record.utility is None for record in outcome.record.rounds)
    assert all(record.fairness == () for record in outcome.record.rounds)
    agreed = outcome.agreement.model_copy(
        update={"evaluation": federation.config.evaluation.model_copy(update={"epsilon": None})}
    )
    exact = agreed.model_copy(update={"run": "exact"})
    reply = told_by(federation, "hungary", Phase.AGREE, "exact", exact.to_bytes())
    assert (reply.status, reply.code) == ("refused", "exact_not_allowed")


def test_noise_beyond_the_budget_is_refused(tmp_path) -> None:
    table = NOISED | {"site_policy": {"epsilon_budget": 2.5}}
    federation = Federation(tmp_path, table)
    federation.play()
    one = evaluator(federation)
    with pytest.raises(PrivacyRefusal, match="budget"):
        one.freeze("reference")


def ledger_of(federation: Federation, site: str) -> tuple[float, int]:
    """Epsilon spent, and charges committed."""
    federation.restart_agents()
    key = SiteHome(federation.folder.site_home(site)).read_identity()
    ledger = Ledger.open(federation.folder.ledger(site), key, utc_now)
    try:
        return ledger.spent().epsilon, ledger.account().counts["commit"]
    finally:
        ledger.close()


def test_a_site_is_named_only_if_it_agreed_to_be(federation: Federation) -> None:
    edit_policy(federation, "hungary", name_with_flags=True)
    federation.restart_agents()
    one = evaluator(federation)
    reference = one.freeze("reference")
    record = one.window(reference, "current")
    named = {name for name in record.sums if "named/" in name}
    assert named == {"overall/named/hungary"}
    summary = assess(judged(federation), reference, (record,))
    assert set(summary.named_sites) == {"hungary"}
    asked = agreement_of(federation, named=("cleveland", "hungary"))
    reply = told_by(federation, "cleveland", Phase.AGREE, asked.run, asked.to_bytes())
    assert (reply.status, reply.code) == ("refused", "naming_not_allowed")


def judged(federation: Federation) -> Judged:
    task = load_task(federation.config.task.name, federation.config.task.options)
    return judged_by(federation.folder, federation.config, task)


def test_the_site_keeps_its_own_report_and_nobody_else_has_it(federation: Federation) -> None:
    one = evaluator(federation)
    one.window(one.freeze("reference"), "current")
    for site in SITES:
        path = federation.folder.site_home(site) / "windows" / "current.json"
        report = WindowDrift.model_validate_json(path.read_bytes())
        rows = held_out_rows(TASK, SiteRequest(site, federation.config.run.seed), "current")
        assert (report.scope, report.rows) == (site, len(rows))
        assert path.stat().st_mode & 0o077 == 0


def test_what_is_found_is_the_same_from_the_same_sums(trained: Federation) -> None:
    folder = EvaluationFolder.of(trained.folder)
    reference = folder.read_reference() or evaluator(trained).freeze("reference")
    windows = folder.read_windows() or (evaluator(trained).window(reference, "current"),)
    first = assess(judged(trained), reference, windows)
    assert first == assess(judged(trained), reference, windows)
    assert [tile.topic for tile in first.verdicts] == ["Performance", "Fairness", "Drift", "Data"]
    assert first.audit is not None
    assert first.audit.label_noise is not None
    text = metrics_text(first)
    assert "hedgerow_evaluation_sites{" in text
    for site in SITES:
        assert site not in first.model_dump_json()
        assert site not in text


def test_weights_are_counted_with_noise_and_charged_before_the_run(tmp_path) -> None:
    mitigation = {
        "method": "reweighing", "criterion": "demographic_parity", "attribute": "sex",
        "counts_epsilon": 0.5,
    }  # fmt: skip
    table = {"run": {"name": "test", "rounds": 2}, "mitigation": mitigation}
    federation = Federation(tmp_path, table)
    outcome = federation.play()
    assert outcome.stopped is None
    assert outcome.agreement.mitigation is not None
    told = np.array(outcome.agreement.mitigation.weights)
    data = [TASK.load(SiteRequest(s, federation.config.run.seed)).train for s in SITES]
    counts = np.zeros((3, 2))
    for rows in data:
        np.add.at(counts, (rows.groups["sex"], rows.targets.numpy()), 1)
    assert np.allclose(told, reweighing_weights(counts[:2]), rtol=0.25)
    for site in SITES:
        assert ledger_of(federation, site)[1] == 3  # one count, two rounds


def test_sites_that_flag_nothing_are_shown_nothing(tmp_path) -> None:
    table = {"run": {"name": "test", "rounds": 1}, "evaluation": {"site_flags": False}}
    federation = Federation(tmp_path, table)
    federation.play()
    one = evaluator(federation)
    record = one.window(one.freeze("reference"), "current")
    assert not any(name.startswith("overall/flags/") for name in record.sums)
    stage = one.folder.stage(federation.folder.id, Stage.WINDOW, "current")
    shown = EvaluationAgreement.from_bytes(stage.agreement.read_bytes()).reference
    assert shown is not None
    assert (shown.histograms, shown.outcomes) == ({}, (0, 0, 0, 0))
