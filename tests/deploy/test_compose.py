"""The demo federation: an agent without network, a node without data, nothing that may do more."""

import json

import pytest
import yaml
from programs import DEPLOY, program, run

COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
AGENTS = [name for name in SERVICES if name.endswith("-agent")]
NODES = [name for name in SERVICES if name.endswith("-node")]


def mounts(name: str) -> dict[str, str]:
    """Volume of each target."""
    return {one.split(":")[1]: one.split(":")[0] for one in SERVICES[name].get("volumes", [])}


def test_docker_compose_takes_it() -> None:
    done = run(
        program("docker-compose"), "-f", DEPLOY / "compose.yaml", "config", "--format", "json"
    )
    assert done.returncode == 0, done.stderr
    resolved = json.loads(done.stdout)
    assert set(resolved["services"]) == set(SERVICES)
    assert all(resolved["services"][name]["network_mode"] == "none" for name in AGENTS)


def test_there_is_a_coordinator_and_a_quorum_of_sites() -> None:
    assert len(AGENTS) == len(NODES) == 3
    assert "coordinator" in SERVICES


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_has_no_network_and_time_to_finish(name: str) -> None:
    assert SERVICES[name]["network_mode"] == "none"
    assert "networks" not in SERVICES[name]
    assert "ports" not in SERVICES[name]
    assert SERVICES[name]["stop_grace_period"] == "10m"


@pytest.mark.parametrize(("agent", "node"), zip(AGENTS, NODES, strict=True))
def test_agent_and_node_share_the_sockets_volume_alone(agent: str, node: str) -> None:
    shared = set(mounts(agent).values()) & set(mounts(node).values())
    assert shared == {mounts(agent)["/run/hedgerow"]} == {mounts(node)["/run/hedgerow"]}
    assert "/var/lib/hedgerow" not in mounts(node)
    assert SERVICES[node]["user"] == "10002:10000"


def test_no_volume_is_of_two_sites() -> None:
    of_sites = [
        {*mounts(agent).values(), *mounts(agent.replace("-agent", "-node")).values()}
        for agent in AGENTS
    ]
    assert not set.intersection(*of_sites)
    assert not set(mounts("coordinator").values()) & set.union(*of_sites)


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert any(one.startswith("/tmp") for one in service["tmpfs"])
    assert "privileged" not in service
    assert "ports" not in service
    assert not service["image"].endswith((":latest", "hedgerow-site"))


def test_root_is_nobody_but_who_gives_the_volumes_away() -> None:
    assert [name for name, one in SERVICES.items() if str(one.get("user", "")).startswith("0")] == [
        "volumes"
    ]
    assert SERVICES["volumes"]["network_mode"] == "none"


def test_nothing_leaves_the_machine() -> None:
    assert COMPOSE["networks"] == {"federation": {"internal": True}}


def test_every_volume_is_given_away_and_declared() -> None:
    used = {volume for name in SERVICES for volume in mounts(name).values()}
    assert used == set(COMPOSE["volumes"]) == set(mounts("volumes").values())
