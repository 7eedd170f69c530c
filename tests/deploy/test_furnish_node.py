"""What a node is given of a site's home, and that no secret of the site is among it."""

import os
import stat

import pytest
from programs import DEPLOY, run

FURNISH = DEPLOY / "site" / "furnish-node"
GIVEN = ("node-key", "connection.toml", "ca.pem", "site.toml")
KEPT = ("identity.pem", "ledger.sqlite", "journal.sqlite", "approvals.json", "audit.jsonl")


@pytest.fixture
def home(tmp_path):
    home = tmp_path / "site"
    home.mkdir(mode=0o700)
    for name in GIVEN + KEPT:
        (home / name).write_text(name)
    return home


def test_the_node_gets_its_key_and_the_way_and_nothing_else(home, tmp_path) -> None:
    node = tmp_path / "node"
    done = run(FURNISH, home, node, env=os.environ | {"HEDGEROW_SOCKET": "/run/x/agent.sock"})
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in node.iterdir()) == sorted((*GIVEN, "agent.sock"))
    assert str((node / "agent.sock").readlink()) == "/run/x/agent.sock"
    modes = [stat.S_IMODE((node / name).stat().st_mode) for name in GIVEN]
    assert all(not mode & stat.S_IRWXO and not mode & stat.S_IWGRP for mode in modes)


def test_it_may_be_done_again_and_brings_the_newest(home, tmp_path) -> None:
    node = tmp_path / "node"
    assert run(FURNISH, home, node).returncode == 0
    (home / "node-key").write_text("another")
    (node / "node.json").write_text("{}")
    assert run(FURNISH, home, node).returncode == 0
    assert (node / "node-key").read_text() == "another"
    assert (node / "node.json").exists()


def test_a_site_that_has_not_joined_is_told(home, tmp_path) -> None:
    (home / "connection.toml").unlink()
    done = run(FURNISH, home, tmp_path / "node")
    assert done.returncode == 1
    assert "site join" in done.stderr
    assert not (tmp_path / "node").exists()
