"""Lints and renders the charts with Helm's own code; holds the result against Kubernetes' schemas.

Run by `make lint-deploy` with the interpreter of .tools: helm-python-sdk carries Helm 4 as a
library, kubernetes-validate the schemas of the API. With --print it prints all manifests, by chart
and case, as JSON.
"""

import json
import sys
from pathlib import Path

import helm_python
import kubernetes_validate
import yaml

CHARTS = Path(__file__).parent / "helm"
KUBERNETES = "1.31"
DATABASE = {
    "to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}],
    "ports": [{"port": 5432, "protocol": "TCP"}],
}
RUNNING_SITE = {
    "setup": False,
    "coordinator": {"cidrs": ["203.0.113.7/32"], "port": 8443},
    "node": {"existingSecret": "site-node"},
}
CASES = {
    "hedgerow-coordinator": {
        "running": {},
        "setup": {"setup": True},
        "existing-ca": {
            "tls": {"existingSecret": "server"},
            "networkPolicy": {"siteCidrs": ["10.0.0.0/8"]},
        },
    },
    "hedgerow-site": {
        "setup": {},
        "running": RUNNING_SITE,
        "database": RUNNING_SITE | {"agent": {"databaseEgress": [DATABASE], "dataClaim": "rows"}},
    },
}
REFUSED = {
    "hedgerow-coordinator": ({"image": {"tag": "latest"}}, {"port": 80}, {"no_such_key": 1}),
    "hedgerow-site": (
        {"setup": False},
        RUNNING_SITE | {"coordinator": {"cidrs": ["0.0.0.0/0"], "port": 8443}},
        {"image": {"tag": "latest"}},
    ),
}
"""Values that values.schema.json must not let through."""


def manifests(chart: str, values: dict) -> list[dict]:
    """All objects that the chart makes of the values."""
    rendered = helm_python.Chart.load(CHARTS / chart).render(values, name="demo", namespace="fl")
    return [
        one
        for path, text in rendered.items()
        if path.endswith(".yaml")
        for one in yaml.safe_load_all(text)
        if one
    ]


def faults(chart: str) -> list[str]:
    """What is wrong with a chart, in words."""
    found = []
    for case, values in CASES[chart].items():
        report = helm_python.lint(CHARTS / chart, values, strict=True)
        found += [f"{chart} {case}: {message}" for message in report["errors"]]
        for one in manifests(chart, values):
            try:
                kubernetes_validate.validate(one, KUBERNETES, strict=True)
            except kubernetes_validate.ValidationError as error:
                where = ".".join(map(str, error.path))
                found.append(f"{chart} {case}: {one['kind']} {where}: {error.message}")
    for values in REFUSED[chart]:
        try:
            helm_python.Chart.load(CHARTS / chart).render(values, name="demo")
        except helm_python.HelmValuesError:
            continue
        found.append(f"{chart}: values that should be refused are not: {values}")
    return found


def main() -> int:
    """Print what is wrong, or the manifests; 1 if anything is."""
    if sys.argv[1:] == ["--print"]:
        made = {
            chart: {case: manifests(chart, values) for case, values in cases.items()}
            for chart, cases in CASES.items()
        }
        print(json.dumps(made))
        return 0
    found = [fault for chart in CASES for fault in faults(chart)]
    print("\n".join(found) or f"charts: {', '.join(CASES)} are well")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
