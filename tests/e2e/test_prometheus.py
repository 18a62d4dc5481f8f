"""Every query of rules and dashboards, asked of a real Prometheus that scrapes real services."""

import asyncio
import json
import re
import shutil
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
import yaml

from duly.engine.enqueue.client import Client
from duly.engine.inspection.inspector import Inspector
from duly.job import Job
from duly.jobs import CheckPendingOrders
from duly.runtime.settings import RedisSettings
from duly.testing.environment import in_ci, inherited
from duly.testing.processes import free_port, spawn
from duly.testing.waiting import wait_until

CHART = Path(__file__).parents[2] / "deploy/helm/duly"
FOUND = r"Pending order found"
LABELS = {"namespace": "jobs", "release": "shop"}
VARIABLES = {
    "$namespace": "jobs",
    "$release": "shop",
    "$queue": ".+",
    "$__rate_interval": "30s",
    "$__range": "5m",
}
FIRING = 'ALERTS{alertstate="firing"}'
TRUE_AFTER_A_STALL = {"DulyLeasesLost"}
"""A machine that stops for longer than a lease makes its workers lose it, and this is told."""
STARTING = 503
REPLICA = "sqlite+aiosqlite:///.duly/orders.db"
"""The database itself: what is asked is whether the panel of its lag has an answer."""
PROVOKED = {"DulyTasksQuarantined"}


class Unknown(Job, kind="nobody_knows_it"):
    pass


def scrape_config(lines: str) -> dict:
    """Scrape what `duly up` printed, labelled as the chart's monitors label it."""
    targets = {"scheduler": [], "worker": [], "monitor": []}
    for name, address in re.findall(r"^(\w+)[\w-]* +\| http://([\d.]+:\d+)/", lines, re.MULTILINE):
        if name in targets:
            targets[name].append(address)
    return {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": addresses, "labels": LABELS}]}
            for job, addresses in targets.items()
        ],
    }


def rules_text() -> str:
    """Return the rules as the chart renders them."""
    text = (CHART / "files/rules/duly.yaml").read_text(encoding="utf-8")
    text = text.replace("$fullname", 'namespace="jobs", horizontalpodautoscaler=~".*shop-duly.*"')
    return text.replace("$release", 'namespace="jobs", release="shop"')


def answer(port: int, expression: str) -> list[dict]:
    """Return what an instant query finds, the dashboard's variables filled in."""
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    address = f"http://127.0.0.1:{port}/api/v1/query?"
    try:
        with urllib.request.urlopen(
            address + urllib.parse.urlencode({"query": expression}), timeout=60
        ) as reply:
            return json.load(reply)["data"]["result"]
    except urllib.error.HTTPError as error:
        if error.code == STARTING:
            raise ConnectionError from error
        pytest.fail(f"{expression}: {error.read()[:500]}")


@pytest.fixture
def ask(local_run, tmp_path):
    """`ask(query)` gives Prometheus's answer about a `duly up` that has checked orders twice."""
    if shutil.which("prometheus") is None:
        if in_ci():
            pytest.fail("CI must have Prometheus (Debian's package prometheus)")
        pytest.skip("Prometheus is not installed (Debian's package prometheus)")
    run = local_run("--port", "0", DULY_ORDERS__REPLICA_URL=REPLICA)
    run.until("Pending orders checked", times=2)
    trouble(run)
    run.until("Task quarantined")
    (tmp_path / "rules.yaml").write_text(rules_text(), encoding="utf-8")
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(scrape_config(run.text)))
    port = free_port()
    server = spawn(
        ["prometheus", f"--config.file={tmp_path}/prometheus.yaml", "--log.level=warn",
         f"--storage.tsdb.path={tmp_path}/series", f"--web.listen-address=127.0.0.1:{port}"],
        log=tmp_path / "prometheus.log",
        folder=tmp_path,
        environment=inherited(),
    )  # fmt: skip

    def query(expression: str) -> list[dict]:
        return answer(port, expression)

    def scraped() -> object:
        try:
            # Two scrapes of every target and two ticks between them, so that rates have values.
            enough = len(query('count_over_time(up{job!=""}[1m]) > 7')) == 5
            return enough and query("queue:duly_queue_paused:max == 1") and query(FIRING)
        except (urllib.error.URLError, ConnectionError):
            return False

    try:
        wait_until(scraped, timeout=180, what="seven scrapes of five targets")
        yield query
    finally:
        server.terminate()
        server.wait(60)


def trouble(run):
    """Pause a queue in which a task waits, and enqueue what no worker knows."""
    broker = RedisSettings(url=run.facts["redis_url"])

    async def make():
        async with Client.connect(broker) as client, Inspector.connect(broker) as inspector:
            await inspector.queues.pause("low")
            await client.enqueue(CheckPendingOrders(), queue="low")
            await client.enqueue(Unknown(), queue="default")

    asyncio.run(make())


def queries(dashboards):
    """Yield the title, the query and the legend of every panel."""
    for dashboard in dashboards:
        for panel in dashboard["panels"]:
            for target in panel.get("targets", ()):
                yield panel["title"], target["expr"], target["legendFormat"]


def choices(dashboards):
    """Yield the query of every variable's values."""
    for dashboard in dashboards:
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                query = variable["query"]["query"]
                series, name = re.fullmatch(r"label_values\((.+), (\w+)\)", query).groups()
                yield f"count by ({name}) ({series})"


@pytest.mark.slow
def test_every_panel_variable_legend_and_rule_has_an_answer(ask):
    dashboards = [json.loads(p.read_text()) for p in (CHART / "files/dashboards").glob("*.json")]
    assert len(dashboards) == 4
    for group in yaml.safe_load(rules_text())["groups"]:
        for rule in group["rules"]:
            ask(rule["expr"])  # Prometheus refuses what it does not understand

    silent, nameless = [], []
    for title, query, legend in queries(dashboards):
        found = ask(query)
        if not found:
            silent.append(f"{title}: {query}")
        names = set(re.findall(r"{{(\w+)}}", legend))
        if any(names - series["metric"].keys() for series in found):
            nameless.append(f"{title}: {legend}")
    unknown = [query for query in choices(dashboards) if not ask(query)]

    assert unknown == []
    assert silent == []
    assert nameless == []
    assert {alert["metric"]["alertname"] for alert in ask(FIRING)} >= PROVOKED
    assert {alert["metric"]["alertname"] for alert in ask(FIRING)} <= PROVOKED | TRUE_AFTER_A_STALL
