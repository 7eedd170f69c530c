"""`hedgerow privacy audit`: verdict, exit code, JSON, and one line for what is wrong."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from federation.errors import ConfigError, IntegrityError, UsageError
from privacy import dp_sgd
from privacy.audit.result import from_plain
from privacy.budget import Budget, DatasetPolicy
from privacy.ledger import Ledger, verify

# typer asks click for names that click deprecates; both are imported late, under this filter.
pytestmark = pytest.mark.filterwarnings("ignore:'click:DeprecationWarning")

FEW = ("--trials", 2000, "--steps", 1)


def call(*arguments: object):
    from typer.testing import CliRunner  # noqa: PLC0415 - see pytestmark

    from privacy.cli import app  # noqa: PLC0415 - see pytestmark

    words = ["audit", *map(str, arguments)]
    return CliRunner().invoke(app, words, env={"COLUMNS": "120"})


def test_a_mechanism_that_is_right_passes_with_its_power_told() -> None:
    outcome = call("mechanism", *FEW)
    assert outcome.exit_code == 0, outcome.output
    assert "shadow run, nothing is charged" in outcome.output
    assert "the plan: proven epsilon <= 1.472, shown >= " in outcome.output
    assert "the plan with half the noise would show >= " in outcome.output
    assert outcome.output.endswith("PASS: nothing leaks more than is proven\n")


def test_a_violation_ends_with_code_3_and_names_the_experiment(monkeypatch) -> None:
    real = dp_sgd.gaussian_noise
    monkeypatch.setattr(dp_sgd, "gaussian_noise", lambda n, s, e: real(n, s / 3, e))
    outcome = call("mechanism", *FEW)
    assert outcome.exit_code == 3
    assert "VIOLATION: more leaks than is proven: noise and clip" in outcome.output


def test_json_is_a_result() -> None:
    outcome = call("mechanism", *FEW, "--shared", "--seed", 5, "--json")
    assert outcome.exit_code == 0
    result = from_plain(json.loads(outcome.output))
    assert (result.kind, result.seed, result.parameters["noise"]) == ("mechanism", 5, "shared")


def test_training_and_attack_read_a_federation_file(tmp_path) -> None:
    path = tmp_path / "federation.toml"
    path.write_text("[run]\nrounds = 2\n")
    outcome = call("training", path, "--canaries", 20, "--quick", "--json")
    assert outcome.exit_code == 0, outcome.output
    result = from_plain(json.loads(outcome.output))
    assert (result.parameters["rounds"], result.parameters["canaries_per_site"]) == (2, 20)
    outcome = call("attack", path, "--shadow-models", 4, "--set", "run.rounds=1")
    assert outcome.exit_code == 0, outcome.output
    assert "membership by shadow models: AUC" in outcome.output
    assert "gradient inversion, batch of 1: cosine" in outcome.output


def test_an_attack_that_does_not_apply_is_said_not_to_be_tried() -> None:
    digits = ("--set", "task.name=digits", "--set", "run.rounds=1", "--shadow-models", 4)
    outcome = call("attack", *digits)
    assert outcome.exit_code == 0, outcome.output
    assert (
        "gradient inversion is not tried: the model's first layer is not linear" in outcome.output
    )


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (("mechanism", "--trials", 99), ConfigError, "--trials = 99"),
        (("mechanism", "--delta", 1), ConfigError, "--delta = 1.0"),
        (("mechanism", "--noise-multiplier", "nan"), ConfigError, "--noise-multiplier = nan"),
        (("mechanism", "--sampling-rate", 0), ConfigError, "--sampling-rate = 0.0"),
        (("mechanism", "--steps", 10_001), ConfigError, "--steps = 10001"),
        (("training", "no/such/file.toml"), UsageError, "cannot read"),
        (("attack", "--site", "mars"), ConfigError, "--site = 'mars'"),
        (("attack", "--set", "privacy.mode=off"), ConfigError, "privacy"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments, error, text: str) -> None:
    outcome = call(*arguments)
    assert isinstance(outcome.exception, error)
    assert text in str(outcome.exception)
    assert "\n" not in str(outcome.exception)


@pytest.fixture
def ledger(tmp_path):
    """A ledger and the key that signs it."""
    key = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "identity.pem").write_bytes(pem)
    rules = DatasetPolicy(Budget(1.0, 1e-3))
    path = tmp_path / "ulm.sqlite"
    Ledger.create(path, key, ("ulm", "heart"), rules, lambda: "2026-01-01T00:00:00+00:00").close()
    return path, tmp_path / "identity.pem", key


def test_a_result_is_kept_in_a_ledger_at_no_cost(ledger) -> None:
    path, pem, key = ledger
    outcome = call("mechanism", *FEW, "--ledger", path, "--key", pem)
    assert outcome.exit_code == 0, outcome.output
    assert outcome.output.endswith(f"kept as entry 2 of {path}\n")
    entry = verify(path, key.public_key())[-1]
    assert entry.kind == "audit"
    kept = from_plain(entry.body["result"])
    assert kept == from_plain(json.loads(call("mechanism", *FEW, "--json").output))


def test_a_ledger_that_cannot_be_written_to_is_refused_before_the_audit(ledger, tmp_path) -> None:
    path, pem, _ = ledger
    other = tmp_path / "other.pem"
    key = Ed25519PrivateKey.generate()
    other.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (tmp_path / "text").write_text("no key")
    for arguments, error, text in [
        (("--ledger", path), UsageError, "expected both"),
        (("--key", pem), UsageError, "expected both"),
        (("--ledger", path, "--key", other), IntegrityError, "ledger"),
        (("--ledger", path, "--key", tmp_path / "text"), UsageError, "no private key"),
        (("--ledger", path, "--key", tmp_path / "none"), UsageError, "cannot read the key"),
        (("--ledger", tmp_path / "none", "--key", pem), UsageError, "no ledger"),
    ]:
        outcome = call("mechanism", "--trials", 10**7, *arguments)
        assert isinstance(outcome.exception, error)
        assert text in str(outcome.exception)
