"""Queries over real agents on the heart data: exact answers, noise, charges, refusals."""

import gc
import json
import math
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sample_consortium import roster_of, signed_rules
from watched_sites import WatchedSites

import hedgerow as hedgerow_command
from client.site_home import SiteHome
from evaluation.analytics.plan import agreed_plan, plan_queries
from federation.analysis import Analysis
from federation.analytics_agreement import AnalyticsAgreement
from federation.analytics_config import AnalyticsConfig, parse_analytics, read_analytics
from federation.analytics_query import Query
from federation.consortium_files import ConsortiumFiles
from federation.envelope import Phase, Request, parse_reply
from federation.errors import PrivacyRefusal, RoundFailed
from federation.round_layout import RoundKind
from federation.round_messages import Invitation, Work
from federation.site_policy import SitePolicy
from federation.task_loading import load_task
from privacy.event import Composed, DiscreteLaplace, NonPrivate, from_plain
from privacy.ledger import verify
from server.analytics_run import analysis_path, analyze
from simulations import analytics
from simulations.analytics_example import EXAMPLE
from simulations.sites import simulated_agent
from simulations.tasks.shipped_table import FOLDER

SITES = ("cleveland", "hungary", "switzerland", "va_long_beach")
EXACT = {"site_policy": {"allow_exact": True}}
TASK = load_task("heart", {})


class Killed(BaseException):
    """The process dies here."""


def watched(folder, config) -> WatchedSites:
    return WatchedSites(folder, config.federation.sites, config.seed)


def config_of(*queries: dict, **settings) -> AnalyticsConfig:
    named = [{"name": f"q{place}"} | query for place, query in enumerate(queries)]
    return AnalyticsConfig.model_validate_json(json.dumps({"queries": named} | settings))


def ask(folder, watch=lambda line: None) -> tuple[Analysis, WatchedSites]:
    config = read_analytics(folder.path / analytics.QUERIES)
    line = watched(folder, config)
    watch(line)
    return analyze(line, folder, config, TASK), line


def events_of(folder, site: str) -> list[tuple[str, object]]:
    key = SiteHome(folder.site_home(site)).read_identity().public_key()
    return [(entry.kind, entry.body.get("event")) for entry in verify(folder.ledger(site), key)]


def kinds_of(folder, site: str) -> list[str]:
    return [kind for kind, _ in events_of(folder, site)]


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return pd.read_csv(FOLDER / "heart.csv")


def test_exact_answers_are_those_of_pandas_on_the_pooled_rows(tmp_path, table) -> None:
    women = table[table.sex == "Female"]
    bounds = [100, 400]
    config = config_of(
        {"kind": "count"},
        {"kind": "count", "column": "cp", "where": {"sex": "Female"}},
        {"kind": "count", "column": "age_group"},
        {"kind": "sum", "column": "oldpeak"},
        {"kind": "mean", "column": "chol", "bounds": bounds, "where": {"sex": "Female"}},
        {"kind": "variance", "column": "age"},
        {"kind": "histogram", "column": "thalach", "bins": 10},
        {"kind": "quantile", "column": "chol", "quantiles": [0.1, 0.5, 0.9], "resolution": 0.5},
        **EXACT,
    )
    folder = analytics.prepare(config, tmp_path)
    analysis = analytics.run(folder)
    assert analysis.survivors == SITES
    assert analysis.privacy == "none"
    rows, cp, age_group, oldpeak, chol, age, thalach, quantiles = analysis.answers
    assert rows.released.value == len(table) == 920
    names = [*TASK.schema.features[2].levels, "other", "missing"]
    expected = women.cp.fillna("missing").value_counts()
    assert [(c.label, c.rows) for c in cp.cells] == [(n, expected.get(n, 0)) for n in names]
    assert [c.rows for c in age_group.cells] == [
        (table.age < 50).sum(), table.age.between(50, 59).sum(), (table.age >= 60).sum(), 0
    ]  # fmt: skip
    assert oldpeak.missing.value == table.oldpeak.isna().sum()
    assert abs(oldpeak.released.value - table.oldpeak.sum()) <= oldpeak.released.resolution
    known = women.chol.dropna()
    # Whole numbers are on the grid: only the last division rounds.
    assert chol.released.value == pytest.approx(known.clip(*bounds).mean(), rel=1e-15)
    assert chol.clipped.value == ((known < 100) | (known > 400)).sum() > 0
    assert age.released.value == pytest.approx(table.age.var(ddof=0), rel=1e-13)
    heights = np.histogram(table.thalach.dropna(), np.linspace(50, 220, 11))[0]
    assert [c.rows for c in thalach.cells[1:-2]] == heights.tolist()
    pooled = np.clip(table.chol.dropna(), 80, 620)
    for found, p in zip(quantiles.quantiles, (0.1, 0.5, 0.9), strict=True):
        true = np.quantile(pooled, p, method="inverted_cdf")
        assert found.at_bound or abs(found.released.value - true) <= 0.5
    for site in SITES:
        assert kinds_of(folder, site) == ["budget", "plan", "reserve", "commit"]
        event = from_plain(events_of(folder, site)[2][1])
        assert set(event.events) == {NonPrivate()}
        assert analysis.accounts[site].epsilon_spent is None


