"""A site's own policy in a run over real agents: what it refuses, and what that costs."""

import signal
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from federation_in_process import Federation

from client import contribution, home_opening, round_vectors
from client.site_home import SiteHome
from federation.approvals import TaskApproval, change_approvals
from federation.audit_log import AuditLog
from federation.envelope import Phase, parse_reply
from federation.errors import HedgerowError
from federation.opening_hours import DAYS
from federation.site_policy import Limits, SitePolicy
from federation.task_digest import task_digest
from privacy import dp_sgd
from privacy.ledger import verify

SITES = ("cleveland", "hungary", "switzerland", "va_long_beach")
ONE_ROUND = {"run": {"name": "test", "rounds": 1}}


def home_of(federation: Federation, site: str) -> SiteHome:
    return SiteHome(federation.folder.site_home(site))


def change_policy(federation: Federation, site: str, **changed: object) -> None:
    home = home_of(federation, site)
    policy = SitePolicy.read(home.policy).model_dump() | changed
    SitePolicy(**policy).write(home.policy)
    federation.restart_agents()


def entries_of(federation: Federation, site: str) -> list[str]:
    key = home_of(federation, site).read_identity().public_key()
    return [entry.kind for entry in verify(federation.folder.ledger(site), key)]


def refusals(line) -> Counter[tuple[Phase, str]]:
    replies = ((r.phase, parse_reply(reply)[0]) for _, r, reply in line.wire if reply)
    return Counter((phase, reply.code) for phase, reply in replies if reply.status == "refused")


def play(federation: Federation, line) -> None:
    try:
        federation.play(line)
    except HedgerowError:
        return


@pytest.fixture
def deployed(monkeypatch):
    """Agents as a site deploys them, but for their entropy."""

    def opened(home, ledger, load_task, seeded, _trainer):
        return home_opening._open(
            home, ledger, load_task, seeded, partial(home_opening._deployed, home)
        )

    monkeypatch.setattr("simulations.sites.open_simulated_agent", opened)
    # What it switches off stays off for the process, and other tests import, too.
    monkeypatch.setattr("client.code_consent.distrust_cached_bytecode", lambda: None)


def test_a_deployed_site_runs_approved_code_only_and_notes_what_it_refused(
    deployed, tmp_path, monkeypatch
) -> None:
    undisturbed = Federation(tmp_path / "plain", ONE_ROUND)
    federation = Federation(tmp_path / "runs", ONE_ROUND)
    line = federation.transport()
    play(federation, line)
    assert set(refusals(line)) == {(Phase.AGREE, "task_code_not_approved")}
    home = home_of(federation, "hungary")
    noted = AuditLog(home.audit).entries()
    assert [(entry.event, entry.details["code"]) for entry in noted] == [
        ("refused", "task_code_not_approved")
    ]
    assert entries_of(federation, "hungary") == ["budget"]
    approved = TaskApproval(sha256=task_digest("heart"), approved="2026-03-01T00:00:00+00:00")
    for site in SITES:
        change_approvals(
            home_of(federation, site).approvals, lambda old: old.with_task("heart", approved)
        )
    federation.play()  # approvals are read anew: no agent was started again
    assert federation.folder.read_summary().run.status == "completed"
    monkeypatch.undo()
    undisturbed.play()
    assert federation.model == undisturbed.model


def test_a_site_outside_its_hours_begins_nothing(tmp_path) -> None:
    federation = Federation(tmp_path, ONE_ROUND)
    closed = DAYS[(datetime.now(UTC) + timedelta(days=3)).weekday()]
    change_policy(federation, "hungary", hours=(f"{closed} 08:00-09:00",))
    line = federation.transport()
    play(federation, line)
    codes = refusals(line)
    assert {code for _, code in codes} == {"outside_hours"}
    assert entries_of(federation, "hungary") == ["budget"]


def test_hours_that_end_during_a_run_end_the_next_round_not_this_one(tmp_path, monkeypatch) -> None:
    federation = Federation(tmp_path, {"run": {"name": "test", "rounds": 2}})
    line = federation.transport()
    is_over = []
    monkeypatch.setattr(
        SitePolicy, "is_open", lambda policy, _: policy.site != "hungary" or not is_over
    )

    def watch(_, request) -> None:
        if request.phase is Phase.SHARE and request.round == 1:
            is_over.append(True)

    line.before = watch
    federation.play(line)
    summary = federation.folder.read_summary()
    assert "hungary" in summary.rounds[0].survivors
    assert "hungary" in summary.rounds[1].dropped
    assert {code for _, code in refusals(line)} == {"outside_hours"}


def test_a_round_that_takes_too_long_is_refused_and_what_was_reserved_stays_reserved(
    tmp_path, monkeypatch
) -> None:
    federation = Federation(tmp_path, {"run": {"name": "test", "rounds": 2}})
    change_policy(federation, "hungary", limits=Limits(seconds_per_answer=30.0))
    made, standing = round_vectors.training_contribution, []

    def slow(bench, parameters, round_, *rest):
        if bench.site == "hungary" and round_ == 1:
            # Its time is up now rather than in half a minute.
            end_of_time()
        return made(bench, parameters, round_, *rest)

    def end_of_time() -> None:
        standing.append(entries_of(federation, "hungary"))
        signal.raise_signal(signal.SIGALRM)

    monkeypatch.setattr(round_vectors, "training_contribution", slow)
    line = federation.transport()
    federation.play(line)
    assert refusals(line) == {(Phase.TRAIN, "too_slow"): 1}
    assert standing == [["budget", "plan", "reserve"]]
    summary = federation.folder.read_summary()
    assert "hungary" in summary.rounds[0].dropped
    assert "hungary" in summary.rounds[1].survivors
    # Round 1 is given back only when the run is over, and with the proof that nothing left.
    assert entries_of(federation, "hungary") == [
        "budget", "plan", "reserve", "reserve", "commit", "void",
    ]  # fmt: skip


@pytest.mark.parametrize("factor", [1.0, 2.5])
def test_extra_noise_is_added_and_the_charge_is_of_what_was_agreed(
    tmp_path, monkeypatch, factor
) -> None:
    federation = Federation(tmp_path, ONE_ROUND)
    change_policy(federation, "hungary", noise_factor=factor)
    deviations: dict[str, set[float]] = {}
    charged, at = {}, [""]
    real_noise, real_train = dp_sgd.gaussian_noise, contribution.train_privately

    def train(model, rows, loss, plan, *rest):
        deviations[at[0]] = {plan.noise_multiplier}
        return real_train(model, rows, loss, plan, *rest)

    def noise(count, deviation, entropy):
        deviations[at[0]].add(deviation)
        return real_noise(count, deviation, entropy)

    made = round_vectors.training_contribution

    def contribute(bench, *rest):
        at[0] = bench.site
        charged[bench.site] = bench.charge()
        return made(bench, *rest)

    monkeypatch.setattr(contribution, "train_privately", train)
    monkeypatch.setattr(dp_sgd, "gaussian_noise", noise)
    monkeypatch.setattr(round_vectors, "training_contribution", contribute)
    federation.play()
    (others,) = {tuple(sorted(deviations[site])) for site in SITES if site != "hungary"}
    assert sorted(deviations["hungary"]) == pytest.approx([factor * each for each in others])
    assert charged["hungary"] == charged["cleveland"]
