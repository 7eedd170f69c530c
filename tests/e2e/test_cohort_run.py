"""Cohorts of sites that nobody names, found over real agents: who learns what, and who does not."""

import shutil
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from federation_in_process import DirectTransport, Federation, Killed
from two_kinds_of_sites import EMPTY_LATER, OLDER, OLDER_LATER, SITES
from typer.testing import CliRunner

from client.journal import Journal
from client.site_home import SiteHome
from evaluation.monitoring.cohort_discovery import MEMBERS, MOVES
from federation.cohort_record import CohortDiscovery, FoundCohorts, OwnCohort
from federation.envelope import Phase, Request, parse_reply
from federation.errors import PrivacyRefusal, RoundFailed, UsageError
from federation.evaluation_agreement import CLUSTERING, EvaluationAgreement, Stage
from federation.evaluation_record import EvaluationFolder, StageRecord
from federation.run_folder import RunFolder
from federation.site_policy import SitePolicy
from federation.task_loading import load_task
from server.cohort_run import CohortRun, discovery_name, require_discoverable
from server.evaluation_run import Evaluator
from simulations.cohort_discovery import find_cohorts
from simulations.evaluation_cli import app
from simulations.sites import simulated_agent

TASK = "two_kinds_of_sites:TwoKinds"
LEAST = 3


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory) -> Federation:
    """A run whose reference is frozen, and whose window 2 is counted."""
    federation = Federation(
        tmp_path_factory.mktemp("runs"),
        {"run": {"name": "test", "rounds": 1}, "task": {"name": TASK}},
    )
    federation.play()
    one = evaluator(federation, federation.transport())
    one.window(one.freeze("reference"), "2")
    return federation


@pytest.fixture
def federation(evaluated: Federation, tmp_path) -> Federation:
    """A copy of it, as it stands on all disks."""
    evaluated.restart_agents()
    made = object.__new__(Federation)
    path = tmp_path / evaluated.folder.id
    shutil.copytree(evaluated.folder.path, path)
    made.folder, made.progress = RunFolder(path), []
    return made


def evaluator(federation: Federation, line: DirectTransport) -> Evaluator:
    return Evaluator(line, federation.folder, federation.config, load_task(TASK, {}))


def discover(federation: Federation, line: DirectTransport | None = None) -> CohortDiscovery:
    one = evaluator(federation, line or federation.transport())
    reference = one.folder.read_reference()
    assert reference is not None
    return CohortRun(one, reference, reference.record, 2).find()


def own_cohort(federation: Federation, site: str) -> OwnCohort:
    return OwnCohort.model_validate_json(home(federation, site).cohort.read_bytes())


def home(federation: Federation, site: str) -> SiteHome:
    return SiteHome(federation.folder.site_home(site))


def edit_policy(federation: Federation, site: str, **changes) -> None:
    path = home(federation, site).policy
    SitePolicy.read(path).model_copy(update=changes).write(path)


def stage_of(federation: Federation, run: str) -> EvaluationAgreement:
    path = federation.folder.path / "evaluation" / "stages" / run / "agreement.json"
    return EvaluationAgreement.from_bytes(path.read_bytes())


def opened(federation: Federation) -> list[StageRecord]:
    """All sums of discoveries that were kept, in order."""
    paths = (federation.folder.path / "evaluation" / "stages").glob("*/sum.json")
    records = [StageRecord.model_validate_json(path.read_bytes()) for path in paths]
    return sorted((one for one in records if one.stage in CLUSTERING), key=lambda one: one.run)


def parts(federation: Federation, sites=SITES) -> set[frozenset[str]]:
    """The sites by what their own homes say."""
    by_name: dict[str | None, set[str]] = {}
    for site in sites:
        by_name.setdefault(own_cohort(federation, site).cohort, set()).add(site)
    return {frozenset(each) for each in by_name.values()}