DP = ({"kind": "count", "epsilon": 0.5}, {"kind": "mean", "column": "age", "epsilon": 1.0})


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Analysis:
    return analytics.run(analytics.prepare(config_of(*DP), tmp_path_factory.mktemp("runs")))


def test_noised_answers_are_charged_once_with_the_noise_that_was_added(tmp_path, table) -> None:
    folder = analytics.prepare(config_of(*DP), tmp_path)
    analysis, line = ask(folder)
    assert analysis.privacy == "record"
    count, mean = analysis.answers
    assert count.released.value != 920  # the seed's noise does not happen to cancel
    assert abs(count.released.value - 920) < 6 * count.released.standard_error
    assert abs(mean.released.value - table.age.mean()) < 6 * mean.released.standard_error
    plan = plan_queries(TASK.schema, read_analytics(folder.path / analytics.QUERIES).queries, 1)
    added = Composed(tuple(DiscreteLaplace(p.sensitivity, p.scale, 1) for p in plan.parts))
    for site in SITES:
        assert kinds_of(folder, site) == ["budget", "plan", "reserve", "commit"]
        assert from_plain(events_of(folder, site)[2][1]) == added
        assert analysis.accounts[site].epsilon_spent <= 1.5 < analysis.accounts[site].epsilon_budget
        assert analysis.accounts[site].noise_source == "seeded (simulation)"
    assert len(line.sent(Phase.TRAIN)) == 4
    written = Analysis.model_validate_json(analysis_path(folder).read_bytes())
    assert written == analysis == analytics.run(folder)  # and is not asked twice


def test_the_noise_of_the_sum_has_the_variance_stated(tmp_path) -> None:
    queries = [{"kind": "histogram", "column": "chol", "bins": 400, "epsilon": 1.0, "bounds": b}
               for b in ([80, 90], [610, 620])]  # fmt: skip
    exact = [{k: v for k, v in query.items() if k != "epsilon"} for query in queries]
    noised = analytics.run(analytics.prepare(config_of(*queries), tmp_path))
    truth = analytics.run(analytics.prepare(config_of(*exact, **EXACT), tmp_path))
    for answer, without in zip(noised.answers, truth.answers, strict=True):
        pairs = zip(answer.cells, without.cells, strict=True)
        noise = np.array([cell.rows - real.rows for cell, real in pairs], float)
        assert math.sqrt(np.mean(noise**2)) == pytest.approx(answer.cell_standard_error, rel=0.2)
        assert answer.cell_standard_error == pytest.approx(math.sqrt(4 * 1.8413), rel=1e-3)


