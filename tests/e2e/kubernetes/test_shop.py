"""The example beside the check of pending orders: from a request to its front to the mail."""

import json
from collections.abc import Iterator

import pytest
import yaml
from cluster import CHART, IMAGES, ROOT, Release, command, image_values, say, wait_for

SHOP = ROOT / "examples/shop"
NAMESPACE = "duly-e2e-shop"
ASK = """
import sys, urllib.request
url, body = "http://127.0.0.1:8000" + sys.argv[1], sys.argv[2].encode()
request = urllib.request.Request(url, body or None)
request.add_header("Content-Type", "application/json")
print(urllib.request.urlopen(request, timeout=20).read().decode())
"""


def kubectl(*arguments: str, **more: str) -> str:
    return command("kubectl", "--namespace", NAMESPACE, *arguments, **more)


def ask(path: str, body: str = "") -> dict[str, object]:
    """Ask the front from within its own pod, as its customers would."""
    python = ("exec", "deployment/shop-web", "--", "python", "-c", ASK, path, body)
    return json.loads(kubectl(*python))


def values() -> dict[str, object]:
    """The example's own values, with the images of this run."""
    repository, _, tag = IMAGES["shop"].rpartition(":")
    images = {
        name: value
        for name, value in image_values().items()
        if name in {"monitor", "valkey", "postgresql"}
    }
    return {**images, "app": {"image": {"repository": repository, "tag": tag}}}


@pytest.fixture(scope="module")
def shop(release: Release) -> Iterator[None]:
    """The example, as its README installs it, while the check runs in a namespace of its own."""
    command("kubectl", "create", "namespace", NAMESPACE)
    restricted = "pod-security.kubernetes.io/enforce=restricted"
    command("kubectl", "label", "namespace", NAMESPACE, restricted)
    try:
        command(
            *("helm", "install", "shop", str(CHART), "--namespace", NAMESPACE),
            *("--values", str(SHOP / "deploy/values.yaml"), "--values", "-"),
            *("--wait", "--timeout=300s"),
            stdin=yaml.safe_dump(values()),
            timeout=330,
        )
        front = (SHOP / "deploy/web.yaml").read_text().replace("shop:1.0.0", IMAGES["shop"])
        kubectl("apply", "--filename=-", stdin=front)
        kubectl("rollout", "status", "deployment/shop-web", "--timeout=120s")
        yield
    finally:
        command("kubectl", "delete", "namespace", NAMESPACE, "--wait=true", timeout=300)


def test_an_order_is_invoiced(shop: None):
    placed = ask("/orders", json.dumps({"email": "ada@example.com", "amount_cents": 4200}))

    took = wait_for("invoice", 120, lambda: ask(f"/orders/{placed['id']}")["invoiced"] is True)

    say(f"invoiced {took:.1f} s after the order")
    logs = kubectl("logs", "--selector=duly/queue=default", "--container=worker", "--tail=-1")
    assert "Mail sent" in logs
    assert "orders@shop.example.com" in logs  # from the values, through duly.yaml


def test_one_image_runs_scheduler_and_workers(shop: None):
    pods = json.loads(kubectl("get", "pods", "--output=json"))["items"]

    images = {
        pod["metadata"]["labels"].get("app.kubernetes.io/component"): pod["spec"]["containers"][0][
            "image"
        ]
        for pod in pods
    }
    assert images["scheduler"] == images["worker"] == IMAGES["shop"]


def test_helm_test_finds_a_worker_for_each_queue(shop: None):
    said = command("helm", "test", "shop", "--namespace", NAMESPACE, "--logs", timeout=180)

    assert "default: served" in said
    assert "low: served" in said
