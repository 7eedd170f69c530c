"""The units: two users at a site, an agent without network, nothing that may write elsewhere."""

import re
import stat

import pytest
from programs import DEPLOY, program, run

SYSTEMD = DEPLOY / "systemd"
UNITS = ("agent", "node", "coordinator")


def unit(name: str) -> dict[str, list[str]]:
    """Settings of a unit; one that stands twice has both values."""
    found: dict[str, list[str]] = {}
    for row in (SYSTEMD / "system" / f"hedgerow-{name}.service").read_text().splitlines():
        if row and row[0] not in "#[":
            key, _, value = row.partition("=")
            found.setdefault(key, []).append(value)
    return found


def as_it_could_run_here(name: str, folder):
    """A copy whose programs are there: systemd refuses to look at others."""
    text = (SYSTEMD / "system" / f"hedgerow-{name}.service").read_text()
    copy = folder / f"hedgerow-{name}.service"
    copy.write_text(re.sub(r"/opt/hedgerow/(bin|libexec)/\S+", "/bin/true", text))
    return copy


def test_systemd_understands_every_line(tmp_path) -> None:
    analyze = program("systemd-analyze")
    copies = [as_it_could_run_here(name, tmp_path) for name in UNITS]
    done = run(analyze, "verify", "--man=no", *copies)
    ours = [row for row in done.stderr.splitlines() if str(tmp_path) in row or "hedgerow" in row]
    assert done.returncode == 0, done.stderr
    assert not ours


@pytest.mark.parametrize(("name", "most"), [("agent", 10), ("node", 18), ("coordinator", 18)])
def test_systemd_finds_little_exposed(name: str, most: int, tmp_path) -> None:
    """Tenths: 0 is nothing, 100 everything; an ordinary service has 96."""
    copy = as_it_could_run_here(name, tmp_path)
    done = run(
        program("systemd-analyze"),
        "security",
        "--offline=true",
        "--no-pager",
        f"--threshold={most}",
        copy,
    )
    assert done.returncode == 0, done.stdout[-300:] + done.stderr


def test_the_agent_has_no_network() -> None:
    agent = unit("agent")
    assert agent["PrivateNetwork"] == ["yes"]
    assert agent["RestrictAddressFamilies"] == ["AF_UNIX"]
    assert agent["IPAddressDeny"] == ["any"]


def test_agent_and_node_are_two_users_of_one_group() -> None:
    agent, node = unit("agent"), unit("node")
    assert (agent["User"], node["User"]) == (["hedgerow-agent"], ["hedgerow-node"])
    assert agent["Group"] == node["Group"] == ["hedgerow"]
    assert node["InaccessiblePaths"] == ["/var/lib/hedgerow-agent"]
    assert node["ReadWritePaths"] == ["/var/lib/hedgerow-node"]


@pytest.mark.parametrize("name", UNITS)
def test_every_unit_is_kept_up_and_confined(name: str) -> None:
    settings = unit(name)
    expected = {
        "Restart": "always", "StartLimitIntervalSec": "0", "NoNewPrivileges": "yes",
        "ProtectSystem": "strict", "ProtectHome": "yes", "PrivateTmp": "yes",
        "CapabilityBoundingSet": "", "UMask": "0077", "LimitCORE": "0",
    }  # fmt: skip
    assert {key: settings[key][0] for key in expected} == expected
    assert settings["SystemCallFilter"][0] == "@system-service"
    assert "MemoryMax" in settings


def test_the_agent_is_given_time_to_finish() -> None:
    assert unit("agent")["TimeoutStopSec"] == ["10min"]


def test_systemd_makes_the_users_and_folders(tmp_path) -> None:
    sysusers, tmpfiles = program("systemd-sysusers"), program("systemd-tmpfiles")
    (tmp_path / "etc").mkdir()
    made = run(sysusers, f"--root={tmp_path}", SYSTEMD / "sysusers.d" / "hedgerow.conf")
    assert made.returncode == 0, made.stderr
    assert "not a valid" not in made.stderr
    users = (tmp_path / "etc" / "passwd").read_text()
    groups = (tmp_path / "etc" / "group").read_text()
    (group,) = re.findall(r"^hedgerow:x:(\d+):", groups, re.MULTILINE)
    members = dict(re.findall(r"^(hedgerow-\w+):x:\d+:(\d+):", users, re.MULTILINE))
    assert members["hedgerow-agent"] == members["hedgerow-node"] == group
    assert members["hedgerow-coordinator"] != group
    done = run(tmpfiles, f"--root={tmp_path}", "--create", SYSTEMD / "tmpfiles.d" / "hedgerow.conf")
    assert done.returncode == 0, done.stderr
    modes = {
        path: stat.S_IMODE((tmp_path / path).stat().st_mode)
        for path in ("run/hedgerow", "var/lib/hedgerow-agent", "var/lib/hedgerow-node")
    }
    assert modes == {
        "run/hedgerow": 0o750, "var/lib/hedgerow-agent": 0o700, "var/lib/hedgerow-node": 0o700
    }  # fmt: skip
