"""The charts, as Helm renders them: confined pods, one way out, nobody in."""

import json
import re
from functools import cache

import pytest
import yaml
from programs import DEPLOY, program, run

CHARTS = {
    "hedgerow-coordinator": DEPLOY / "helm" / "hedgerow-coordinator",
    "hedgerow-site": DEPLOY / "helm" / "hedgerow-site",
}
CASES = [
    ("hedgerow-coordinator", "running"),
    ("hedgerow-coordinator", "setup"),
    ("hedgerow-coordinator", "existing-ca"),
    ("hedgerow-site", "setup"),
    ("hedgerow-site", "running"),
    ("hedgerow-site", "database"),
]
LINT = DEPLOY / "lint_charts.py"


@cache
def all_rendered() -> dict[str, dict[str, list[dict]]]:
    program("hadolint")  # .tools is there, and with it Helm's library
    done = run(DEPLOY.parent / ".tools" / "bin" / "python", LINT, "--print")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def rendered(chart: str, case: str) -> list[dict]:
    return all_rendered()[chart][case]


def of(kind: str, objects: list[dict]) -> list[dict]:
    return [one for one in objects if one["kind"] == kind]


def test_helm_lints_them_and_kubernetes_schemas_hold() -> None:
    program("hadolint")
    done = run(DEPLOY.parent / ".tools" / "bin" / "python", LINT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("chart", CHARTS)
def test_every_value_that_a_template_reads_is_there_and_described(chart: str) -> None:
    values = yaml.safe_load((CHARTS[chart] / "values.yaml").read_text())
    schema = json.loads((CHARTS[chart] / "values.schema.json").read_text())
    text = "".join(path.read_text() for path in (CHARTS[chart] / "templates").iterdir())
    for name in set(re.findall(r"\.Values\.([A-Za-z.]+)", text)):
        here, described = values, schema
        for key in name.split("."):
            assert key in here, f"{name}: not in values.yaml"
            assert key in described["properties"], f"{name}: not in values.schema.json"
            here, described = here[key], described["properties"][key]
    assert schema["additionalProperties"] is False
    assert set(values) == set(schema["properties"]) - {"global"}


@pytest.mark.parametrize(("chart", "case"), CASES)
def test_every_pod_is_confined(chart: str, case: str) -> None:
    deployments = of("Deployment", rendered(chart, case))
    assert deployments
    for deployment in deployments:
        assert deployment["spec"]["replicas"] == 1
        assert deployment["spec"]["strategy"] == {"type": "Recreate"}
        pod = deployment["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC"))
        for container in pod["containers"] + pod.get("initContainers", []):
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert not container["image"].endswith(":latest")
        for container in pod["containers"]:
            assert "memory" in container["resources"]["limits"]
        assert not [one for one in pod["volumes"] if "hostPath" in one]


@pytest.mark.parametrize(("chart", "case"), CASES)
def test_every_pod_is_under_a_network_policy(chart: str, case: str) -> None:
    objects = rendered(chart, case)
    policies = of("NetworkPolicy", objects)
    for deployment in of("Deployment", objects):
        labels = deployment["spec"]["template"]["metadata"]["labels"].items()
        over = [
            one for one in policies if one["spec"]["podSelector"]["matchLabels"].items() <= labels
        ]
        assert len(over) == 1
        assert over[0]["spec"]["policyTypes"] == ["Ingress", "Egress"]


def policy(objects: list[dict], ending: str) -> dict:
    (found,) = [
        one["spec"]
        for one in of("NetworkPolicy", objects)
        if one["metadata"]["name"].endswith(ending)
    ]
    return found


def test_a_site_goes_to_the_coordinator_alone_and_nobody_comes_in() -> None:
    objects = rendered("hedgerow-site", "running")
    assert policy(objects, "-agent") | {"podSelector": 0} == {
        "podSelector": 0, "policyTypes": ["Ingress", "Egress"], "ingress": [], "egress": []
    }  # fmt: skip
    node = policy(objects, "-node")
    assert node["ingress"] == []
    out, names = node["egress"]
    assert out == {
        "to": [{"ipBlock": {"cidr": "203.0.113.7/32"}}],
        "ports": [{"port": 8443, "protocol": "TCP"}],
    }
    assert {one["port"] for one in names["ports"]} == {53}
    assert not of("Service", objects)


def test_the_coordinator_calls_nobody_and_listens_at_one_port() -> None:
    objects = rendered("hedgerow-coordinator", "existing-ca")
    found = policy(objects, "-coordinator")
    assert found["egress"] == []
    (way_in,) = found["ingress"]
    assert way_in["ports"] == [{"port": 8443, "protocol": "TCP"}]
    assert way_in["from"] == [{"ipBlock": {"cidr": "10.0.0.0/8"}}]
    (service,) = of("Service", objects)
    assert [one["port"] for one in service["spec"]["ports"]] == [8443]


def test_the_node_sees_the_socket_and_its_secret_and_no_claim_with_data() -> None:
    objects = rendered("hedgerow-site", "database")
    pods = {
        one["metadata"]["name"].rsplit("-", 1)[1]: one["spec"]["template"]["spec"]
        for one in of("Deployment", objects)
    }
    claims = {
        who: {
            one["persistentVolumeClaim"]["claimName"]
            for one in pod["volumes"]
            if "persistentVolumeClaim" in one
        }
        for who, pod in pods.items()
    }
    assert claims == {"agent": {"demo-home", "demo-socket", "rows"}, "node": {"demo-socket"}}
    users = {who: pod["securityContext"]["runAsUser"] for who, pod in pods.items()}
    assert users == {"agent": 10001, "node": 10002}
    near = pods["node"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert near[0]["topologyKey"] == "kubernetes.io/hostname"


def test_uninstalling_deletes_no_key_and_no_ledger() -> None:
    for chart in CHARTS:
        for claim in of("PersistentVolumeClaim", rendered(chart, "setup")):
            keeps = (
                claim["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"
            )
            assert keeps != claim["metadata"]["name"].endswith("-socket")
