"""Rules and dashboards use metrics that exist, and every alert has its runbook."""

import importlib
import json
import re

import pytest
import yaml

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
METRIC = re.compile(r"\b(duly_[a-z0-9_]+|process_[a-z0-9_]+)")


@pytest.fixture
def documented(root) -> set[str]:
    table = (root / "docs/telemetry.md").read_text()
    return set(re.findall(r"^\| `([a-z0-9_]+)` \|", table, re.MULTILINE))


@pytest.fixture
def rules(rules_text):
    groups = yaml.safe_load(rules_text)["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.fixture
def dashboards(chart):
    return {
        path.stem: json.loads(path.read_text()) for path in (chart / "files/dashboards").glob("*")
    }


@pytest.fixture
def panels(dashboards):
    """Return every panel that is no heading, with the name of its dashboard."""
    return [
        (name, panel)
        for name, dashboard in dashboards.items()
        for panel in dashboard["panels"]
        if panel["type"] != "row"
    ]


def used(expression: str, recorded: set[str]) -> set[str]:
    for name in recorded:
        expression = expression.replace(name, "")
    return {re.sub(r"_bucket$", "", name) for name in METRIC.findall(expression)}


def test_rules_and_dashboards_use_metrics_that_are_documented(
    documented, rules, dashboards, panels
):
    recorded = {rule["record"] for rule in rules if "record" in rule}
    expressions = [rule["expr"] for rule in rules]
    expressions += [target["expr"] for _, panel in panels for target in panel["targets"]]
    expressions += [
        variable["query"]["query"]
        for dashboard in dashboards.values()
        for variable in dashboard["templating"]["list"]
        if variable["type"] == "query"
    ]

    for expression in expressions:
        assert used(expression, recorded) <= documented, expression


def test_every_metric_of_tasks_queues_and_ticks_is_looked_at(documented, rules, panels):
    asked = " ".join(
        [rule["expr"] for rule in rules]
        + [target["expr"] for _, panel in panels for target in panel["targets"]]
    )
    nouns = ("duly_queue", "duly_task", "duly_tick", "duly_broker", "duly_orders", "duly_monitor")

    assert [name for name in documented if name.startswith(nouns) and name not in asked] == []


def test_every_alert_says_what_it_is_and_has_a_runbook(root, rules):
    runbooks = (root / "docs/operating.md").read_text()
    names = {rule["alert"] for rule in rules if "alert" in rule}

    for rule in rules:
        if "alert" in rule:
            assert rule["labels"]["severity"] in {"critical", "warning"}
            assert rule["annotations"].keys() == {"summary", "description"}
            runbook = runbooks.partition(f"### {rule['alert']}\n")[2].partition("\n### ")[0]
            assert "**First**" in runbook, rule["alert"]
    assert set(re.findall(r"^### (Duly\w+)$", runbooks, re.MULTILINE)) == names


def test_the_dashboards_are_those_that_are_built(root, dashboards, monkeypatch):
    monkeypatch.syspath_prepend(root / "deploy/dashboards")
    boards = importlib.import_module("boards")

    built = {name: dashboard.built() for name, dashboard in boards.DASHBOARDS.items()}
    assert built == dashboards, "run: python deploy/dashboards/build.py"


def test_every_dashboard_can_be_told_which_release_to_show(dashboards):
    for dashboard in dashboards.values():
        assert dashboard["id"] is None
        assert not dashboard["editable"]
        assert "__inputs" not in dashboard
        variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
        assert variables["datasource"]["type"] == "datasource"
        assert variables["datasource"]["label"] == "Data source"
        assert {"namespace", "release"} <= variables.keys()
        for variable in variables.values():
            if variable["type"] == "query":
                assert variable["refresh"] == 2
                assert variable["multi"]
                assert variable["includeAll"]
                assert variable["allValue"] == ".+"
                assert variable["datasource"] == SOURCE
        assert {link["type"] for link in dashboard["links"]} == {"dashboards", "link"}
    assert len({dashboard["uid"] for dashboard in dashboards.values()}) == len(dashboards) == 4


def test_every_panel_is_described_and_asks_the_chosen_source(panels):
    for name, panel in panels:
        assert panel["title"], (name, panel)
        assert panel["description"].endswith("."), (name, panel["title"])
        assert panel["fieldConfig"]["defaults"]["unit"], (name, panel["title"])
        assert panel["datasource"] == SOURCE
        assert panel["targets"], (name, panel["title"])
        for target in panel["targets"]:
            assert target["datasource"] == SOURCE
            assert target["legendFormat"], (name, panel["title"])


def test_every_query_is_of_the_chosen_releases_and_rates_its_counters(panels):
    for _, panel in panels:
        for target in panel["targets"]:
            query = target["expr"]
            for selector in re.findall(r"(?:duly|process)_[\w:]+(\{[^}]*\})?", query):
                assert 'namespace=~"$namespace",release=~"$release"' in selector, query
            if "rate(" in query:
                assert "[$__rate_interval]" in query, query
            for counter in re.findall(r"[\w(]*duly_\w+_total\{", query):
                assert re.match(r".*(rate|increase)\(", counter), query


def test_panels_lie_beside_and_below_each_other(dashboards):
    for name, dashboard in dashboards.items():
        cells = [
            (x, y)
            for place in (panel["gridPos"] for panel in dashboard["panels"])
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        ]
        assert len(set(cells)) == len(cells), name
        assert max(x for x, _ in cells) < 24, name


def test_our_labels_win_over_those_of_the_operator(render, everything):
    documents = render(values=everything)

    endpoints = documents.one("ServiceMonitor")["spec"]["endpoints"]
    endpoints += documents.one("PodMonitor")["spec"]["podMetricsEndpoints"]
    assert [endpoint["honorLabels"] for endpoint in endpoints] == [True, True]
