"""The exporters of docs/telemetry.md: the values on that page, as they are, on the chart."""

import re
from typing import Any

import pytest
import yaml
from tests.chart.kubernetes import mistakes
from tests.chart.pods import variables

BLOCK = re.compile(r"<!-- exporters: .*?```yaml\n(.*?)```", re.DOTALL)
PORTS = {"valkey": 6379, "postgresql": 5432}


@pytest.fixture(scope="module")
def documents(root, render):
    (text,) = BLOCK.findall((root / "docs/telemetry.md").read_text())
    values = yaml.safe_load(text)
    values["networkPolicy"]["enabled"] = True
    return render(values=values)


def exporter(documents: Any, store: str) -> dict[str, Any]:
    found: dict[str, Any] = documents.one("Deployment", f"{store}-exporter")
    return found["spec"]["template"]


def test_kubernetes_accepts_them(documents):
    assert not mistakes(documents, "1.34")


@pytest.mark.parametrize("store", PORTS)
def test_they_find_the_store_and_its_password(documents, store):
    pod = exporter(documents, store)["spec"]
    (container,) = pod["containers"]
    told = variables({"volumes": []}, container)

    service = documents.one("Service", f"-{store}")
    address = f"{service['metadata']['name']}:{PORTS[store]}"
    assert address in told.get("REDIS_ADDR", told.get("DATA_SOURCE_URI"))
    if store == "valkey":
        read = told["REDIS_PASSWORD"]["secretKeyRef"]
        name, key = read["name"], read["key"]
    else:
        (volume,) = pod["volumes"]
        (item,) = volume["secret"]["items"]
        name, key = volume["secret"]["secretName"], item["key"]
        (mount,) = container["volumeMounts"]
        assert told["DATA_SOURCE_PASS_FILE"] == f"{mount['mountPath']}/{item['path']}"
    assert key in documents.one("Secret", f"-{store}")["stringData"]
    assert documents.one("Secret", f"-{store}")["metadata"]["name"] == name


@pytest.mark.parametrize("store", PORTS)
def test_they_are_let_in_and_scraped(documents, store):
    labels = exporter(documents, store)["metadata"]["labels"]

    (rule, *_) = documents.one("NetworkPolicy", f"-{store}")["spec"]["ingress"]
    let_in = [one["podSelector"].get("matchLabels", {}) for one in rule["from"]]
    assert any(wanted and wanted.items() <= labels.items() for wanted in let_in)
    monitor = documents.one("PodMonitor", "-stores")["spec"]
    assert monitor["selector"]["matchLabels"].items() <= labels.items()
    ports = exporter(documents, store)["spec"]["containers"][0]["ports"]
    assert {endpoint["port"] for endpoint in monitor["podMetricsEndpoints"]} == {
        port["name"] for port in ports
    }


def test_they_keep_what_the_chart_s_own_pods_keep(documents):
    for store in PORTS:
        pod = exporter(documents, store)["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"]
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context["readOnlyRootFilesystem"]
            assert container["resources"]["limits"]["memory"]