@pytest.mark.parametrize("phase", [Phase.ADVERTISE, Phase.SHARE, Phase.TRAIN, Phase.SIGN])
def test_a_failed_round_is_asked_again_with_the_same_noised_numbers(
    phase, undisturbed, tmp_path
) -> None:
    folder = analytics.prepare(config_of(*DP), tmp_path)

    def silence(line) -> None:
        def gone(node: int, request: Request) -> None:
            if request.phase is phase and node in (1, 2):
                raise ConnectionError("gone")

        line.before = gone

    with pytest.raises(RoundFailed):
        ask(folder, silence)
    gc.collect()  # an agent holds its home's lock until it is gone
    analysis, _ = ask(folder)
    assert analysis.attempts == 2
    assert analysis.answers == undisturbed.answers
    for site in SITES:
        assert kinds_of(folder, site) == ["budget", "plan", "reserve", "commit"]


@pytest.mark.parametrize("phase", [Phase.SHARE, Phase.TRAIN, Phase.OPEN, Phase.CLOSE])
def test_a_kill_costs_nothing_twice(phase, undisturbed, tmp_path) -> None:
    folder = analytics.prepare(config_of(*DP), tmp_path)

    def kill(line) -> None:
        def die(node: int, request: Request) -> None:
            if request.phase is phase and node == 2:
                raise Killed

        line.after = die

    with pytest.raises(Killed):
        ask(folder, kill)
    gc.collect()
    analysis, _ = ask(folder)
    assert analysis.answers == undisturbed.answers
    for site in SITES:
        assert kinds_of(folder, site) == ["budget", "plan", "reserve", "commit"]


def test_a_lost_site_is_left_out_and_named(tmp_path, table) -> None:
    folder = analytics.prepare(config_of({"kind": "count"}, **EXACT), tmp_path)

    def silence(line) -> None:
        def gone(node: int, request: Request) -> None:
            if request.phase is Phase.TRAIN and node == 1:
                raise ConnectionError("gone")

        line.before = gone

    analysis, _ = ask(folder, silence)
    assert analysis.survivors == tuple(s for s in SITES if s != "hungary")
    assert set(analysis.dropped) == {"hungary"}
    assert analysis.answers[0].released.value == (table.site != "hungary").sum()
    assert analysis.answers[0].sites == 3


def test_below_the_minimum_of_contributors_nothing_is_opened(tmp_path) -> None:
    config = config_of({"kind": "count"}, minimum_contributors=4, **EXACT)
    folder = analytics.prepare(config, tmp_path)
    lines = []

    def silence(line) -> None:
        def gone(node: int, request: Request) -> None:
            if request.phase is Phase.TRAIN and node == 1:
                raise ConnectionError("gone")

        line.before = gone
        lines.append(line)

    with pytest.raises(RoundFailed, match="hungary"):
        ask(folder, silence)
    assert lines[0].sent(Phase.OPEN) == []
    assert not analysis_path(folder).exists()


def edit_policy(folder, site: str, **changes) -> None:
    path = SiteHome(folder.site_home(site)).policy
    SitePolicy.read(path).model_copy(update=changes).write(path)


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        ({"analytics_columns": ("sex",)}, "column_not_allowed", "nothing about age"),
        ({"analytics_columns": ()}, "column_not_allowed", "nothing about age"),
        ({"minimum_contributors": 4}, "cohorts_too_small", "below this site's minimum, 4"),
        ({"analytics_epsilon": 1.4}, "epsilon_too_large", "cost 1.5 together"),
        ({"tasks": ("digits",)}, "task_not_allowed", "does not run the task heart"),
    ],
)
def test_a_site_refuses_what_its_policy_does_not_allow(changes, code, says, tmp_path) -> None:
    folder = analytics.prepare(config_of(*DP), tmp_path)
    edit_policy(folder, "hungary", **changes)
    agreed = []

    def listen(line) -> None:
        agreed.append(line)

    with pytest.raises(PrivacyRefusal, match=says):
        ask(folder, listen)
    replies = [parse_reply(reply)[0] for reply in agreed[0].sent(Phase.AGREE)]
    assert [reply.code for reply in replies] == ["", code, "", ""]
    assert kinds_of(folder, "hungary") == ["budget"]


def test_a_site_that_answers_with_noise_only_refuses_an_exact_query(tmp_path) -> None:
    folder = analytics.prepare(config_of({"kind": "count"}, **EXACT), tmp_path)
    edit_policy(folder, "hungary", allow_exact_analytics=False, allow_without_privacy=True)
    with pytest.raises(PrivacyRefusal, match="answers with noise only; no epsilon: q0"):
        ask(folder)
    assert kinds_of(folder, "hungary") == ["budget"]


