"""Site-level noise in real rounds: what it costs, that it is there, and that a lack of it shows."""

import json
from fractions import Fraction

import numpy as np
import pytest
from dp_accounting import GaussianDpEvent, SelfComposedDpEvent
from dp_accounting.pld import PLDAccountant
from federation_in_process import Federation

from client import contribution
from federation.agreement import Agreement
from federation.envelope import Phase
from federation.errors import ConfigError, PrivacyRefusal
from privacy.run_plan import noise_in_the_sum

SITES = ("cleveland", "hungary", "switzerland", "va_long_beach")
WHOLE = {"epsilon": 20.0, "meter_coordinates": 4096, "colluders": 0}
NOISED = {"privacy": {"epsilon": 2.0, "site_level": WHOLE}}


def agreement_of(federation: Federation) -> Agreement:
    return Agreement.from_bytes(federation.folder.agreement.read_bytes())


@pytest.fixture(scope="module")
def noised(tmp_path_factory):
    federation = Federation(tmp_path_factory.mktemp("runs"), NOISED)
    federation.play()
    return federation


def test_the_run_meets_its_target_and_says_so_apart_from_the_record_level(noised) -> None:
    summary = noised.folder.read_summary()
    whole = summary.privacy.site_level
    assert whole.target_epsilon == 20.0
    assert 19.9 < whole.epsilon <= 20.0
    assert (whole.honest, whole.colluders, whole.alarms) == (3, 0, ())
    for account in summary.privacy.sites.values():
        assert account.epsilon_spent <= account.epsilon_budget == 2.0
        assert account.site_level_epsilon_spent <= account.site_level_epsilon_budget == 20.0


def test_epsilon_is_what_an_accountant_of_gaussians_finds_and_hardly_more(noised) -> None:
    """dp-accounting knows nothing of ours: the central Gaussian of the same noise multiplier."""
    whole = noised.folder.read_summary().privacy.site_level
    accountant = PLDAccountant()
    accountant.compose(SelfComposedDpEvent(GaussianDpEvent(whole.noise_multiplier), 3))
    theirs = accountant.get_epsilon(whole.delta)
    assert 0.9999 * theirs <= whole.epsilon <= 1.01 * theirs


def test_every_round_measures_the_noise_that_was_promised(noised) -> None:
    rounds = noised.folder.read_summary().rounds
    for one in rounds[:3]:
        assert one.noise.coordinates == 4096
        assert 0.8 < one.noise.ratio < 1.2
        assert not one.noise.alarm
        # Norms and counts of clipped updates would be further releases of the same updates.
        assert one.update_norm is one.clipped_updates is None
    assert rounds[3].noise is None


@pytest.mark.parametrize(("factor", "too_little"), [(0, True), (3, False)])
def test_a_site_that_adds_no_noise_or_too_much_is_noticed(
    tmp_path, monkeypatch, factor: int, too_little: bool
) -> None:
    honest, calls = contribution.noise_share, []

    def share(plan, entropy):
        calls.append(plan)
        return honest(plan, entropy) * (factor if len(calls) % 4 == 1 else 1)

    monkeypatch.setattr(contribution, "noise_share", share)
    federation = Federation(tmp_path, NOISED)
    federation.play()
    summary = federation.folder.read_summary()
    for one in summary.rounds[:3]:
        assert one.noise.alarm
        assert one.noise.too_little == too_little
    assert summary.privacy.site_level.alarms == (1, 2, 3)
    assert any("NOISE IS MISSING" in note for note in summary.notes) == too_little


def test_the_noise_of_a_sum_has_the_variance_of_its_shares(tmp_path, monkeypatch) -> None:
    """With updates of zero the decoded sum is noise alone."""
    monkeypatch.setattr(
        contribution,
        "rounded_update",
        lambda plan, _update, _seed, _entropy: np.zeros(plan.dimension, np.int64),
    )
    federation = Federation(tmp_path, NOISED)
    federation.play()
    plan = noise_in_the_sum(agreement_of(federation))
    ratio = federation.folder.read_summary().rounds[0].noise.ratio
    assert ratio == pytest.approx(1, abs=0.12)
    target = Fraction(plan.noise_multiplier) ** 2 * plan.sensitivity.squared_l2
    assert plan.share_variance * plan.honest == target


