"""From the release before to this one and back, both at once for minutes, under load."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster import (
    IMAGES,
    RELEASE,
    ROOT,
    SCRIPT,
    SERVICES,
    Release,
    command,
    image_values,
    is_ready,
    make_namespace,
    merged,
    say,
    start_toolbox,
    toolbox_pod,
    wait_for,
)
from producing import Producer
from watching import Logs

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif("DULY_E2E_BEFORE" not in os.environ, reason="no release before was built"),
]
NAMESPACE = "duly-e2e-before"
BEFORE = Path(os.environ.get("DULY_E2E_BEFORE", "."))
MIXED_S = float(os.environ.get("DULY_E2E_MIXED_MINUTES", "3")) * 60
"""For how long both releases serve the default queue side by side."""
RATE = 20
QUEUES = {"critical": {"replicas": 1}, "default": {"replicas": 3}, "low": {"replicas": 1}}
STORES = {
    "valkey": {"appendfsync": "always", "persistence": {"whenDeleted": "Delete"}},
    "postgresql": {"persistence": {"whenDeleted": "Delete"}},
}


def values() -> dict[str, Any]:
    """Give values that both releases know."""
    return merged(
        image_values(),
        {
            "monitor": {"auth": {"password": "e2e"}},
            "demo": {"enabled": True},
            "worker": {"queues": QUEUES},
            **STORES,
        },
    )


def images_before() -> dict[str, Any]:
    found = {}
    for service in SERVICES:
        repository, _, tag = IMAGES[f"from-{service}"].rpartition(":")
        found[service] = {"image": {"registry": "", "repository": repository, "tag": tag}}
    return found


def one_password() -> bool:
    """Tell whether the broker of the release before had one password for everybody."""
    chart = BEFORE / "deploy/helm/duly/values.yaml"
    return "password" in yaml.safe_load(chart.read_text())["valkey"]["auth"]


def step_one() -> dict[str, Any]:
    """Give what UPGRADING says of a release whose Valkey has one password."""
    if not one_password():
        return {}
    password = yaml.safe_load((BEFORE / "deploy/helm/duly/values.yaml").read_text())
    default = {"enabled": True, "password": password["valkey"]["auth"]["password"]}
    return {"valkey": {"auth": {"defaultUser": default}}}


def old_toolbox() -> dict[str, Any]:
    """Give a producer of the release before, which logs in as that did."""
    if not one_password():
        return toolbox_pod("toolbox-before", IMAGES["from-worker"])
    pod = toolbox_pod("toolbox-before", IMAGES["from-worker"], key="password", variables={})
    secret = {"secretKeyRef": {"name": f"{RELEASE}-valkey", "key": "password"}}
    pod["spec"]["containers"][0]["env"] = [
        {"name": "DULY_REDIS__HOST", "value": f"{RELEASE}-valkey"},
        {"name": "DULY_REDIS__PASSWORD", "valueFrom": secret},
    ]
    return pod


class Side:
    """A pod that sends and asks with the code of one of the two releases."""

    def __init__(self, release: Release, pod: str) -> None:
        self._release, self._pod = release, pod
        self._script = (BEFORE / SCRIPT.relative_to(ROOT)).read_text() if "before" in pod else ""

    def outcomes(self, count: int, prefix: str) -> dict[str, int]:
        arguments = ("outcomes", "default", str(count), prefix)
        return json.loads(self._release.toolbox(*arguments, pod=self._pod, script=self._script))

    def start(self, prefix: str) -> Producer:
        """Send at a steady rate until `stop`."""
        script = self._script
        if script and "stop_file" not in script:  # one of a release that knew no early end
            end = f"if __import__('os').path.exists('/tmp/stop-{prefix}'): return"
            loop = "        for first in range(0, int(count), batch):\n"
            assert loop in script
            script = script.replace(loop, f"{loop}            {end}\n")
        where = {"pod": self._pod, "script": script}
        return Producer(self._release, "default", 1_000_000, RATE, prefix, **where)

    def verdict(self, logs: Logs, prefix: str, count: int) -> dict[str, int]:
        """Wait until the tasks with this prefix have ended; give how, and how many ran twice."""
        ended = {"completed", "archived"}
        wait_for("end of all tasks", 180, lambda: set(self.outcomes(count, prefix)) <= ended)
        found = self.outcomes(count, prefix)
        enough = found.get("completed", 0) * 0.99
        wait_for("log of all runs", 120, lambda: len(logs.count(prefix)) >= enough)
        repeated = logs.repeated(prefix)
        found["run twice"] = len(repeated)
        say(f"{prefix}: {count} accepted, {found}")
        for task_id, runs in repeated.items():
            say(f"{task_id} ran {', '.join(f'at {when} on {pod}' for when, pod in runs)}")
        return found

    def check(self, logs: Logs, found: dict[str, int], prefix: str, count: int) -> None:
        """Fail if a task was lost, ran twice, or failed by anything but the replaced database.

        The chart's stores are one pod each, which an upgrade replaces where its template differs. A
        check whose three attempts fall into the seconds without PostgreSQL is archived. And where
        the release before judges leases by the clock, it may take a task for crashed that ran in
        the seconds without Valkey, and run it once more; both as UPGRADING.md says.
        """
        assert found["completed"] + found.get("archived", 0) == count
        said = self._release.toolbox(str(count), prefix, pod=self._pod, script=ENDS)
        ends = [line.partition(" ") for line in said.splitlines()]
        errors = [text for end, _, text in ends if end == "archived"]
        assert len(errors) == found.get("archived", 0)
        assert all(error.startswith(DATABASE_IS_AWAY) for error in errors), errors
        crashed = dict(text.split() for end, _, text in ends if end == "crashed")
        back = self._release.broker_started()
        after = {task_id: float(at) - back for task_id, at in crashed.items()}
        if after:
            say(f"{prefix}: taken for crashed, in s after Valkey was back: {after}")
        excused = {task_id for task_id, seconds in after.items() if 0 <= seconds <= JUDGED_S}
        assert logs.repeated(prefix).keys() <= (excused if judges_by_the_clock() else set())


def judges_by_the_clock() -> bool:
    """Tell whether the release before takes a silence of the broker for dead workers."""
    functions = BEFORE / "shared/src/duly/engine"
    return not any(functions.rglob("keep_pulse.lua"))


JUDGED_S = 30
"""A lease, the time in which all have connected again, and what a busy machine adds to that."""
DATABASE_IS_AWAY = ("OrdersDownError: ", "OperationalError: (psycopg.OperationalError) connection ")
ENDS = """
import asyncio, sys
from duly.runtime.settings import Settings
try:
    from duly.engine.inspection.inspector import Inspector
    from duly.runtime.loading import load
