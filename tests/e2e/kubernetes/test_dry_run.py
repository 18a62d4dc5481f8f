"""The API server is asked for everything that the chart's own tests render, odd values too."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from cluster import CHART, command
from tests.chart.odd_values import ACCEPTED, nested
from tests.chart.variants import VARIANTS

NAMESPACE = "duly-e2e-dry"
FOREIGN = ("extraInitContainers", "extraContainers")
"""What a test adds to pods in the restricted namespace without the fields that it asks for."""

NOT_HERE = {"runtimeClassName", "ipFamilies", "ipFamilyPolicy"}
"""What a cluster has or has not: the server looks it up."""


def without(values: dict[str, Any], keys: set[str]) -> dict[str, Any]:
    return {
        key: without(value, keys) if isinstance(value, dict) else value
        for key, value in values.items()
        if key not in keys
    }


CASES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    **{f"variant {name}": case for name, case in VARIANTS.items()},
    **{name: ((), without(nested(values), NOT_HERE)) for name, values in ACCEPTED.items()},
}


@pytest.fixture(scope="module")
def kinds() -> Iterator[set[tuple[str, str]]]:
    """Give (API version, kind) of all that this cluster knows, beside a namespace that warns."""
    command("kubectl", "create", "namespace", NAMESPACE)
    warn = "pod-security.kubernetes.io/warn=restricted"
    command("kubectl", "label", "namespace", NAMESPACE, warn)
    known = set()
    for version in command("kubectl", "api-versions").split():
        path = f"/api/{version}" if "/" not in version else f"/apis/{version}"
        resources = json.loads(command("kubectl", "get", "--raw", path))["resources"]
        known |= {(version, resource["kind"]) for resource in resources}
    try:
        yield known
    finally:
        command("kubectl", "delete", "namespace", NAMESPACE, "--wait=true")


def template(options: tuple[str, ...], values: dict[str, Any]) -> list[dict[str, Any]]:
    said = command(
        *("helm", "template", "shop", str(CHART), "--namespace", NAMESPACE, *options),
        *("--values", "-"),
        stdin=json.dumps(values),
    )
    return [item for item in yaml.safe_load_all(said) if item]


def asked(documents: list[dict[str, Any]]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [
            *("kubectl", "apply", "--server-side", "--dry-run=server", "--filename=-"),
            *("--namespace", NAMESPACE, "--validate=strict"),
        ],
        # As JSON: PyYAML and Go do not agree on which words are numbers.
        input=json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("options", "values"), CASES.values(), ids=CASES.keys())
def test_the_api_server_takes_what_is_rendered(kinds: set[tuple[str, str]], options, values):
    documents = template(options, values)
    known = [item for item in documents if (item["apiVersion"], item["kind"]) in kinds]
    assert len(known) > len(documents) / 2

    done = asked(known)

    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(known)
    if not any(word in json.dumps(values) for word in FOREIGN):
        assert "Warning" not in done.stderr, done.stderr


def test_what_the_api_server_refuses_is_noticed(kinds: set[tuple[str, str]]):
    service = next(item for item in template((), {}) if item["kind"] == "Service")
    service["spec"]["ports"][0]["port"] = 0

    assert "must be between 1 and 65535" in asked([service]).stderr
