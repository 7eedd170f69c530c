"""A site's home: one agent at a time, and the ledger that the policy speaks of."""

import gc
from pathlib import Path

import pytest

from client import site_home
from client.site_home import SiteHome, create_ledger, open_agent, verify_home
from federation.agreement import Agreement
from federation.entropy import SystemEntropy
from federation.errors import HedgerowError, IntegrityError, UsageError
from federation.roster import Roster
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


def load_task(_: Agreement):
    raise AssertionError("no task is loaded here")


@pytest.fixture
def home(tmp_path) -> SiteHome:
    made = SiteHome(tmp_path / "a")
    key = made.create_identity()
    POLICY.write(made.policy)
    Roster("f", {"a": key, "b": b"b" * 32, "c": b"c" * 32}).write(made.roster)
    create_ledger(made, tmp_path / "a.sqlite")
    return made


def ledger(home: SiteHome) -> Path:
    return home.path.with_suffix(".sqlite")


def test_a_site_has_one_agent_until_it_is_gone(home, monkeypatch) -> None:
    monkeypatch.setattr(site_home, "LEAVING_SECONDS", 0.0)
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


@pytest.mark.parametrize("name", ["policy", "identity", "roster", "ledger"])
@pytest.mark.parametrize("content", [None, b"", b"\xff\x00nonsense"])
def test_what_is_missing_or_damaged_is_named(home, name: str, content: bytes | None) -> None:
    path = ledger(home) if name == "ledger" else getattr(home, name)
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(HedgerowError) as caught:
        verify_home(home, ledger(home))
    assert str(path) in str(caught.value)


def test_a_damaged_journal_is_named(home) -> None:
    home.journal.write_bytes(b"nonsense" * 200)
    with pytest.raises(IntegrityError, match=str(home.journal)):
        open_agent(home, ledger(home), load_task)


def test_a_folder_where_nothing_may_be_written_is_named(tmp_path) -> None:
    with pytest.raises(UsageError, match="cannot open"):
        open_agent(SiteHome(tmp_path / "nowhere"), tmp_path / "x", load_task)