except ImportError:  # a release from before these had their places
    from duly.engine.inspector import Inspector
    load = lambda settings: settings()

async def main(count, prefix):
    async with Inspector.connect(load(Settings).redis) as inspector:
        get = inspector.task if hasattr(inspector, "task") else inspector.tasks.get
        for number in range(int(count)):
            task = await get("default", f"{prefix}-{number}")
            if str(task.state) == "archived":
                print("archived", " ".join(task.history[0].error.split()))
            for attempt in task.history:
                if str(attempt.outcome) == "crashed":
                    print("crashed", task.id, attempt.at.timestamp())

asyncio.run(main(*sys.argv[1:]))
"""
"""Prints the last error of each archived task, and the tasks that were taken for crashed.

It runs with the code of either release."""


def versions(release: Release) -> set[str]:
    """Give the images of the ready workers of the default queue."""
    return {
        pod["spec"]["containers"][0]["image"]
        for pod in release.pods("duly/queue=default")
        if "deletionTimestamp" not in pod["metadata"] and is_ready(pod)
    }


def helm_ended(helm: "subprocess.Popen[str]", seconds: float) -> None:
    said, _ = helm.communicate(timeout=seconds)
    assert helm.returncode == 0, said[-3000:]


@pytest.fixture(scope="module")
def before() -> Iterator[Release]:
    """The release before, installed with its own chart and images."""
    make_namespace(NAMESPACE)
    old = Release(
        merged(values(), images_before()),
        namespace=NAMESPACE,
        chart=BEFORE / "deploy/helm/duly",
    )
    try:
        old.helm("install", {})
        start_toolbox(old, old_toolbox())
        yield old
    finally:
        if "DULY_E2E_KEEP" not in os.environ:
            command("kubectl", "delete", "namespace", NAMESPACE, "--wait=true", timeout=300)


@pytest.fixture
def logs() -> Iterator[Logs]:
    collector = Logs(NAMESPACE)
    try:
        yield collector
    finally:
        collector.close()


def test_both_releases_work_side_by_side(before: Release, logs: Logs):
    """Upgrade slowly: workers, schedulers and producers of both share the broker for minutes."""
    logs.follow_all(before)
    old, this = Side(before, "toolbox-before"), Release(values(), namespace=NAMESPACE)
    from_old = old.start("old")
    # Each new pod has to be ready for so long before the next one is replaced.
    slow = {"minReadySeconds": round(MIXED_S / QUEUES["default"]["replicas"])}
    queues = {name: {**queue, **slow} for name, queue in QUEUES.items()}
    changes = merged(step_one(), {"worker": {"queues": queues}, "scheduler": slow})

    helm = this.start_helm("upgrade", changes, timeout=1200)
    wait_for("both versions", 240, lambda: len(versions(this)) == 2)
    begun = time.monotonic()
    start_toolbox(this, toolbox_pod("toolbox", IMAGES["worker"]))
    new = Side(this, "toolbox")
    from_new = new.start("new")
    helm_ended(helm, 1200)
    wait_for("this version alone", 60, lambda: versions(this) == {IMAGES["worker"]})

    say(f"both versions for {time.monotonic() - begun:.0f} s")
    accepted = {"old": from_old.stop(), "new": from_new.stop()}
    found = {prefix: new.verdict(logs, prefix, count) for prefix, count in accepted.items()}
    for prefix, count in accepted.items():
        new.check(logs, found[prefix], prefix, count)


def test_a_rollback_under_load_loses_nothing(before: Release, logs: Logs):
    logs.follow_all(before)
    old = Side(before, "toolbox-before")
    producer = old.start("back")
    wait_for("load", 60, lambda: len(logs.count("back")) > 40)
    start = time.monotonic()

    command(
        *("helm", "rollback", RELEASE, "1", "--namespace", NAMESPACE),
        *("--wait", "--timeout=600s"),
        timeout=630,
    )

    wait_for("the old version", 60, lambda: versions(before) == {IMAGES["from-worker"]})
    say(f"rolled back in {time.monotonic() - start:.0f} s")
    count = producer.stop()
    old.check(logs, old.verdict(logs, "back", count), "back", count)


def test_the_upgrade_is_done_once_more_and_to_its_end(before: Release, logs: Logs):
    """The second step, in which the user without a role is turned off."""
    this = Release(values(), namespace=NAMESPACE)
    this.helm("upgrade", step_one(), timeout=600)
    logs.follow_all(before)
    start_toolbox(this, toolbox_pod("toolbox-again", IMAGES["worker"]))
    new = Side(this, "toolbox-again")
    producer = new.start("again")
    wait_for("load", 60, lambda: len(logs.count("again")) > 40)

    this.helm("upgrade", {}, timeout=600)

    count = producer.stop()
    new.check(logs, new.verdict(logs, "again", count), "again", count)