def told_by(agent, phase: Phase, run: str, body: bytes, place: tuple[int, int] = (0, 0)):
    """What a site answers to a coordinator that asks as it likes."""
    request = Request(run, *place, phase, "0" * 32, time.time() + 60, body)
    return parse_reply(agent.answer(request.to_bytes()))[0]


def agreement_of(folder, *queries: Query, **changes) -> AnalyticsAgreement:
    config = read_analytics(folder.path / analytics.QUERIES)
    rows = {
        site: SitePolicy.read(SiteHome(folder.site_home(site)).policy).public_rows for site in SITES
    }
    given = ConsortiumFiles(folder.path)
    facts = {
        "run": folder.id,
        "rules_digest": given.read_run_rules(given.read_roster(int(time.time()))).digest(),
        "task": config.task,
        "federation": config.federation,
        "public_rows": rows,
        "minimum_contributors": 3,
        "queries": queries,
    }
    return AnalyticsAgreement(**facts | changes)


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"kind": "mean", "column": "height"}, "query_impossible"),
        ({"kind": "mean", "column": "age", "bounds": (0.0, 100.0)}, "query_impossible"),
        ({"kind": "mean", "column": "weight"}, "column_not_allowed"),
        ({"kind": "count", "where": {"weight": "many"}}, "column_not_allowed"),
    ],
)
def test_a_coordinator_that_asks_the_impossible_is_refused_by_the_site(
    settings, code, tmp_path
) -> None:
    folder = analytics.prepare(config_of(*DP), tmp_path)
    edit_policy(folder, "hungary", analytics_columns=("age", "height"))
    agent = simulated_agent(folder, "hungary", 1)
    agreement = agreement_of(folder, Query(name="q", epsilon=0.1, **settings))
    reply = told_by(agent, Phase.AGREE, folder.id, agreement.to_bytes())
    assert (reply.status, reply.code) == ("refused", code)


@pytest.mark.parametrize(
    ("kind", "number", "says"),
    [
        (RoundKind.TRAIN, 1, "kind train was not agreed"),
        (RoundKind.EVALUATE, 2, "kind evaluate was not agreed"),
        (RoundKind.ANALYZE, 2, "round 2 is not for kind analyze"),
    ],
)
def test_a_site_that_agreed_to_queries_answers_them_once_and_trains_nothing(
    kind, number, says, tmp_path
) -> None:
    folder = analytics.prepare(config_of(*DP), tmp_path)
    agent = simulated_agent(folder, "hungary", 1)
    agreement = agreement_of(folder, Query(name="q", kind="count", epsilon=0.1))
    assert told_by(agent, Phase.AGREE, folder.id, agreement.to_bytes()).status == "ok"
    invitation = Invitation(
        kind=kind,
        agreement_digest=agreement.digest().hex(),
        layout_digest=agreed_plan(TASK.schema, agreement).layout(4).digest().hex(),
    )
    reply = told_by(agent, Phase.ADVERTISE, folder.id, invitation.to_bytes(), (number, 1))
    assert (reply.status, reply.code) == ("refused", "protocol")
    assert says in reply.reason


def refound(folder, **changes) -> None:
    """The same sites under a consortium whose key the test holds, and rules of the test's own."""
    keys = {
        site: SiteHome(folder.site_home(site)).read_identity().public_key().public_bytes_raw()
        for site in SITES
    }
    roster = roster_of(keys, federation="analytics")
    signed = signed_rules(federation="analytics", **changes)
    for site in SITES:
        SiteHome(folder.site_home(site)).given.write(roster, signed)
    ConsortiumFiles(folder.path).write(roster, signed)


