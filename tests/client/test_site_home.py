"""A site's home: one agent at a time, and the ledger that the policy speaks of."""

import gc
from pathlib import Path

import pytest
import torch
from sample_consortium import OTHER, roster_of, signed_rules

from client import home_opening
from client.home_opening import create_ledger, open_agent, verify_home
from client.site_home import SiteHome
from federation.agreement import Agreement
from federation.consortium import END_OF_9999
from federation.entropy import SystemEntropy
from federation.errors import ConfigError, HedgerowError, IntegrityError, UsageError
from federation.site_policy import SitePolicy

POLICY = SitePolicy(
    site="a",
    dataset="rows",
    public_rows=100,
    tasks=("heart",),
    split_seed=1,
    epsilon_budget=4.0,
    delta=1e-3,
)

OTHERS = {"b": b"b" * 32, "c": b"c" * 32}


def load_task(_: Agreement):
    raise AssertionError("no task is loaded here")


@pytest.fixture
def home(tmp_path) -> SiteHome:
    made = SiteHome(tmp_path / "a")
    key = made.create_identity()
    POLICY.write(made.policy)
    made.given.write(roster_of(OTHERS | {"a": key}), signed_rules())
    create_ledger(made, tmp_path / "a.sqlite")
    return made


def ledger(home: SiteHome) -> Path:
    return home.path.with_suffix(".sqlite")


def test_a_site_has_one_agent_until_it_is_gone(home, monkeypatch) -> None:
    monkeypatch.setattr(home_opening, "LEAVING_SECONDS", 0.0)
    agent = open_agent(home, ledger(home), load_task)
    assert isinstance(agent._assets.training_entropy, SystemEntropy)
    with pytest.raises(UsageError, match="another agent is running"):
        open_agent(home, ledger(home), load_task)
    verify_home(home, ledger(home))
    del agent
    gc.collect()
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        open_agent(home, ledger(home), load_task)
        gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors + 3


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"epsilon_budget": 0.5}, "epsilon_budget is 0.5 in .* and 4.0 in the ledger"),
        ({"epsilon_budget": 9.0}, "epsilon_budget is 9.0"),
        ({"delta": 1e-5}, "delta is 1e-05"),
        ({"dataset": "other rows"}, "dataset is other rows"),
        ({"site": "b"}, "site is b"),
        ({"epsilon_budget": None, "allow_without_privacy": True}, "epsilon_budget is inf"),
    ],
)
def test_a_policy_that_the_ledger_does_not_enforce_is_refused(home, changed, named) -> None:
    POLICY.model_copy(update=changed).write(home.policy)
    for opening in (
        lambda: open_agent(home, ledger(home), load_task),
        lambda: verify_home(home, ledger(home)),
    ):
        with pytest.raises(IntegrityError, match=named):
            opening()


@pytest.mark.parametrize(
    "name", ["policy", "identity", "ledger", "consortium", "roster", "run_rules"]
)
@pytest.mark.parametrize("content", [None, b"", b"\xff\x00nonsense"])
def test_what_is_missing_or_damaged_is_named(home, name: str, content: bytes | None) -> None:
    places = {"ledger": ledger(home), "policy": home.policy, "identity": home.identity}
    path = places.get(name) or getattr(home.given, name)
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(HedgerowError) as caught:
        verify_home(home, ledger(home))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("given", "file", "says"),
    [
        ({"key": OTHER}, "run_rules", "of another consortium .* than the pinned one .*; ask the"),
        ({"federation": "g"}, "run_rules", "the rules are for the federation f, not g; ask the"),
        ({"validity": (0, 1000)}, "roster", "of a .* expired at 1970-01-01T00:16:40.*; ask the"),
        ({"validity": (END_OF_9999, END_OF_9999)}, "roster", "is good from 9999-12-31T23:59:59"),
        ({"key_of_a": b"a" * 32}, "roster", "does not certify the key in .*identity.pem for a;"),
        ({"key_of_a": None}, "roster", "does not certify the key in .*identity.pem for a;"),
    ],
)
def test_what_the_consortium_gave_must_fit_and_be_in_force(home, given, file, says) -> None:
    key = home.read_identity().public_key().public_bytes_raw()
    certified = OTHERS | {"a": given.pop("key_of_a", key)}
    keys = {site: key for site, key in certified.items() if key is not None}
    home.given.write(roster_of(keys, **given), signed_rules())
    for opening in (
        lambda: open_agent(home, ledger(home), load_task),
        lambda: verify_home(home, ledger(home)),
    ):
        with pytest.raises(IntegrityError, match=says) as caught:
            opening()
        assert str(caught.value).startswith(str(getattr(home.given, file)))
        assert "\n" not in str(caught.value)


def test_a_roster_of_another_consortium_than_the_pinned_one_is_refused(home) -> None:
    pinned = home.given.consortium.read_bytes()
    keys = OTHERS | {"a": home.read_identity().public_key().public_bytes_raw()}
    home.given.write(roster_of(keys, key=OTHER), signed_rules(OTHER))
    verify_home(home, ledger(home))
    home.given.consortium.write_bytes(pinned)
    with pytest.raises(IntegrityError, match=r"another consortium .* ask the consortium"):
        verify_home(home, ledger(home))


def test_a_damaged_journal_is_named(home) -> None:
    home.journal.write_bytes(b"nonsense" * 200)
    with pytest.raises(IntegrityError, match=str(home.journal)):
        open_agent(home, ledger(home), load_task)


def test_a_folder_where_nothing_may_be_written_is_named(tmp_path) -> None:
    with pytest.raises(UsageError, match="cannot open"):
        open_agent(SiteHome(tmp_path / "nowhere"), tmp_path / "x", load_task)


def test_a_gpu_that_is_not_there_is_refused_before_any_run(home, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    POLICY.model_copy(update={"device": "cuda"}).write(home.policy)
    for opened in (
        lambda: open_agent(home, ledger(home), load_task),
        lambda: verify_home(home, ledger(home)),
    ):
        with pytest.raises(ConfigError, match=r"device = .*torch sees no GPU"):
            opened()
    home.policy.write_text(home.policy.read_text().replace("cuda", "tpu"))
    with pytest.raises(ConfigError, match="device"):
        open_agent(home, ledger(home), load_task)
