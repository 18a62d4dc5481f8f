"""The values and Secrets of docs/install.md fit together, and fit the chart."""

import re

import pytest
import yaml
from tests.chart.install_page import HOSTS, production, values


@pytest.fixture(scope="session")
def page(root):
    return production(root)


def commands(page):
    return [
        re.sub(r"\s+#.*", "", line)
        for block in page
        for line in block.replace("\\\n", " ").splitlines()
        if line.startswith(("kubectl", "helm"))
    ]


def secrets(page):
    """Give the Secrets that the page creates, with their keys."""
    return {
        re.search(r"secret generic (\S+)", line)[1]: set(
            re.findall(r"--from-(?:file|literal)=([\w.]+)", line)
        )
        for line in commands(page)
        if "create secret" in line
    }


def read(documents):
    """Give the Secrets that pods mount, with the keys that they read; None: all that there are."""
    found = {}
    for pod in documents.pods().values():
        for volume in pod.get("volumes", []):
            for source in volume.get("projected", {}).get("sources", []):
                secret = source["secret"]
                found.setdefault(secret["name"], set()).update(
                    item["key"] for item in secret["items"]
                )
            if "secret" in volume:
                found.setdefault(volume["secret"]["secretName"], set()).add("ca.crt")
    return found


@pytest.fixture
def installed(page, render, chart, tmp_path):
    """`installed(topology)`: what the page's commands install."""

    def run(topology="sentinel"):
        mine = tmp_path / "mine.yaml"
        mine.write_text(yaml.safe_dump(values(page, topology)), encoding="utf-8")
        return render(f"--values={chart}/values-prod.yaml", f"--values={mine}", name="duly")

    return run


def test_every_secret_that_a_pod_reads_is_created_with_its_keys(page, installed):
    created = secrets(page)

    needed = read(installed())

    missing = {name: keys - created.get(name, set()) for name, keys in needed.items()}
    assert not any(missing.values()), missing


def test_nothing_that_is_created_goes_unread(page, installed):
    documents = installed()
    needed = read(documents)
    keda = {
        (reference["name"], reference["key"])
        for item in documents.of("TriggerAuthentication")
        for reference in item["spec"].get("secretTargetRef", [])
    }

    for name, keys in secrets(page).items():
        assert keys <= needed[name] | {key for secret, key in keda if secret == name}, name


def test_each_role_logs_in_as_the_page_says(installed):
    roles = {}
    for name, pod in installed().pods().items():
        told = {item["name"]: item.get("value") for item in pod["containers"][0]["env"]}
        roles[name.removeprefix("Deployment/duly-")] = told.get("DULY_REDIS__USERNAME")

    assert roles["scheduler"] == "duly-scheduler"
    assert roles["worker-default"] == "duly-worker"
    assert roles["Pod/duly-test"] == roles["Job/duly-queue-removal"] == "duly-monitor"


def test_the_database_is_verified_by_the_authority_of_the_page(installed):
    pod = installed().one("Deployment", "-worker-default")["spec"]["template"]["spec"]

    told = {item["name"]: item.get("value") for item in pod["containers"][0]["env"]}
    assert told["PGSSLMODE"] == "verify-full"
    assert told["PGSSLROOTCERT"] == "/etc/duly/database-tls/ca.crt"


@pytest.mark.parametrize("topology", HOSTS)
def test_a_broker_of_another_topology_goes_with_the_values_for_production(installed, topology):
    pod = installed(topology).one("Deployment", "-scheduler")["spec"]["template"]["spec"]

    told = {item["name"]: item.get("value") for item in pod["containers"][0]["env"]}
    assert told["DULY_REDIS__CLUSTER"] == str(topology == "cluster").lower()
    assert f": {told['DULY_REDIS__HOST']}" == HOSTS[topology]
    assert told["DULY_REDIS__USERNAME"] == "duly-scheduler"


def test_everything_goes_into_the_one_namespace(page):
    wanted = [line for line in commands(page) if "create namespace" not in line]

    assert len(wanted) >= 5
    assert all("--namespace jobs" in line for line in wanted), wanted
