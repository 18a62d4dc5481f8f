"""Rules and dashboards use metrics that exist, and every alert has its runbook."""

import json
import re
import shutil
import subprocess

import pytest
import yaml

METRIC = re.compile(r"\b(duly_[a-z0-9_]+|process_[a-z0-9_]+)")


@pytest.fixture
def documented(root) -> set[str]:
    table = (root / "docs/telemetry.md").read_text()
    return set(re.findall(r"^\| `([a-z0-9_]+)` \|", table, re.MULTILINE))


@pytest.fixture
def rules(chart):
    groups = yaml.safe_load((chart / "files/rules/duly.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.fixture
def dashboards(chart):
    return [json.loads(path.read_text()) for path in (chart / "files/dashboards").glob("*.json")]


def used(expression: str, recorded: set[str]) -> set[str]:
    for name in recorded:
        expression = expression.replace(name, "")
    return {re.sub(r"_bucket$", "", name) for name in METRIC.findall(expression)}


def test_rules_and_dashboards_use_metrics_that_are_documented(documented, rules, dashboards):
    recorded = {rule["record"] for rule in rules if "record" in rule}
    expressions = [rule["expr"] for rule in rules]
    for dashboard in dashboards:
        expressions += [
            target["expr"] for panel in dashboard["panels"] for target in panel["targets"]
        ]
        expressions += [
            variable["query"]["query"]
            for variable in dashboard["templating"]["list"]
            if variable["type"] == "query"
        ]

    for expression in expressions:
        assert used(expression, recorded) <= documented, expression


def test_every_alert_says_what_it_is_and_has_a_runbook(root, rules):
    runbooks = (root / "docs/operating.md").read_text()

    for rule in rules:
        if "alert" in rule:
            assert rule["labels"]["severity"] in {"critical", "warning"}
            assert rule["annotations"].keys() == {"summary", "description"}
            assert f"### {rule['alert']}\n" in runbooks, rule["alert"]


def test_every_panel_is_described_and_asks_the_chosen_source(dashboards):
    for dashboard in dashboards:
        assert dashboard["id"] is None
        assert "__inputs" not in dashboard
        for panel in dashboard["panels"]:
            assert panel["title"], panel
            assert panel["description"], panel
            assert panel["fieldConfig"]["defaults"]["unit"], panel
            for target in panel["targets"]:
                assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
                if "rate(" in target["expr"]:
                    assert "$__rate_interval" in target["expr"]


@pytest.mark.parametrize(
    "command",
    [
        ("check", "rules", "deploy/helm/duly/files/rules/duly.yaml"),
        ("test", "rules", "tests/chart/rules_test.yaml"),
    ],
    ids=" ".join,
)
def test_promtool_accepts_the_rules_and_they_fire(root, command):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool here: it is in Debian's package prometheus")

    command = [promtool, *command[:2], str(root / command[2])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
