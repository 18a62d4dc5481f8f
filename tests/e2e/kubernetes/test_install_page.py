"""docs/install.md, line by line, in a cluster with stores of a team's own."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml
from cluster import IMAGES, ROOT, command, kubectl, make_namespace, say, wait_for
from stores import (
    NAMESPACE as STORES,
)
from stores import (
    ask_postgresql,
    make_certificates,
    run_line,
    start_postgresql,
    start_valkey,
    wait_until_ready,
)
from tests.chart.install_page import production, upkeep, values

pytestmark = pytest.mark.nightly
ROLES = ["scheduler", "worker", "monitor", "keda"]
HAS_KEDA = os.environ.get("DULY_E2E_KEDA") == "yes"
DATABASE = f"orders.{STORES}.svc"
PASSWORD = "p@ss/w:rd %1"


def as_it_is_here(line: str) -> str:
    """Put what the reader has to put in: an address and a password of their own."""
    line = line.replace("duly:…@orders.example.com", f"duly:{quote(PASSWORD, safe='')}@{DATABASE}")
    return line.replace("helm upgrade duly … --wait", f"{INSTALL} --wait")


INSTALL = (
    "helm upgrade duly deploy/helm/duly --namespace jobs"
    " --values deploy/helm/duly/values-prod.yaml --values mine.yaml"
)


def own_values() -> dict[str, object]:
    """Give what the page puts into mine.yaml, with what this cluster has and has not."""
    mine = values(production(ROOT), "standalone")
    repository, _, tag = IMAGES["worker"].rpartition(":")
    registry = repository.rpartition("/")[0]
    mine["image"] = {"registry": registry, "tag": tag}
    # The page: in a cluster without the CRDs of the Prometheus operator, and without KEDA.
    mine["metrics"] = {"podMonitor": {"enabled": False}, "prometheusRule": {"enabled": False}}
    if not HAS_KEDA:
        queues = ("critical", "default", "low")
        mine["worker"] = {"queues": {name: {"keda": {"enabled": False}} for name in queues}}
    return mine


@pytest.fixture(scope="module")
def team(tmp_path_factory) -> Iterator[Path]:
    """Give a team's folder: its stores run, and its passwords and certificates are in files."""
    folder = tmp_path_factory.mktemp("team")
    (folder / "deploy").symlink_to(ROOT / "deploy")
    for role in ROLES:
        (folder / role).write_text(f"secret-of-{role}")
    make_certificates(folder, DATABASE)
    make_namespace(STORES)
    try:
        start_valkey(folder, ROLES)
        start_postgresql(folder, "orders", PASSWORD)
        wait_until_ready("valkey", "orders")
        yield folder
    finally:
        if "DULY_E2E_KEEP" not in os.environ:
            for namespace in ("jobs", STORES):
                delete = ("delete", "namespace", namespace, "--ignore-not-found")
                command("kubectl", *delete, timeout=300)


def test_production_is_installed_line_by_line(team: Path):
    (team / "mine.yaml").write_text(yaml.safe_dump(own_values(), allow_unicode=True))
    blocks = [block for block in production(ROOT) if block.startswith(("kubectl", "helm"))]
    lines = "".join(blocks).replace("\\\n", "").splitlines()
    assert len(lines) >= 5, lines

    for line in lines:
        start = time.monotonic()
        said = run_line(as_it_is_here(line), team)
        say(f"$ {line.strip()}\n({time.monotonic() - start:.0f} s) {said[-400:]}")

    assert said.count("completed") == 3  # `helm test` comes last: each queue ran its task


def test_the_database_is_reached_by_tls_alone(team: Path):
    ssl = "SELECT count(*), bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"

    def looked_at() -> str:
        found = ask_postgresql("orders", f"{ssl} WHERE client_addr IS NOT NULL").strip()
        return "" if found.startswith("0|") else found

    wait_for("connections", 60, lambda: looked_at().endswith("|t"))
    logs = ("logs", "--selector=duly/queue=default", "--container=worker", "--tail=-1")
    wait_for("a check", 60, lambda: "Pending orders checked" in kubectl(*logs, namespace="jobs"))


def test_the_workers_have_the_rights_that_the_page_gives_them(team: Path):
    check = ("exec", "deployment/duly-worker-default", "--container=worker", "--")
    said = kubectl(*check, "duly", "acl", "check", "worker", namespace="jobs")

    assert "duly-worker" in said, said


def test_upgrade_rollback_and_uninstall_as_the_page_has_them(team: Path):
    for line in upkeep(ROOT):
        start = time.monotonic()
        said = run_line(as_it_is_here(line), team)
        say(f"$ {line}\n({time.monotonic() - start:.0f} s) {said[-200:]}")

    everything = "all,pvc,configmaps,secrets,serviceaccounts,networkpolicies,poddisruptionbudgets"

    def left() -> list[str]:
        found = json.loads(kubectl("get", everything, "--output=json", namespace="jobs"))["items"]
        names = {f"{item['kind']}/{item['metadata']['name']}" for item in found}
        own = {"ConfigMap/kube-root-ca.crt", "ServiceAccount/default"}
        return sorted(names - own)

    mine = ["Secret/duly-broker", "Secret/duly-database", "Secret/duly-database-tls"]
    wait_for("end of everything", 120, lambda: left() == mine)