def test_a_retry_resends_the_noised_vector_and_charges_once(noised, tmp_path) -> None:
    dropouts = [{"site": site, "round": 2, "phase": "sign"} for site in SITES[:2]]
    federation = Federation(
        tmp_path,
        NOISED
        | {
            "run": {"name": "test", "rounds": 3, "attempts_per_round": 2},
            "simulation": {"dropouts": dropouts, "baselines": False},
        },
    )
    federation.play()
    summary = federation.folder.read_summary()
    assert summary.rounds[1].attempts == 2
    assert federation.model == noised.model
    assert (
        summary.privacy.site_level.epsilon
        == noised.folder.read_summary().privacy.site_level.epsilon
    )


def test_a_site_stops_where_its_site_level_budget_ends(tmp_path) -> None:
    federation = Federation(tmp_path, NOISED, "site_policy.site_level_epsilon_budget=12.0")
    outcome = federation.play()
    assert outcome.stopped.by_budget
    assert "the site-level budget of epsilon 12" in outcome.stopped.reason
    summary = federation.folder.read_summary()
    assert 0 < summary.run.rounds_completed < 3
    assert all(a.site_level_epsilon_spent <= 12 for a in summary.privacy.sites.values())


def test_a_site_with_such_a_budget_gives_no_update_without_noise(tmp_path) -> None:
    federation = Federation(tmp_path, NOISED)
    line = federation.transport()

    def without(node: int, request) -> None:
        if request.phase is Phase.AGREE:
            plain = json.loads(request.body) | {"site_level": None}
            object.__setattr__(request, "body", json.dumps(plain).encode())

    line.before = without
    with pytest.raises(PrivacyRefusal, match="no update without site-level noise"):
        federation.play(line)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"largest_code": 1}, "largest_code is not what"),
        ({"ring_bits": 16, "granularity": 2.0**-20}, "ring_bits"),
        ({"colluders": 3}, "honest"),
    ],
)
def test_a_site_refuses_numbers_that_do_not_fit_together(tmp_path, change: dict, says: str) -> None:
    federation = Federation(tmp_path, NOISED)
    line = federation.transport()

    def alter(node: int, request) -> None:
        if request.phase is Phase.AGREE:
            plain = json.loads(request.body)
            plain["site_level"] |= change
            object.__setattr__(request, "body", json.dumps(plain).encode())

    line.before = alter
    with pytest.raises(PrivacyRefusal, match=says):
        federation.play(line)


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ({}, "privacy.site_level.epsilon / privacy.site_level.noise_multiplier"),
        ({"epsilon": 1.0, "noise_multiplier": 1.0}, "exactly one of them"),
        ({"epsilon": 1.0, "colluders": 3}, "privacy.site_level.colluders"),
        ({"epsilon": 1.0, "meter_coordinates": 3}, "meter_coordinates"),
    ],
)
def test_impossible_settings_are_named(tmp_path, table: dict, key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        Federation(tmp_path, {"privacy": {"epsilon": 2.0, "site_level": table}})


@pytest.mark.parametrize(
    ("bits", "rounding"),
    [
        (16, "nearest"),
        (20, "stochastic"),
        *(
            pytest.param(bits, rounding, marks=pytest.mark.slow)
            for bits, rounding in [
                (16, "stochastic"),
                (20, "nearest"),
                (24, "nearest"),
                (24, "stochastic"),
            ]
        ),
    ],
)
def test_updates_in_narrow_rings_give_nearly_the_same_model(tmp_path, bits: int, rounding: str):
    plain = Federation(tmp_path / "plain")
    plain.play()
    settings = (f"federation.update_bits={bits}", f"federation.rounding={rounding}")
    narrow = Federation(tmp_path / "narrow", None, *settings)
    narrow.play()
    summary = narrow.folder.read_summary()
    assert bits in summary.secure_sum.ring_bits
    assert narrow.model != plain.model
    ours, theirs = (f.folder.read_summary().utility[-1].overall for f in (narrow, plain))
    assert ours.log_loss == pytest.approx(theirs.log_loss, abs=0.02)
