"""Noise that sites share to hide records: in real rounds, in ledgers, and where it is refused."""

import json

import numpy as np
import pytest
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
from dp_accounting.pld import PLDAccountant
from federation_in_process import Federation

from client import contribution
from client.site_home import SiteHome
from federation.agreement import Agreement
from federation.config_file import parse
from federation.envelope import Phase
from federation.errors import ConfigError, PrivacyRefusal
from federation.initial_model import initial_model
from federation.summary import Summary
from federation.task import SiteRequest
from federation.task_loading import load_task
from privacy.dp_sgd import clipped_gradient_sum
from privacy.flat_parameters import flat_parameters
from privacy.ledger import verify
from privacy.noised_sum import noise_share
from privacy.run_plan import noise_in_the_sum, shared_record_noise
from privacy.shared_record_noise import rounded_gradient

SITES = ("cleveland", "hungary", "switzerland", "va_long_beach")
SHARED = {
    "training": {"local_steps": 1},
    "privacy": {
        "epsilon": 2.0,
        "delta": 1e-3,
        "shared_noise": {"colluders": 0, "meter_coordinates": 4096},
    },
}


def agreement_of(federation: Federation) -> Agreement:
    return Agreement.from_bytes(federation.folder.agreement.read_bytes())


def played(path, *overrides: str, table: dict = SHARED) -> Federation:
    federation = Federation(path, table, *overrides)
    federation.play()
    return federation


def summary_of(federation: Federation) -> Summary:
    return federation.folder.read_summary()


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Federation:
    return played(tmp_path_factory.mktemp("runs"))


def test_every_ledger_stays_within_its_target_and_says_what_was_done(shared) -> None:
    for site, account in summary_of(shared).privacy.sites.items():
        assert 1.99 < account.epsilon_spent <= account.epsilon_budget == 2.0
        key = SiteHome(shared.folder.site_home(site)).read_identity().public_key()
        entries = verify(shared.folder.ledger(site), key)
        charged = [entry.body for entry in entries if entry.kind == "reserve"]
        assert [each["event"]["mechanism"] for each in charged] == [
            "poisson_sampled_distributed_gaussian"
        ] * 3
        assert {each["event"]["honest"] for each in charged} == {3}
        assert "site_level" not in charged[0]


def test_epsilon_is_what_an_accountant_of_continuous_noise_finds_and_hardly_more(shared) -> None:
    privacy = summary_of(shared).privacy
    accountant = PLDAccountant()
    once = PoissonSampledDpEvent(privacy.sampling_rate, GaussianDpEvent(privacy.noise_multiplier))
    accountant.compose(SelfComposedDpEvent(once, 3))
    theirs = accountant.get_epsilon(privacy.delta)
    assert 0.999 * theirs <= privacy.sites[SITES[0]].epsilon_spent <= 1.01 * theirs


def test_every_round_measures_the_noise_that_was_promised(shared) -> None:
    summary = summary_of(shared)
    for one in summary.rounds[:3]:
        assert one.noise.coordinates == 4096
        assert 0.8 < one.noise.ratio < 1.2
        assert not one.noise.alarm
        assert one.noise.noise_multiplier == pytest.approx(
            summary.privacy.noise_multiplier * (4 / 3) ** 0.5
        )
        # Norms and counts of clipped updates would be further releases of the same gradients.
        assert one.update_norm is one.clipped_updates is None
    assert summary.privacy.shared_noise.alarms == ()
    assert summary.privacy.site_level is None


def test_what_each_party_could_learn_is_told(shared) -> None:
    summary = summary_of(shared)
    told = summary.privacy.shared_noise.exposures
    assert [one.further_colluders for one in told] == [0, 1, 2, None]
    assert told[0].epsilon <= 2.0
    epsilons = [one.epsilon for one in told]
    assert epsilons == sorted(epsilons)
    # Nothing is removed: a site alone has the one share that two colluders of three leave.
    assert told[3].noise_multiplier == pytest.approx(told[2].noise_multiplier)
    assert any(
        "rests on the secure sum and on the other sites" in s for s in summary.privacy.covered
    )
    assert not any("adds the whole noise" in s for s in summary.privacy.covered)