def test_the_command_finds_the_two_kinds_and_each_site_its_own(federation) -> None:
    said = CliRunner().invoke(
        app, ["cohorts", str(federation.folder.path), "--clusters", "2", "--json"]
    )
    assert said.exit_code == 0, said.output
    found = CohortDiscovery.model_validate_json(said.stdout)
    assert EvaluationFolder.of(federation.folder).read_cohorts().of("reference") == found
    assert parts(federation) == {OLDER, frozenset(SITES) - OLDER}
    assert sorted(one.sites for one in found.cohorts) == [4, 4]
    assert sum(one.rows for one in found.cohorts) == found.rows
    assert found.differ_in[0].feature == "age"
    assert found.sums == len(opened(federation))
    # What a site knows is named as in the coordinator's table.
    names = {one.name for one in found.cohorts}
    assert {own_cohort(federation, site).cohort for site in SITES} == names
    assert all(home(federation, s).cohort.stat().st_mode & 0o777 == 0o600 for s in SITES)
    again = CliRunner().invoke(app, ["cohorts", str(federation.folder.path), "--clusters", "2"])
    told = next(one for one in found.cohorts if one.name == "cohort 1")
    assert f"cohort 1 {told.sites:>10} {told.rows:>10}" in again.stdout
    folder = EvaluationFolder.of(federation.folder)
    other = found.model_copy(update={"discovery": "another", "clusters": 3})
    folder.write_cohorts(FoundCohorts(discoveries=(other,)))
    with pytest.raises(UsageError, match="discovered with --clusters 3; sites allow one"):
        find_cohorts(federation.folder.path, 2, None, print)


def test_what_the_coordinator_sees_of_a_site_says_nothing_of_its_cohort(federation) -> None:
    line = federation.transport()
    discover(federation, line)
    sizes: dict[tuple[str, Phase], set[int]] = {}
    vectors = []
    for node, request, reply in line.wire:
        assert reply is not None
        if request.phase is Phase.ENLIST:
            continue
        body = parse_reply(reply)[0].body
        sizes.setdefault((request.run, request.phase), set()).add(len(body))
        if request.phase is Phase.TRAIN:
            vectors.append((node, stage_of(federation, request.run), body))
    # Every site says as much as every other, whatever it says.
    assert all(len(each) == 1 for each in sizes.values()), sizes
    assert {stage.stage for _, stage, _ in vectors} == CLUSTERING
    for node, stage, body in vectors:
        assert stage.clusters is not None
        words = np.frombuffer(body[32:], "<u2")
        # Counts would be small, and most of them 0; masked words are as good as drawn evenly.
        assert np.mean(words <= 200) < 0.2, (SITES[node], stage.stage)
    # No two sites of one cohort send the same move.
    for run in {stage.run for _, stage, _ in vectors}:
        sent = [body for _, stage, body in vectors if stage.run == run]
        assert len(set(sent)) == len(SITES)


@pytest.mark.parametrize("window", [None, "2"])
def test_no_sum_is_opened_of_a_cluster_with_too_few(window: str | None, federation) -> None:
    found = find_cohorts(federation.folder.path, 2, window, print)
    members = [one.in_scope("overall") for one in opened(federation) if "counts" in one.run]
    assert members
    for sums in members:
        assert set(np.nonzero(sums[MEMBERS])[0])
        assert all(each == 0 or each >= LEAST for each in sums[MEMBERS].tolist())
    for before, after in pairwise(members):
        changed = np.abs(after[MEMBERS] - before[MEMBERS])
        assert all(each == 0 or each >= LEAST for each in changed.tolist())
    if window is None:
        return
    # Two sites are of another kind in this window: they are in with the rest.
    assert EMPTY_LATER not in OLDER_LATER
    assert sum(one.sites for one in found.cohorts) == found.sites == len(SITES) - 1
    assert own_cohort(federation, EMPTY_LATER).cohort is None
    assert OLDER_LATER not in parts(federation)


def lose(stage: Stage, node: int, phase: Phase):
    def before(asked: int, request: Request) -> None:
        if asked == node and request.phase is phase and f".{stage}." in request.run:
            raise ConnectionError("gone")

    return before


@pytest.mark.parametrize(
    "phase", [Phase.TRAIN, pytest.param(Phase.ADVERTISE, marks=pytest.mark.slow)]
)
def test_a_site_lost_between_moves_and_counts_stops_it_until_it_is_back(phase, federation) -> None:
    line = federation.transport()
    line.before = lose(Stage.COHORT_COUNTS, 2, phase)
    with pytest.raises(RoundFailed, match="a discovery needs every site"):
        discover(federation, line)
    assert {one.stage for one in opened(federation)} == CLUSTERING - {Stage.COHORT_COUNTS}
    federation.restart_agents()
    discover(federation)
    assert parts(federation) == {OLDER, frozenset(SITES) - OLDER}


def vectors_at_the_sites(federation: Federation, stage: Stage) -> list[bytes]:
    """What the sites keep to send again: not masked."""
    run = f"{discovery_name(federation.folder.id, 'reference', 2)}.1.{stage}.reference"
    kept = []
    for site in SITES:
        journal = Journal(home(federation, site).journal)
        stored = journal.contribution(run, 1)
        assert stored is not None
        kept.append(stored.vector.tobytes())
        journal.close()
    return kept


