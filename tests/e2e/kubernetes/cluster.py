"""A release of the chart on the current cluster, and what tests do to it and see of it."""

import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
CHART = ROOT / "deploy/helm/duly"
NAMESPACE = "duly-e2e"
RELEASE = "duly"
IMAGES = dict(item.split("=") for item in os.environ.get("DULY_E2E_IMAGES", "").split())
"""scheduler, worker, monitor, shop, valkey, postgresql → image as pods have to write it."""


def command(*arguments: str, stdin: str | None = None, timeout: float = 120) -> str:
    """Run a command and give what it prints; raise with all it says when it fails."""
    done = subprocess.run(
        arguments, input=stdin, capture_output=True, text=True, timeout=timeout, check=False
    )
    if done.returncode:
        pytest.fail(f"{' '.join(arguments)[:300]}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done.stdout


def kubectl(*arguments: str, **more: Any) -> str:
    return command("kubectl", "--namespace", NAMESPACE, *arguments, **more)


def say(text: str) -> None:
    """Write at once: this is the protocol that the run leaves."""
    sys.stderr.write(f"\n[{time.strftime('%H:%M:%S')}] {text}\n")


def wait_for(what: str, seconds: float, condition: Callable[[], Any]) -> float:
    """Wait until the condition holds; give the seconds it took.

    A look that fails is a look in vain: an API server on two busy cores is slow at times.
    """
    start = time.monotonic()
    while True:
        try:
            if last := condition():
                return time.monotonic() - start
        except (pytest.fail.Exception, subprocess.TimeoutExpired) as error:
            last = error
        if time.monotonic() - start > seconds:
            pods = kubectl("get", "pods", "--output=wide")
            pytest.fail(f"no {what} within {seconds} s: {last!r}\n{pods}")
        time.sleep(0.5)


class Release:
    """The release, and what the tests do to it."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def helm(self, verb: str, changes: dict[str, Any], *, timeout: int = 300) -> None:
        """Install or upgrade, and wait until every pod is ready."""
        values = merged(self.values, changes)
        command(
            *("helm", verb, RELEASE, str(CHART), "--namespace", NAMESPACE, "--values", "-"),
            *("--wait", f"--timeout={timeout}s"),
            stdin=yaml.safe_dump(values),
            timeout=timeout + 30,
        )

    def pods(self, selector: str = "") -> list[dict[str, Any]]:
        labels = f"app.kubernetes.io/instance={RELEASE}" + (f",{selector}" if selector else "")
        return json.loads(kubectl("get", "pods", "--selector", labels, "--output=json"))["items"]

    def ready(self, selector: str) -> int:
        return sum(
            any(item["type"] == "Ready" and item["status"] == "True" for item in conditions(pod))
            for pod in self.pods(selector)
        )

    def kill(self, pod: str) -> None:
        """As `kill -9`: no grace, no last word."""
        kubectl("delete", "pod", pod, "--grace-period=0", "--force", "--wait=false")

    def toolbox(self, *arguments: str, timeout: float = 300) -> str:
        script = (Path(__file__).parent / "toolbox.py").read_text()
        return kubectl(
            *("exec", "--stdin", "toolbox", "--", "/opt/duly/bin/python", "-", *arguments),
            stdin=script,
            timeout=timeout,
        )

    def start_producing(self, *arguments: str) -> subprocess.Popen[str]:
        script = (Path(__file__).parent / "toolbox.py").read_text()
        producer = subprocess.Popen(
            [
                *("kubectl", "--namespace", NAMESPACE, "exec", "--stdin", "toolbox", "--"),
                *("/opt/duly/bin/python", "-", "produce", *arguments),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert producer.stdin
        producer.stdin.write(script)
        producer.stdin.close()
        producer.stdin = None
        return producer


def conditions(pod: dict[str, Any]) -> list[dict[str, str]]:
    return pod["status"].get("conditions", [])


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    found = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(found.get(key), dict)
        found[key] = merged(found[key], value) if both else value
    return found


class Logs:
    """Every line that worker pods write, those of pods that go away too."""

    RUN = re.compile(r'"?Pending orders checked"?.*?run_id"?[=:]\s*"?([A-Za-z0-9_-]+)')

    def __init__(self) -> None:
        self._proxy = subprocess.Popen(
            ["kubectl", "proxy", "--port=0"], stdout=subprocess.PIPE, text=True
        )
        assert self._proxy.stdout
        port = self._proxy.stdout.readline().rpartition(":")[2].strip()
        self._pods = f"http://127.0.0.1:{port}/api/v1/namespaces/{NAMESPACE}/pods"
        self._followed: set[str] = set()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self.runs: list[tuple[str, str]] = []
        """(task id, pod) of every run that got to its end."""
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def _watch(self) -> None:
        query = f"?labelSelector=app.kubernetes.io/instance={RELEASE},duly/queue"
        while not self._stopping.wait(0.5):
            try:
                with urllib.request.urlopen(self._pods + query, timeout=5) as answer:
                    items = json.load(answer)["items"]
            except OSError:
                continue
            for pod in items:
                name = pod["metadata"]["name"]
                running = any(
                    status.get("started") or status["state"].get("running")
                    for status in pod["status"].get("containerStatuses", [])
                )
                if running and name not in self._followed:
                    self._followed.add(name)
                    threading.Thread(target=self._follow, args=(name,), daemon=True).start()

    def _follow(self, pod: str) -> None:
        url = f"{self._pods}/{pod}/log?container=worker&follow=true"
        try:
            with urllib.request.urlopen(url) as stream:
                for line in stream:
                    if match := self.RUN.search(line.decode(errors="replace")):
                        with self._lock:
                            self.runs.append((match[1], pod))
        except OSError:
            return

    def following(self) -> int:
        return len(self._followed)

    def count(self, prefix: str) -> dict[str, int]:
        """Give task id → number of runs that got to their end."""
        found: dict[str, int] = {}
        with self._lock:
            for task_id, _ in self.runs:
                if task_id.startswith(f"{prefix}-"):
                    found[task_id] = found.get(task_id, 0) + 1
        return found

    def close(self) -> None:
        self._stopping.set()
        self._watcher.join()
        self._proxy.terminate()
        self._proxy.communicate()


@pytest.fixture
def logs() -> Iterator[Logs]:
    collector = Logs()
    try:
        yield collector
    finally:
        collector.close()


TOOLBOX = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "toolbox"},
    "spec": {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 0,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "toolbox",
                "image": IMAGES.get("worker"),
                "command": ["/opt/duly/bin/python", "-c", "import signal; signal.pause()"],
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                },
                "env": [
                    {"name": "DULY_REDIS__HOST", "value": f"{RELEASE}-valkey"},
                    {"name": "DULY_REDIS__USERNAME", "value": "duly-monitor"},
                    {
                        "name": "DULY_REDIS__PASSWORD",
                        "valueFrom": {
                            "secretKeyRef": {"name": f"{RELEASE}-valkey", "key": "monitor"}
                        },
                    },
                ],
            }
        ],
    },
}


def image_values(*, suffix: str = "") -> dict[str, Any]:
    """Give the images as values; with a suffix, the services' images of that tag alone."""
    values = {}
    for component, image in IMAGES.items():
        if component == "shop":  # the example's: see test_shop.py
            continue
        repository, _, tag = image.rpartition(":")
        if suffix and component not in {"scheduler", "worker", "monitor"}:
            continue
        tag += suffix
        values[component] = {"image": {"registry": "", "repository": repository, "tag": tag}}
    return values


@pytest.fixture(scope="session")
def release() -> Iterator[Release]:
    """Install the chart with values for images, disk, a log-in and the demo; uninstall it."""
    command("kubectl", "create", "namespace", NAMESPACE)
    command(
        *("kubectl", "label", "namespace", NAMESPACE),
        "pod-security.kubernetes.io/enforce=restricted",
    )
    installed = Release(
        merged(
            image_values(),
            {
                "monitor": {"auth": {"password": "e2e"}},
                "demo": {"enabled": True},
                # A kill loses nothing that was accepted: with `everysec`, the default, it may while
                # a slow disk holds up a sync (docs/reliability.md), and this one is shared.
                "valkey": {"appendfsync": "always", "persistence": {"whenDeleted": "Delete"}},
                "postgresql": {"persistence": {"whenDeleted": "Delete"}},
            },
        )
    )
    start = time.monotonic()
    try:
        installed.helm("install", {})
        say(f"helm install: ready in {time.monotonic() - start:.0f} s")
        kubectl("apply", "--filename=-", stdin=json.dumps(TOOLBOX))
        kubectl("wait", "--for=condition=Ready", "pod/toolbox", "--timeout=60s")
        yield installed
    finally:
        if "DULY_E2E_KEEP" not in os.environ:
            command("kubectl", "delete", "namespace", NAMESPACE, "--wait=true", timeout=300)