def test_simulated_sites_hold_rules_that_allow_these_queries_and_no_training(tmp_path) -> None:
    folder = analytics.prepare(config_of(*DP, federation={"threshold": 3}), tmp_path)
    given = ConsortiumFiles(folder.path)
    rules = given.read_run_rules(given.read_roster(int(time.time()))).rules
    assert (rules.minimum_quorum, rules.minimum_threshold, rules.minimum_contributors) == (3, 3, 3)
    assert not rules.allow_without_privacy
    assert rules.least_noise_multiplier == rules.least_site_level_noise_multiplier == 1e6
    exact = ConsortiumFiles(analytics.prepare(config_of({"kind": "count"}, **EXACT), tmp_path).path)
    assert exact.read_run_rules(exact.read_roster(int(time.time()))).rules.allow_without_privacy


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"minimum_quorum": 4}, "quorum_too_small"),
        ({"minimum_threshold": 4}, "threshold_too_small"),
        ({"minimum_contributors": 4}, "cohorts_too_small"),
        ({"allow_without_privacy": False}, "privacy_required"),
    ],
)
def test_the_consortiums_rules_hold_for_queries_too(changes, code, tmp_path) -> None:
    folder = analytics.prepare(config_of({"kind": "count"}, **EXACT), tmp_path)
    refound(folder, **changes)
    lines = []
    with pytest.raises(PrivacyRefusal, match="the consortium"):
        ask(folder, lines.append)
    replies = [parse_reply(reply)[0] for reply in lines[0].sent(Phase.AGREE)]
    assert [reply.code for reply in replies] == [code] * 4


def test_what_the_rules_say_of_training_does_not_hold_queries_back(tmp_path) -> None:
    folder = analytics.prepare(config_of(*DP), tmp_path)
    refound(
        folder,
        allow_without_privacy=False,
        least_noise_multiplier=1e6,
        least_site_level_noise_multiplier=1e6,
        most_rounds=1,
        ring_bits=(16,),
    )
    assert ask(folder)[0].survivors == SITES


def test_sites_with_different_run_rules_are_asked_nothing(tmp_path) -> None:
    folder = analytics.prepare(config_of(*DP), tmp_path)
    refound(folder)
    home = SiteHome(folder.site_home("hungary"))
    home.given.write(
        ConsortiumFiles(folder.path).read_roster(int(time.time())),
        signed_rules(federation="analytics", version=2),
    )
    lines = []
    with pytest.raises(PrivacyRefusal, match="hold different run rules"):
        ask(folder, lines.append)
    assert {request.phase for _, request, _ in lines[0].wire} == {Phase.ENLIST}


@pytest.mark.parametrize(
    ("policy", "changes", "code"),
    [
        ({}, {}, ""),
        ({}, {"rules_digest": "0" * 64}, "run_rules_differ"),
        ({}, {"federation": {"neighbours": 2}}, "sparse_graph"),
        ({"allow_sparse_graph": True}, {"federation": {"neighbours": 2}}, ""),
        ({"site_level_epsilon_budget": 1.0, "site_level_delta": 1e-6}, {}, "site_level_required"),
    ],
)
def test_a_site_agrees_under_its_own_rules_digest_graph_and_unit(
    policy, changes, code, tmp_path
) -> None:
    folder = analytics.prepare(config_of(*DP), tmp_path)
    agent = simulated_agent(folder, "hungary", 1)
    own = agent._assets.policy.model_copy(update=policy)
    agent._assets = replace(agent._assets, policy=own)
    query = Query(name="q", kind="count", epsilon=0.1)
    agreement = agreement_of(folder, query)
    federation = agreement.federation.model_copy(update=changes.get("federation", {}))
    agreement = agreement_of(folder, query, **changes | {"federation": federation})
    reply = told_by(agent, Phase.AGREE, folder.id, agreement.to_bytes())
    assert (reply.status, reply.code) == ("refused" if code else "ok", code)


def test_a_model_that_travels_with_queries_is_refused_and_charges_nothing(tmp_path) -> None:
    folder = analytics.prepare(config_of(*DP), tmp_path)

    def add_model(line) -> None:
        exchange = line.exchange

        def altered(requests, timeout):
            for node, request in requests.items():
                if request.phase is Phase.TRAIN:
                    whole = Request.from_bytes(request.to_bytes())
                    body = replace(Work.from_bytes(whole.body), model=bytes(4)).to_bytes()
                    requests = {**requests, node: replace(whole, body=body)}
            yield from exchange(requests, timeout)

        line.exchange = altered

    with pytest.raises(RoundFailed, match="in phase train: the largest that can be"):
        ask(folder, add_model)
    assert kinds_of(folder, "hungary") == ["budget", "plan"]


