"""Every fault that the audit of the mechanism is for is caught; the code as it is passes.

Each fault replaces one production function; the audit itself is not told.
"""

from dataclasses import replace

import numpy as np
import pytest

from federation.entropy import SeededEntropy
from privacy import dp_sgd, noised_sum
from privacy.audit import mechanism
from privacy.audit.mechanism import MechanismAudit, audit_own_noise, audit_shared_noise
from privacy.audit.result import AuditResult

CUT = MechanismAudit(trials=10_000, steps=2, seed=10)
NOISE, SAMPLER, ROUNDS, STEPS = (
    mechanism.NOISE_AND_CLIP.name,
    mechanism.SAMPLER.name,
    mechanism.FRESH_ROUNDS.name,
    mechanism.FRESH_STEPS.name,
)

real_noise, real_sample = dp_sgd.gaussian_noise, dp_sgd.poisson_sample
real_sum, real_discrete = dp_sgd.clipped_gradient_sum, noised_sum.discrete_gaussian


def half_the_noise(size, deviation, entropy):
    return real_noise(size, deviation / 2, entropy)


def half_the_discrete_noise(size, variance, entropy):
    return real_discrete(size, variance / 4, entropy)


def without_clip(model, rows, loss, max_grad_norm, **rest):
    return real_sum(model, rows, loss, 1e9, **rest)


def half_as_much_again(model, rows, loss, max_grad_norm, **rest):
    return real_sum(model, rows, loss, 1.5 * max_grad_norm, **rest)


def twice_the_rate(rows, rate, entropy):
    return real_sample(rows, min(2 * rate, 1.0), entropy)


def the_same_noise_always(size, deviation, entropy):
    return real_noise(size, deviation, SeededEntropy(0))


def the_same_discrete_noise_always(size, variance, entropy):
    return real_discrete(size, variance, SeededEntropy(0))


def no_noise(size, deviation, entropy):
    return np.zeros(size)


def violated(result: AuditResult) -> set[str]:
    assert result.verdict == (
        "VIOLATION" if any(f.is_violated for f in result.findings) else "PASS"
    )
    return {finding.name for finding in result.findings if finding.is_violated}


@pytest.fixture(scope="module")
def as_it_is() -> AuditResult:
    return audit_own_noise(CUT)


def test_the_code_as_it_is_passes_and_comes_near(as_it_is: AuditResult) -> None:
    assert as_it_is.verdict == "PASS"
    of_noise = next(f for f in as_it_is.findings if f.name == NOISE and f.delta == 0.02)
    assert of_noise.proven_epsilon is not None
    assert 0.6 * of_noise.proven_epsilon < of_noise.empirical_epsilon


def test_a_seed_fixes_the_whole_result(as_it_is: AuditResult) -> None:
    assert audit_own_noise(CUT) == as_it_is
    other = audit_own_noise(replace(CUT, seed=8))
    assert other.findings[0].empirical_epsilon != as_it_is.findings[0].empirical_epsilon


@pytest.mark.parametrize(
    ("place", "fault", "caught_by"),
    [
        ("gaussian_noise", half_the_noise, NOISE),
        ("gaussian_noise", no_noise, NOISE),
        ("clipped_gradient_sum", without_clip, NOISE),
        ("clipped_gradient_sum", half_as_much_again, NOISE),
        ("poisson_sample", twice_the_rate, SAMPLER),
        ("gaussian_noise", the_same_noise_always, ROUNDS),
        ("gaussian_noise", the_same_noise_always, STEPS),
    ],
)
def test_a_fault_of_dp_sgd_is_caught(monkeypatch, place: str, fault, caught_by: str) -> None:
    monkeypatch.setattr(dp_sgd, place, fault)
    assert caught_by in violated(audit_own_noise(CUT))


def test_what_half_the_noise_would_show_is_what_it_shows(monkeypatch) -> None:
    expected = {(f.name, f.delta): f.half_noise_epsilon for f in audit_own_noise(CUT).findings}
    monkeypatch.setattr(dp_sgd, "gaussian_noise", half_the_noise)
    for finding in audit_own_noise(CUT).findings:
        foretold = expected[finding.name, finding.delta]
        assert foretold is not None
        assert finding.empirical_epsilon == pytest.approx(foretold, abs=0.8)


def test_entropy_that_ignores_its_labels_is_caught(monkeypatch) -> None:
    monkeypatch.setattr(SeededEntropy, "child", lambda self, *labels: SeededEntropy(0))
    assert ROUNDS in violated(audit_own_noise(CUT))


def test_noise_of_a_step_that_is_drawn_for_the_round_is_caught(monkeypatch) -> None:
    class Restarting(SeededEntropy):
        """The stream of noise, if each step asked for it where the round does."""

        def bytes(self, n):
            return SeededEntropy(self._key).bytes(n)

    class OneNoiseARound(SeededEntropy):
        def child(self, *labels):
            of_label = super().child(*labels)._key
            return Restarting(of_label) if labels == (dp_sgd.NOISE,) else OneNoiseARound(of_label)

    real = dp_sgd.train_privately

    def train(model, rows, loss, plan, descent, entropy):
        return real(model, rows, loss, plan, descent, OneNoiseARound(entropy._key))

    monkeypatch.setattr(mechanism, "train_privately", train)
    assert violated(audit_own_noise(CUT)) == {STEPS}


class TestSharedNoise:
    def test_the_code_as_it_is_passes(self) -> None:
        assert audit_shared_noise(CUT).verdict == "PASS"

    @pytest.mark.parametrize(
        ("module", "place", "fault", "caught_by"),
        [
            (noised_sum, "discrete_gaussian", half_the_discrete_noise, NOISE),
            (noised_sum, "discrete_gaussian", the_same_discrete_noise_always, ROUNDS),
            (dp_sgd, "clipped_gradient_sum", without_clip, NOISE),
            (dp_sgd, "poisson_sample", twice_the_rate, SAMPLER),
        ],
    )
    def test_a_fault_is_caught(self, monkeypatch, module, place: str, fault, caught_by) -> None:
        monkeypatch.setattr(module, place, fault)
        assert caught_by in violated(audit_shared_noise(CUT))
