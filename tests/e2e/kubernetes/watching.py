"""What pods do while a test breaks things: their log lines, and whether they are ready."""

import http.client
import json
import re
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from cluster import NAMESPACE, RELEASE, Release, is_ready, say, wait_for

BROKEN_OFF = (OSError, ValueError, http.client.HTTPException)
"""A stream of the API server ends so when that is slow, or replaced."""


class Proxy:
    """The API of the cluster, for this process alone."""

    def __init__(self, namespace: str) -> None:
        self._process = subprocess.Popen(
            ["kubectl", "proxy", "--port=0"], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout
        port = self._process.stdout.readline().rpartition(":")[2].strip()
        self.pods = f"http://127.0.0.1:{port}/api/v1/namespaces/{namespace}/pods"

    def close(self) -> None:
        self._process.terminate()
        self._process.communicate()


class Logs:
    """Every line that worker pods write, those of pods that go away too."""

    RUN = re.compile(r'"?Pending orders checked"?.*?run_id"?[=:]\s*"?([A-Za-z0-9_-]+)')

    def __init__(self, namespace: str = NAMESPACE) -> None:
        self._proxy = Proxy(namespace)
        self._pods = self._proxy.pods
        self._followed: set[str] = set()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._read_to: dict[str, str] = {}
        """Pod → when its last line that was read was written, by the kubelet's clock."""
        self.runs: set[tuple[str, str, str]] = set()
        """(task id, pod, when) of every run that got to its end."""
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def _watch(self) -> None:
        query = f"?labelSelector=app.kubernetes.io/instance={RELEASE},duly/queue"
        while not self._stopping.wait(0.5):
            try:
                with urllib.request.urlopen(self._pods + query, timeout=5) as answer:
                    items = json.load(answer)["items"]
            except BROKEN_OFF:
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
        """Read what it writes until the stream ends; one that broke off is taken up again."""
        url = f"{self._pods}/{pod}/log?container=worker&follow=true&timestamps=true"
        if pod in self._read_to:
            url += f"&sinceTime={urllib.parse.quote(self._read_to[pod])}"
        try:
            with urllib.request.urlopen(url) as stream:
                for line in stream:
                    when, _, text = line.decode(errors="replace").partition(" ")
                    self._read_to[pod] = when
                    if match := self.RUN.search(text):
                        with self._lock:
                            self.runs.add((match[1], pod, when))
        except BROKEN_OFF:
            pass
        finally:
            self._followed.discard(pod)

    def follow_all(self, release: Release) -> None:
        """Wait until each worker that is there is followed."""

        def followed() -> bool:
            names = {pod["metadata"]["name"] for pod in release.pods("duly/queue")}
            return bool(names) and names <= self._followed

        wait_for("followed logs", 60, followed)

    def count(self, prefix: str) -> dict[str, int]:
        """Give task id → number of runs that got to their end."""
        return {task_id: len(runs) for task_id, runs in self._runs_of(prefix).items()}

    def repeated(self, prefix: str) -> dict[str, list[tuple[str, str]]]:
        """Give task id → (when, pod) of each of its runs, of the tasks that ran more than once."""
        runs_of = self._runs_of(prefix)
        return {task_id: sorted(runs) for task_id, runs in runs_of.items() if len(runs) > 1}

    def _runs_of(self, prefix: str) -> dict[str, list[tuple[str, str]]]:
        found: dict[str, list[tuple[str, str]]] = {}
        with self._lock:
            for task_id, pod, when in self.runs:
                if task_id.startswith(f"{prefix}-"):
                    found.setdefault(task_id, []).append((when, pod))
        return found

    def close(self) -> None:
        self._stopping.set()
        self._watcher.join()
        self._proxy.close()


class Readiness:
    """How long each pod was not ready after it had been, those apart that were told to end."""

    def __init__(self, namespace: str = NAMESPACE) -> None:
        self._proxy = Proxy(namespace)
        self._stopping = threading.Event()
        self._was_ready: set[str] = set()
        self._since: dict[str, float] = {}
        self._spans: list[tuple[str, float]] = []
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def _watch(self) -> None:
        query = f"?labelSelector=app.kubernetes.io/instance={RELEASE}&watch=true&timeoutSeconds=600"
        while not self._stopping.is_set():
            try:
                # An event at least so often, since the kubelet writes conditions when they change.
                with urllib.request.urlopen(self._proxy.pods + query, timeout=600) as events:
                    for line in events:
                        self._note(json.loads(line)["object"])
            except BROKEN_OFF:
                self._stopping.wait(0.5)

    def _note(self, pod: dict[str, Any]) -> None:
        if pod.get("kind") != "Pod":
            return
        name, now = pod["metadata"]["name"], time.monotonic()
        if is_ready(pod):
            self._was_ready.add(name)
            if name in self._since:
                self._spans.append((name, now - self._since.pop(name)))
        elif "deletionTimestamp" in pod["metadata"]:
            self._since.pop(name, None)
            self._was_ready.discard(name)
        elif name in self._was_ready:
            self._since.setdefault(name, now)

    def longest(self) -> tuple[str, float]:
        """Give the pod that was not ready for the longest time, and the seconds."""
        now = time.monotonic()
        open_ones = [(name, now - since) for name, since in self._since.items()]
        return max(self._spans + open_ones, key=lambda span: span[1], default=("", 0.0))

    def close(self) -> None:
        self._stopping.set()
        self._proxy.close()


@pytest.fixture
def logs() -> Iterator[Logs]:
    collector = Logs()
    try:
        yield collector
    finally:
        collector.close()


@pytest.fixture
def readiness() -> Iterator[Readiness]:
    watcher = Readiness()
    try:
        yield watcher
    finally:
        watcher.close()


def outcomes(release: Release, queue: str, count: int, prefix: str) -> dict[str, int]:
    """Give state → number of the tasks with this prefix."""
    return json.loads(release.toolbox("outcomes", queue, str(count), prefix))


def verdict(release: Release, logs: Logs, queue: str, count: int, prefix: str) -> dict[str, int]:
    """Wait until every accepted task has ended, and say how they did."""

    def ended() -> bool:
        return set(outcomes(release, queue, count, prefix)) <= {"completed", "archived"}

    wait_for("end of all tasks", 120, ended)
    found: dict[str, int] = outcomes(release, queue, count, prefix)
    enough = found.get("completed", 0) * 0.99
    wait_for("log of all runs", 120, lambda: len(logs.count(prefix)) >= enough)
    runs = logs.count(prefix)
    found["run twice"] = sum(number > 1 for number in runs.values())
    say(f"{prefix}: {count} accepted; {found}; runs seen in logs: {sum(runs.values())}")
    return found
