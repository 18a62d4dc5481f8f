"""A release of the chart on the current cluster, and what tests do to it and see of it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
CHART = ROOT / "deploy/helm/duly"
NAMESPACE = "duly-e2e"
RELEASE = "duly"
SCRIPT = Path(__file__).parent / "toolbox.py"
IMAGES = dict(item.split("=") for item in os.environ.get("DULY_E2E_IMAGES", "").split())
"""scheduler, worker, monitor, shop, valkey, postgresql, prometheus → image as pods write it.

By night also from-scheduler, from-worker and from-monitor, those of the release before.
"""
SERVICES = ("scheduler", "worker", "monitor")
OTHERS = ("shop", "prometheus")
"""Images that are none of the chart's."""


def command(*arguments: str, stdin: str | None = None, timeout: float = 120) -> str:
    """Run a command and give what it prints; raise with all it says when it fails."""
    done = subprocess.run(
        arguments, input=stdin, capture_output=True, text=True, timeout=timeout, check=False
    )
    if done.returncode:
        pytest.fail(f"{' '.join(arguments)[:300]}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done.stdout


def kubectl(*arguments: str, namespace: str = NAMESPACE, **more: Any) -> str:
    return command("kubectl", "--namespace", namespace, *arguments, **more)


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
            pods = command("kubectl", "get", "pods", "--all-namespaces", "--output=wide")
            pytest.fail(f"no {what} within {seconds} s: {last!r}\n{pods}")
        time.sleep(0.5)


class Release:
    """The release, and what the tests do to it."""

    def __init__(
        self, values: dict[str, Any], *, namespace: str = NAMESPACE, chart: Path = CHART
    ) -> None:
        self.values, self.namespace, self.chart = values, namespace, chart

    def kubectl(self, *arguments: str, **more: Any) -> str:
        return kubectl(*arguments, namespace=self.namespace, **more)

    def start_helm(
        self, verb: str, changes: dict[str, Any], *, timeout: int = 300
    ) -> "subprocess.Popen[str]":
        """Begin to install or upgrade; helm ends when every pod is ready, or says why not."""
        helm = subprocess.Popen(
            [
                *("helm", verb, RELEASE, str(self.chart), "--namespace", self.namespace),
                *("--values", "-", "--wait", f"--timeout={timeout}s"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert helm.stdin
        helm.stdin.write(yaml.safe_dump(merged(self.values, changes)))
        helm.stdin.close()
        helm.stdin = None
        return helm

    def helm(self, verb: str, changes: dict[str, Any], *, timeout: int = 300) -> None:
        """Install or upgrade, and wait until every pod is ready."""
        helm = self.start_helm(verb, changes, timeout=timeout)
        said, _ = helm.communicate(timeout=timeout + 30)
        if helm.returncode:
            pytest.fail(f"helm {verb}\n{said[-3000:]}")

    def refusal(self, changes: dict[str, Any], *, timeout: int = 120) -> str:
        """Give why an upgrade is refused; fail if it is not."""
        helm = self.start_helm("upgrade", changes, timeout=timeout)
        said, _ = helm.communicate(timeout=timeout + 30)
        assert helm.returncode, said[-2000:]
        return said

    def pods(self, selector: str = "") -> list[dict[str, Any]]:
        labels = f"app.kubernetes.io/instance={RELEASE}" + (f",{selector}" if selector else "")
        said = self.kubectl("get", "pods", "--selector", labels, "--output=json")
        return json.loads(said)["items"]

    def uids(self, selector: str = "") -> dict[str, set[str]]:
        """Give the pods that are there to stay, by what they are: scheduler, worker-low, valkey."""
        found: dict[str, set[str]] = {}
        for pod in self.pods(selector):
            labels, owners = pod["metadata"]["labels"], pod["metadata"].get("ownerReferences", [])
            if "deletionTimestamp" in pod["metadata"] or owners[:1] == [] or is_job(owners[0]):
                continue
            name = labels["app.kubernetes.io/component"]
            name += f"-{labels['duly/queue']}" if "duly/queue" in labels else ""
            found.setdefault(name, set()).add(pod["metadata"]["uid"])
        return found

    def ready(self, selector: str) -> int:
        return sum(is_ready(pod) for pod in self.pods(selector))

    def kill(self, pod: str) -> None:
        """As `kill -9`: no grace, no last word."""
        self.kubectl("delete", "pod", pod, "--grace-period=0", "--force", "--wait=false")

    def replace(self, pod: str) -> float:
        """Delete a pod of a StatefulSet as a drained node does; give the seconds without it."""
        uid = self.kubectl("get", "pod", pod, "--output=jsonpath={.metadata.uid}")
        start = time.monotonic()
        self.kubectl("delete", "pod", pod, "--wait=false")

        def again() -> bool:
            found = json.loads(self.kubectl("get", "pod", pod, "--output=json"))
            return found["metadata"]["uid"] != uid and is_ready(found)

        wait_for(f"another {pod}", 120, again)
        return time.monotonic() - start

    def broker_started(self) -> float:
        """Give when the chart's Valkey was started, as seconds since 1970."""
        path = "--output=jsonpath={.status.containerStatuses[0].state.running.startedAt}"
        return datetime.fromisoformat(
            self.kubectl("get", "pod", f"{RELEASE}-valkey-0", path).strip()
        ).timestamp()

    def exec(self, pod: str, *arguments: str) -> str:
        return self.kubectl("exec", pod, "--", *arguments)

    def toolbox(
        self, *arguments: str, timeout: float = 300, pod: str = "toolbox", script: str = ""
    ) -> str:
        return self.kubectl(
            *("exec", "--stdin", pod, "--", "/opt/duly/bin/python", "-", *arguments),
            stdin=script or SCRIPT.read_text(),
            timeout=timeout,
        )


def is_job(owner: dict[str, Any]) -> bool:
    return owner["kind"] == "Job"


def is_ready(pod: dict[str, Any]) -> bool:
    return any(
        item["type"] == "Ready" and item["status"] == "True"
        for item in pod["status"].get("conditions", [])
    )


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    found = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(found.get(key), dict)
        found[key] = merged(found[key], value) if both else value
    return found


def toolbox_pod(
    name: str, image: str, *, variables: dict[str, str] | None = None, key: str = "monitor"
) -> dict[str, Any]:
    """Give a pod that sends and asks; its password is a file, which follows a rotation."""
    told = {
        "DULY_REDIS__HOST": f"{RELEASE}-valkey",
        "DULY_REDIS__USERNAME": "duly-monitor",
        "DULY_REDIS__PASSWORD_FILE": f"/etc/broker/{key}",
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
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
                    "image": image,
                    "command": ["/opt/duly/bin/python", "-c", "import signal; signal.pause()"],
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "env": [
                        {"name": name, "value": value}
                        for name, value in (told if variables is None else variables).items()
                    ],
                    "volumeMounts": [{"name": "broker", "mountPath": "/etc/broker"}],
                }
            ],
            "volumes": [
                {
                    "name": "broker",
                    "secret": {
                        "secretName": f"{RELEASE}-valkey",
                        "items": [{"key": key, "path": key}],
                    },
                }
            ],
        },
    }


def image_values(*, suffix: str = "") -> dict[str, Any]:
    """Give the images as values; with a suffix, the services' images of that tag alone."""
    values = {}
    for component, image in IMAGES.items():
        if component in OTHERS or component.startswith("from-"):  # see those who use them
            continue
        repository, _, tag = image.rpartition(":")
        if suffix and component not in SERVICES:
            continue
        tag += suffix
        values[component] = {"image": {"registry": "", "repository": repository, "tag": tag}}
    return values


MONITOR = {
    "auth": {"password": "e2e"},
    "users": {"vera": {"role": "viewer", "existingSecret": "e2e-monitor", "secretKey": "vera"}},
    "session": {"existingSecret": "e2e-monitor", "secretKey": "keys"},
}
MONITOR_SECRET = {"vera": "vera-of-old", "keys": "old-key-of-sessions-" + "0" * 32}


def make_namespace(name: str) -> None:
    command("kubectl", "create", "namespace", name)
    restricted = "pod-security.kubernetes.io/enforce=restricted"
    command("kubectl", "label", "namespace", name, restricted)


def start_toolbox(release: Release, pod: dict[str, Any]) -> None:
    release.kubectl("apply", "--filename=-", stdin=json.dumps(pod))
    name = pod["metadata"]["name"]
    release.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=60s")


@pytest.fixture(scope="session")
def release() -> Iterator[Release]:
    """Install the chart with values for images, disk, log-ins and the demo; uninstall it."""
    make_namespace(NAMESPACE)
    secret = [f"--from-literal={key}={value}" for key, value in MONITOR_SECRET.items()]
    kubectl("create", "secret", "generic", "e2e-monitor", *secret)
    installed = Release(
        merged(
            image_values(),
            {
                "monitor": MONITOR,
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
        start_toolbox(installed, toolbox_pod("toolbox", IMAGES["worker"]))
        yield installed
    finally:
        if "DULY_E2E_KEEP" not in os.environ:
            command("kubectl", "delete", "namespace", NAMESPACE, "--wait=true", timeout=300)