def test_a_share_that_is_missing_is_noticed(tmp_path, monkeypatch) -> None:
    calls = []

    def share(plan, entropy):
        calls.append(1)
        return noise_share(plan, entropy) * (0 if len(calls) % 4 == 1 else 1)

    monkeypatch.setattr(contribution, "noise_share", share)
    summary = summary_of(played(tmp_path))
    assert summary.privacy.shared_noise.alarms == (1, 2, 3)
    assert any("NOISE IS MISSING" in note for note in summary.notes)


def test_the_sum_is_that_of_all_sites_clipped_gradients(tmp_path, monkeypatch) -> None:
    """With no noise drawn the round gives the gradients, to within their rounding."""
    made, update = [], contribution.train_for_shared_noise

    def spy(*given):
        made.append(update(*given).delta)
        return update(*given)

    monkeypatch.setattr(contribution, "train_for_shared_noise", spy)
    monkeypatch.setattr(
        contribution, "noise_share", lambda plan, _entropy: np.zeros(plan.dimension, np.int64)
    )
    federation = Federation(tmp_path, SHARED, "run.rounds=1")
    outcome = federation.play()
    before = np.frombuffer(_first_model(federation), "<f4").astype(float)
    after = np.frombuffer(outcome.model, "<f4").astype(float)
    agreement = agreement_of(federation)
    rows = agreement.public_rows
    expected = sum(made) * max(rows.values()) / sum(rows.values())
    plan = shared_record_noise(agreement)
    assert len(made) == 4
    assert np.linalg.norm(expected) > 1e-3
    step = plan.granularity * np.sqrt(plan.dimension) + 1e-6
    assert np.linalg.norm(after - before - expected) < step


def _first_model(federation: Federation) -> bytes:
    model = initial_model(load_task("heart", {}), federation.config.run.seed)
    return flat_parameters(model).astype("<f4").tobytes()


def test_one_record_more_or_less_moves_the_integers_by_no_more_than_is_charged_for(shared) -> None:
    """The same batch with and without one of its rows, through all that a site does to it."""
    agreement = agreement_of(shared)
    plan, task = shared_record_noise(agreement), load_task("heart", {})
    data = task.load(SiteRequest(SITES[0], 3)).train
    model = initial_model(task, agreement.seed)

    def integers(rows):
        total, _ = clipped_gradient_sum(
            model, (data.inputs[rows], data.targets[rows]), task.loss, plan.step.max_grad_norm
        )
        signal = np.zeros(plan.dimension)
        factor = -plan.step.learning_rate / plan.step.expected_batch_size
        signal[: len(total)] = factor * total
        return rounded_gradient(plan, signal, bytes(32))

    batch = list(range(60))
    whole = integers(batch)
    for left_out in range(0, 60, 6):
        moved = whole - integers([row for row in batch if row != left_out])
        assert 0 < int(moved @ moved) <= plan.sensitivity.squared_l2


def test_surplus_of_shared_noise_is_removed_too(tmp_path) -> None:
    federation = played(tmp_path, "privacy.shared_noise.remove_surplus=true")
    summary = summary_of(federation)
    for one in summary.rounds[:3]:
        assert one.noise.noise_multiplier == pytest.approx(summary.privacy.noise_multiplier)
        assert not one.noise.alarm
    assert noise_in_the_sum(agreement_of(federation)).dropouts == 1
    told = summary.privacy.shared_noise.exposures
    # The site has revealed what was surplus: a quarter of the target is left of its own.
    assert told[-1].noise_multiplier == pytest.approx(summary.privacy.noise_multiplier / 2)
    assert summary.privacy.sites[SITES[0]].epsilon_spent <= 2.0