@pytest.mark.parametrize(
    "stage", [Stage.COHORT_COUNTS, pytest.param(Stage.COHORT_MOVES, marks=pytest.mark.slow)]
)
def test_a_kill_is_gone_on_from_with_the_same_vectors(stage: Stage, federation) -> None:
    def kill(_node: int, request: Request) -> None:
        if request.phase is Phase.SIGN and f".{stage}." in request.run:
            raise Killed

    kept = []
    for _ in range(2):
        line = federation.transport()
        line.before = kill
        with pytest.raises(Killed):
            discover(federation, line)
        federation.restart_agents()
        kept.append(vectors_at_the_sites(federation, stage))
    assert kept[0] == kept[1]
    discover(federation)
    assert parts(federation) == {OLDER, frozenset(SITES) - OLDER}
    (moves, *_) = (one.in_scope("overall")[MOVES] for one in opened(federation) if MOVES in
                   one.in_scope("overall"))  # fmt: skip
    assert moves.sum() == len(SITES)


def test_a_site_that_does_not_allow_it_is_part_of_none(federation) -> None:
    edit_policy(federation, "site-c", allow_cohort_discovery=False)
    with pytest.raises(PrivacyRefusal, match="allow_cohort_discovery is not set"):
        discover(federation)
    assert opened(federation) == []
    assert reply_to(federation, proposal(federation), "site-c").code == "discovery_not_allowed"
    assert SitePolicy.model_fields["allow_cohort_discovery"].default is False


def proposal(federation: Federation, **changes) -> EvaluationAgreement:
    """What the sites were asked first, as the coordinator's folder has it."""
    name = discovery_name(federation.folder.id, "reference", 2)
    settled = stage_of(federation, f"{name}.0.{Stage.COHORT_STARTS}.reference")
    return settled.model_copy(update={"run": "another-one"} | changes)


def reply_to(federation: Federation, asked: EvaluationAgreement, site: str):
    federation.restart_agents()
    agent = simulated_agent(federation.folder, site, 1)
    request = Request(asked.run, 0, 0, Phase.AGREE, "0" * 32, time.time() + 60, asked.to_bytes())
    return parse_reply(agent.answer(request.to_bytes()))[0]


def test_a_site_is_part_of_one_discovery_of_a_window(federation) -> None:
    edit_policy(federation, "site-c", allow_cohort_discovery=False)
    with pytest.raises(PrivacyRefusal):
        discover(federation)
    asked = proposal(federation)
    terms = asked.clusters
    assert terms is not None
    assert reply_to(federation, asked, "site-a").status == "ok"
    fewer = SITES[:-1]
    without = asked.federation.model_copy(update={"sites": fewer, "quorum": len(fewer)})
    rows = {site: asked.public_rows[site] for site in fewer}
    others = (
        {"clusters": terms.model_copy(update={"discovery": "another"})},
        {"federation": without, "public_rows": rows},
        {"grids": asked.grids[::-1]},
    )
    for changes in others:
        wrong = asked.model_copy(update=changes)
        assert reply_to(federation, wrong, "site-a").code == "discovered_before", changes
    # Nor of one, where held-out rows are counted with noise only.
    edit_policy(federation, "site-b", exact_evaluations_per_window=0)
    assert reply_to(federation, asked, "site-b").code == "exact_not_allowed"


def test_what_cannot_be_asked_is_said_in_one_line(federation) -> None:
    path = federation.folder.path
    for count, says in (
        (1, ", make 2 to 2"),
        (3, "8 sites with rows in the window, in cohorts of at least 3"),
    ):
        with pytest.raises(UsageError, match=says):
            find_cohorts(path, count, None, print)
    with pytest.raises(UsageError, match="--window 7: not counted yet"):
        find_cohorts(path, 2, "7", print)
    one = evaluator(federation, federation.transport())
    record = EvaluationFolder.of(federation.folder).read_windows()[0]
    for changes, says in (
        ({"cohorts": {"north": frozenset(SITES[:4])}}, "could single out a site"),
        ({"evaluation": one.config.evaluation.model_copy(update={"epsilon": 1.0})}, "exact counts"),
    ):
        changed = Evaluator(one.transport, one.run, one.config.model_copy(update=changes), one.task)
        with pytest.raises(UsageError, match=says) as refused:
            require_discoverable(changed.config, record, 2)
        assert "\n" not in str(refused.value)
    EvaluationFolder.of(federation.folder).reference.unlink()
    with pytest.raises(UsageError, match="no reference is frozen yet"):
        find_cohorts(path, 2, None, print)
    with pytest.raises(UsageError):
        find_cohorts(Path("no such run"), 2, None, print)
