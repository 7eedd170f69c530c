"""A shadow federation passes as it is, and is caught where it protects less than it promises."""

import pytest

from federation import config_file
from federation.errors import ConfigError
from federation.task_loading import load_task
from privacy import dp_sgd
from privacy.audit.result import from_plain, to_plain
from privacy.audit.shadow import Shadow, shadow
from privacy.audit.training import audit_training

SHORT = (
    "run.rounds=2", "training.local_steps=2", "training.sampling_rate=1.0", "training.momentum=0.5",
    "privacy.epsilon=2.0",
)  # fmt: skip
real_noise, real_sample = dp_sgd.gaussian_noise, dp_sgd.poisson_sample
real_sum = dp_sgd.clipped_gradient_sum


def configured(*settings: str) -> Shadow:
    config = config_file.parse({}, settings)
    return shadow(load_task(config.task.name, config.task.options), config)


@pytest.fixture(scope="module")
def short() -> Shadow:
    return configured(*SHORT)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_as_it_is_it_passes_and_comes_near(short: Shadow, seed: int) -> None:
    result = audit_training(short, 600, seed)
    assert result.verdict == "PASS"
    assert result.proven_epsilon is not None
    assert 0.3 * result.proven_epsilon < result.empirical_epsilon < result.proven_epsilon
    assert result.trials == 4 * 600
    assert from_plain(to_plain(result)) == result


def test_a_seed_fixes_the_whole_result(short: Shadow) -> None:
    assert audit_training(short, 50, 4) == audit_training(short, 50, 4)


@pytest.mark.parametrize("seed", [1, 2])
def test_half_the_noise_is_caught(monkeypatch, short: Shadow, seed: int) -> None:
    monkeypatch.setattr(dp_sgd, "gaussian_noise", lambda n, s, e: real_noise(n, s / 2, e))
    result = audit_training(short, 1500, seed)
    assert result.verdict == "VIOLATION"
    (finding,) = result.findings
    assert finding.half_noise_epsilon == pytest.approx(result.empirical_epsilon, rel=0.4)


def test_a_missing_clip_is_caught(monkeypatch, short: Shadow) -> None:
    def without_clip(model, rows, loss, max_grad_norm, **rest):
        return real_sum(model, rows, loss, 1e9, **rest)

    monkeypatch.setattr(dp_sgd, "clipped_gradient_sum", without_clip)
    assert audit_training(short, 300, 1).verdict == "VIOLATION"


@pytest.mark.slow
def test_half_the_noise_is_caught_in_the_default_federation(monkeypatch) -> None:
    default = configured()
    assert audit_training(default, 2000, 1).verdict == "PASS"
    monkeypatch.setattr(dp_sgd, "gaussian_noise", lambda n, s, e: real_noise(n, s / 2, e))
    assert audit_training(default, 2000, 1).verdict == "VIOLATION"


@pytest.mark.slow
def test_twice_the_sampling_rate_is_caught_in_the_default_federation(monkeypatch) -> None:
    monkeypatch.setattr(dp_sgd, "poisson_sample", lambda n, q, e: real_sample(n, 2 * q, e))
    assert audit_training(configured(), 2000, 1).verdict == "VIOLATION"


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        (("privacy.mode=off", "privacy.epsilon=none"), "privacy"),
        (
            ("privacy.shared_noise.colluders=1", "privacy.epsilon=2.0", "training.local_steps=1"),
            "privacy.shared_noise",
        ),
        (('federation.sites=["a", "b", "cleveland"]',), "federation.sites"),
    ],
)
def test_what_cannot_be_audited_is_refused(settings: tuple[str, ...], key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        configured(*settings)


@pytest.mark.parametrize(
    ("canaries", "seed", "confidence", "key"),
    [(9, 1, 0.95, "--canaries"), (10_001, 1, 0.95, "--canaries"), (10, -1, 0.95, "--seed"),
     (10, 1, 1.0, "--confidence")],
)  # fmt: skip
def test_what_is_out_of_range_is_refused(short: Shadow, canaries, seed, confidence, key) -> None:
    with pytest.raises(ConfigError, match=key):
        audit_training(short, canaries, seed, confidence)