def test_a_retry_resends_the_noised_vector_and_charges_once(shared, tmp_path) -> None:
    dropouts = [{"site": site, "round": 2, "phase": "sign"} for site in SITES[:2]]
    changes = {
        "run": {"name": "test", "rounds": 3, "attempts_per_round": 2},
        "simulation": {"dropouts": dropouts, "baselines": False},
    }
    retried = played(tmp_path, table=SHARED | changes)
    assert summary_of(retried).rounds[1].attempts == 2
    assert retried.model == shared.model
    ours, theirs = (summary_of(f).privacy.sites[SITES[0]] for f in (retried, shared))
    assert ours.epsilon_spent == theirs.epsilon_spent


def test_a_site_that_adds_its_whole_noise_itself_refuses(tmp_path) -> None:
    federation = Federation(tmp_path, SHARED)
    home = SiteHome(federation.folder.site_home("hungary"))
    text = home.policy.read_text()
    assert "allow_shared_noise = true" in text
    home.policy.write_text(text.replace("allow_shared_noise = true", "allow_shared_noise = false"))
    with pytest.raises(PrivacyRefusal, match="allow_shared_noise is not set"):
        federation.play()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"training": {"local_steps": 2}}, "local_steps"),
        ({"privacy": {"shared": {"largest_code": 1}}}, "largest_code is not what"),
        ({"privacy": {"shared": {"colluders": 3}}}, "quorum"),
        ({"privacy": {"shared": {"ring_bits": 16}}}, "ring_bits"),
    ],
)
def test_a_site_refuses_numbers_that_do_not_fit_together(tmp_path, change: dict, says: str) -> None:
    federation = Federation(tmp_path, SHARED)
    line = federation.transport()

    def merged(plain: dict, changes: dict) -> dict:
        return plain | {
            key: merged(plain[key], value) if isinstance(value, dict) else value
            for key, value in changes.items()
        }

    def alter(_node: int, request) -> None:
        if request.phase is Phase.AGREE:
            plain = merged(json.loads(request.body), change)
            object.__setattr__(request, "body", json.dumps(plain).encode())

    line.before = alter
    with pytest.raises(PrivacyRefusal, match=says):
        federation.play(line)


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (("training.local_steps=3",), "training.local_steps"),
        (("privacy.shared_noise.colluders=3",), "privacy.shared_noise.colluders"),
        (("privacy.shared_noise.meter_coordinates=3",), "meter_coordinates"),
        (("privacy.site_level.epsilon=8",), "left out beside privacy.site_level"),
        (
            ("robustness.aggregate=median", "robustness.groups=3"),
            "privacy.shared_noise|robustness.groups",
        ),
    ],
)
def test_impossible_settings_are_named(tmp_path, overrides, key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        Federation(tmp_path, SHARED, *overrides)


def test_shared_noise_without_privacy_is_refused() -> None:
    table = {"task": {"name": "heart"}, "training": {"local_steps": 1}}
    with pytest.raises(ConfigError, match=r"left out with privacy\.mode"):
        parse(table | {"privacy": {"mode": "off", "shared_noise": {}}}, ())


def test_an_update_clip_too_long_for_any_ring_is_named(tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"training\.update_clip"):
        Federation(tmp_path, SHARED, "training.update_clip=1e6")


def test_unless_told_otherwise_another_site_is_allowed_for(tmp_path) -> None:
    """It knows its own share; of the quorum's three, the other two are enough."""
    privacy = {"epsilon": 2.0, "delta": 1e-3, "shared_noise": {}}
    federation = played(tmp_path, "run.rounds=1", table=SHARED | {"privacy": privacy})
    shared = summary_of(federation).privacy.shared_noise
    assert (shared.colluders, shared.honest) == (1, 2)
    assert [one.further_colluders for one in shared.exposures] == [0, 1, None]
    assert shared.exposures[0].epsilon <= 2.0