def test_a_budget_that_is_too_small_refuses_before_anything_is_counted(tmp_path) -> None:
    config = config_of(*DP, site_policy={"epsilon_budget": 1.2})
    folder = analytics.prepare(config, tmp_path)
    lines = []
    with pytest.raises(PrivacyRefusal, match=r"budget of epsilon 1\.2"):
        ask(folder, lines.append)
    assert lines[0].sent(Phase.TRAIN) == []
    for site in SITES:
        assert kinds_of(folder, site) == ["budget", "plan", "refuse"]


def test_the_example_is_a_file_that_reads_back(tmp_path) -> None:
    config = parse_analytics(EXAMPLE)
    assert parse_analytics(config.to_toml()) == config
    assert {query.name for query in config.queries} == {
        "patients", "chest-pain", "age-of-women", "blood-pressure"
    }  # fmt: skip


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """The command in this process: what it prints, and its exit code."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hedgerow_command.signal, "signal", lambda *_: None)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["hedgerow", *arguments])
        with pytest.raises(SystemExit) as ended:
            hedgerow_command.main()
        told = capsys.readouterr()
        gc.collect()
        return int(ended.value.code or 0), told.out, told.err

    return run


def test_the_command_answers_and_resumes(command, tmp_path) -> None:
    assert command("analytics", "init")[:2] == (0, EXAMPLE)
    assert command("analytics", "init", "q.toml")[0] == 0
    code, out, _ = command("analytics", "run", "q.toml")
    (run,) = (tmp_path / "runs").iterdir()
    assert code == 0
    assert out.rstrip().endswith("analytics.json")
    assert "every answer is noised" in out
    code, out, _ = command("analytics", "run", "--resume", f"runs/{run.name}", "--json")
    assert json.loads(out) == json.loads((run / "analytics.json").read_text())
    assert json.loads(out)["schema_version"] == "hedgerow/analytics/1"
    (run / "analytics.json").write_text("{}")
    assert command("analytics", "run", "--resume", f"runs/{run.name}")[0] == 6
    (run / "analytics.json").unlink()
    queries = run / analytics.QUERIES
    queries.write_text(queries.read_text().replace("epsilon = 0.5", "epsilon = 0.6"))
    code, _, err = command("analytics", "run", "--resume", f"runs/{run.name}")
    assert (code, "was changed" in err) == (6, True)
    code, _, err = command("analytics", "run", "--resume", "runs")
    assert (code, "no run folder of analytics" in err) == (2, True)
    assert command("analytics", "init", "q.toml")[0] == 2
    assert command("analytics", "run")[0] == 2


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        (("age", "agee"), 2, "did you mean age"),
        (("epsilon", "epsilom"), 2, "epsilon"),
        (("epsilon = 1.0", ""), 4, "allow_exact = true"),
        (("[[queries]]", "minimum_contributors = 9\n[[queries]]"), 2, "minimum_contributors"),
        (("[[queries]]", "[federation]\nsites = ['a', 'b', 'c']\n[[queries]]"), 2, "has data for"),
        (("epsilon = 1.0", "epsilon = 1.0\nbounds = [0, 50]"), 2, "within the public range"),
        (("[[", "[["), 0, ""),
        (("[[queries]]", "[queries]"), 2, "a list"),
        (("]]", "]"), 2, "not valid TOML"),
    ],
)
def test_the_command_refuses_in_one_line(command, tmp_path, change, code, says) -> None:
    query = '[[queries]]\nname = "q"\nkind = "mean"\ncolumn = "age"\nepsilon = 1.0\n'
    (tmp_path / "q.toml").write_text(query.replace(*change))
    ended, _, err = command("analytics", "run", "q.toml")
    assert (ended, says in err, err.count("\n")) == (code, True, 1 if code else 0)
    assert (tmp_path / "runs").exists() == (code == 0)
