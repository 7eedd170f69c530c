"""Alerts on metrics that there are, which lead to a page that there is."""

import re

import pytest
import yaml
from programs import DEPLOY, ROOT, program, run

from server.coordinator_metrics import HELP

ALERTS = DEPLOY / "prometheus" / "alerts.yaml"
RULES = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def headings(text: str) -> set[str]:
    """Anchors as GitHub makes them."""
    return {
        re.sub(r"[^\w -]", "", row.lstrip("# ").lower()).replace(" ", "-")
        for row in text.splitlines()
        if row.startswith("#")
    }


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_it_is_about_a_metric_and_leads_to_a_runbook(rule) -> None:
    metrics = re.findall(r"\bhedgerow_\w+", rule["expr"])
    assert metrics
    assert set(metrics) <= set(HELP)
    path, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert anchor in headings((ROOT / path).read_text())


def test_no_alert_has_the_name_of_another() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES)


def test_prometheus_takes_them_and_they_fire_when_they_should() -> None:
    promtool = program("promtool")
    assert run(promtool, "check", "rules", ALERTS).returncode == 0
    done = run(promtool, "test", "rules", "alerts.test.yaml", cwd=ALERTS.parent)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_that_a_runbook_names_is_there() -> None:
    text = (ROOT / "docs" / "operating" / "runbooks.md").read_text()
    assert set(re.findall(r"`(Hedgerow\w+)`", text)) <= {rule["alert"] for rule in RULES}


def test_every_runbook_is_in_the_table_and_says_what_not_to_do() -> None:
    text = (ROOT / "docs" / "operating" / "runbooks.md").read_text()
    table, *pages = re.split(r"(?m)^## ", text)
    titles = {page.splitlines()[0].lower().replace(" ", "-") for page in pages}
    assert set(re.findall(r"\]\(#([\w-]+)\)", table)) == titles
    assert [page.splitlines()[0] for page in pages if "**Do not**" not in page] == []
    assert [page.splitlines()[0] for page in pages if "**Shows as**" not in page] == ["Key lost"]
