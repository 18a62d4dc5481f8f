"""The rules of Grafana's dashboard-linter, in our words, as far as test_observability has them not.

Where we differ: a dashboard selects by namespace and release instead of by job and instance, since
one release is what somebody looks at. test_observability checks that every selector does.
"""

import json
import re
import shutil
import subprocess

import pytest
import yaml

UNITS = {"short", "s", "bytes", "ops", "percentunit"}
"""Ids of Grafana's units that we use: a number, seconds, bytes (IEC), per second, and a share."""
FILLED = {"$__rate_interval": "2m", "$__range": "1h", "$namespace": "a", "$release": "b"}
WINDOWS = {"5m": "within five minutes", "$__range": "in the time that is shown"}
"""A window of its own → how the panel says so."""
FUNCTIONS = r"\b(?:rate|irate|increase)\("


@pytest.fixture
def dashboards(chart):
    return {
        path.stem: json.loads(path.read_text()) for path in (chart / "files/dashboards").glob("*")
    }


@pytest.fixture
def targets(dashboards):
    """Every query with its panel."""
    return [
        (panel, target)
        for dashboard in dashboards.values()
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
    ]


def test_there_is_one_data_source_to_choose(dashboards):
    for dashboard in dashboards.values():
        sources = [one for one in dashboard["templating"]["list"] if one["type"] == "datasource"]
        assert [(one["name"], one["query"]) for one in sources] == [("datasource", "prometheus")]


def test_the_values_of_a_variable_are_those_of_a_label_of_a_metric(dashboards):
    for dashboard in dashboards.values():
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                query = variable["query"]["query"]
                assert re.fullmatch(r"label_values\(duly_\w+(\{.+\})?, \w+\)", query), query


def test_units_are_grafanas(targets):
    assert {panel["fieldConfig"]["defaults"]["unit"] for panel, _ in targets} == UNITS


def test_a_panel_of_seconds_bytes_or_shares_has_their_unit(targets):
    for panel, target in targets:
        unit, query = panel["fieldConfig"]["defaults"]["unit"], target["expr"]
        if re.search(r"_seconds(_bucket)?\{", query) and "cpu" not in query:
            assert unit == "s", panel["title"]
        if "_bytes{" in query:
            assert unit == "bytes", panel["title"]
        if panel["title"].startswith(("Share", "Slots met", "Failed share", "How full")):
            assert unit == "percentunit", panel["title"]


def test_queries_are_promql(targets, tmp_path):
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("no promtool here: it is in Debian's package prometheus")
    rules = []
    for number, (_, target) in enumerate(targets):
        query = target["expr"]
        for name, value in FILLED.items():
            query = query.replace(name, value)
        rules.append({"record": f"query:number:{number}", "expr": query})
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))

    done = subprocess.run(
        [program, "check", "rules", "--lint=none", str(file)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr


def test_rates_follow_the_zoom_or_say_which_time_they_are_of(targets):
    for panel, target in targets:
        windows = set(re.findall(r"\[([^\]]+)\]", target["expr"])) - {"$__rate_interval"}
        for window in windows:
            assert WINDOWS[window] in panel["description"].lower(), panel["title"]


def test_counters_are_rated_before_they_are_added_up(targets):
    counter = re.compile(r"\b(\w+_(?:total|bucket))\{[^}]*\}(\[)?")
    for panel, target in targets:
        for found in counter.finditer(target["expr"]):
            before = target["expr"][: found.start()]
            assert re.search(FUNCTIONS + "$", before), (panel["title"], found[1])
            assert found[2], panel["title"]


def test_legends_of_one_panel_differ(dashboards):
    for dashboard in dashboards.values():
        for panel in dashboard["panels"]:
            legends = [target["legendFormat"] for target in panel.get("targets", ())]
            assert len(set(legends)) == len(legends), panel["title"]


def test_what_several_schedulers_export_is_told_apart_by_release_and_namespace(targets):
    for panel, target in targets:
        for labels in re.findall(r"\b(?:max|min) by \(([^)]*)\)", target["expr"]):
            by = set(labels.split(", "))
            assert {"namespace", "release"} <= by or by == {"instance"}, panel["title"]


COUNTED = {
    "Tasks by state": ('duly_queue_tasks{queue="default", state="waiting"', [1900]),
    "Paused queues": ('duly_queue_paused{queue="default"', [1900]),
    "Connections": ('duly_broker_clients{node="valkey:6379"', [900, 1000]),
}
"""Panel → a series of it, without its release, and what it shows of 900 and 1000."""


@pytest.mark.parametrize("title", COUNTED)
def test_releases_of_one_name_in_two_namespaces_are_two(targets, promtool, tmp_path, title):
    series, expected = COUNTED[title]
    query = next(target["expr"] for panel, target in targets if panel["title"] == title)
    for variable in ("$namespace", "$release", "$queue"):
        query = query.replace(variable, ".+")
    (tmp_path / "rules.yaml").write_text("groups: []")
    content = {
        "rule_files": ["rules.yaml"],
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {
                        "series": f'{series}, namespace="{name}", release="duly"}}',
                        "values": f"{count}x5",
                    }
                    for name, count in (("a", 900), ("b", 1000))
                ],
                "promql_expr_test": [
                    {
                        "expr": f"count_values('value', {query})",
                        "eval_time": "5m",
                        "exp_samples": [
                            {"labels": f'{{value="{value}"}}', "value": 1} for value in expected
                        ],
                    }
                ],
            }
        ],
    }
    file = tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump(content))

    promtool("test", "rules", str(file))
