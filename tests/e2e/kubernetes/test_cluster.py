"""The chart on a real cluster, in order: installed, used, upgraded, broken, scaled."""

import json
import os
import time
from datetime import datetime
from itertools import pairwise

import pytest
from cluster import RELEASE, Release, command, image_values, kubectl, merged, say, wait_for
from producing import Producer
from watching import Logs, verdict

QUEUES = {"critical": 6, "default": 3, "low": 1}
SCHEDULERS = "app.kubernetes.io/component=scheduler"
WORKERS = "app.kubernetes.io/component=worker"
HAS_KEDA = os.environ.get("DULY_E2E_KEDA") == "yes"


def log_times(selector: str, text: str, since: str) -> list[datetime]:
    """Give when each line with this text was written, by the kubelet's clock."""
    lines = kubectl(
        *("logs", f"--selector=app.kubernetes.io/instance={RELEASE},{selector}"),
        *("--container=worker", "--timestamps", f"--since={since}", "--tail=-1"),
        "--max-log-requests=50",
    ).splitlines()
    return sorted(datetime.fromisoformat(line.split()[0][:26]) for line in lines if text in line)


def gaps(times: list[datetime]) -> list[float]:
    return [round((later - earlier).total_seconds(), 2) for earlier, later in pairwise(times)]


def test_each_queue_has_its_ready_workers(release: Release):
    say("\n" + kubectl("get", "pods", "--output=wide"))
    for queue, replicas in QUEUES.items():
        assert release.ready(f"duly/queue={queue}") == replicas
    assert release.ready(SCHEDULERS) == 2
    assert release.ready("app.kubernetes.io/component=monitor") == 1


def test_no_pod_has_been_restarted(release: Release):
    for pod in release.pods("app.kubernetes.io/component in (scheduler,worker,monitor)"):
        for status in pod["status"]["containerStatuses"]:
            assert status["restartCount"] == 0, pod["metadata"]["name"]


def test_pending_orders_are_logged_every_five_seconds(release: Release):
    last = []

    def on_time() -> bool:
        nonlocal last
        last = gaps(log_times(WORKERS, "Pending orders checked", "2m"))[-5:]
        return len(last) == 5 and all(3.5 < gap < 6.5 for gap in last)

    # The first ones come late, when the workers have waited for the schema.
    wait_for("six checks on time", 150, on_time)

    say(f"seconds between checks: {last}")
    assert log_times(WORKERS, "Pending order found", "35s")


def test_the_monitor_answers_through_its_service(release: Release):
    url = f"http://{RELEASE}-monitor:8080"

    assert release.toolbox("fetch", f"{url}/livez").startswith("200")
    assert release.toolbox("fetch", f"{url}/monitoring/").startswith("401")
    page = release.toolbox("fetch", f"{url}/monitoring/", "duly", "e2e")
    assert page.startswith("200")
    assert "critical" in page


def test_helm_test_passes(release: Release):
    output = command("helm", "test", RELEASE, "--namespace=duly-e2e", "--logs", "--timeout=120s")

    say(output[-400:])
    assert output.count("completed") == 3


def test_an_upgrade_under_load_loses_and_doubles_nothing(release: Release, logs: Logs):
    count = 4000
    logs.follow_all(release)
    producer = Producer(release, "default", count, 40, "upgrade")
    before = {pod["metadata"]["name"] for pod in release.pods("duly/queue")}
    start = time.monotonic()

    release.values = merged(release.values, image_values(suffix="-next"))
    release.helm("upgrade", {})

    wait_for(
        "end of the old pods",
        60,
        lambda: before.isdisjoint(pod["metadata"]["name"] for pod in release.pods("duly/queue")),
    )
    say(f"helm upgrade: all pods replaced in {time.monotonic() - start:.0f} s")
    still_sending = producer.is_sending()
    accepted = producer.finish(300)
    found = verdict(release, logs, "default", count, "upgrade")
    assert accepted == count
    assert found["completed"] == count
    assert found["run twice"] == 0
    assert still_sending, "the load ended before the upgrade did"


def test_killed_workers_lose_nothing(release: Release, logs: Logs):
    count = 800
    producer = Producer(release, "default", count, 40, "kill")
    time.sleep(5)

    for pod in release.pods("duly/queue=default")[:2]:
        release.kill(pod["metadata"]["name"])
    accepted = producer.finish(120)

    start = time.monotonic()
    found = verdict(release, logs, "default", count, "kill")
    assert accepted == found["completed"] == count
    assert time.monotonic() - start < 60
    wait_for("three workers", 120, lambda: release.ready("duly/queue=default") == 3)


def test_a_killed_valkey_loses_nothing_accepted(release: Release, logs: Logs):
    count = 800
    producer = Producer(release, "default", count, 40, "valkey")
    time.sleep(5)

    start = time.monotonic()
    release.kill(f"{RELEASE}-valkey-0")
    accepted = producer.finish(180)

    found = verdict(release, logs, "default", count, "valkey")
    say(f"Valkey killed and everything done {time.monotonic() - start:.0f} s after")
    assert accepted == found["completed"] == count
    for pod in release.pods("app.kubernetes.io/component in (scheduler,worker,monitor)"):
        for status in pod["status"]["containerStatuses"]:
            assert status["restartCount"] == 0, f"{pod['metadata']['name']}: restarted"


def test_a_deleted_scheduler_is_not_missed(release: Release):
    def not_missed() -> bool:
        wait_for("two schedulers", 60, lambda: release.ready(SCHEDULERS) == 2)
        release.kill(release.pods(SCHEDULERS)[0]["metadata"]["name"])
        start = time.monotonic()
        wait_for("twenty seconds", 30, lambda: time.monotonic() - start > 20)
        between = gaps(log_times(WORKERS, "Pending orders checked", "22s"))
        say(f"seconds between checks while a scheduler was killed: {between}")
        return max(between, default=99) < 7.5

    # Another scheduler each time: a node that stood still for seconds says nothing of them.
    wait_for("check on time", 90, not_missed)
    wait_for("two schedulers", 60, lambda: release.ready(SCHEDULERS) == 2)


@pytest.mark.skipif(not HAS_KEDA, reason="KEDA is not in this cluster")
def test_keda_scales_with_the_backlog_and_low_to_zero(release: Release):
    fast = {"pollingInterval": 2, "cooldownPeriod": 10}
    quick = {"scaleDown": {"stabilizationWindowSeconds": 5}}
    keda = {"enabled": True, **fast, "behavior": quick}
    release.helm(
        "upgrade",
        {
            "worker": {
                "queues": {
                    "default": {
                        "concurrency": 1,
                        "keda": {**keda, "minReplicas": 2, "maxReplicas": 5, "targetBacklog": 50},
                    },
                    "low": {"keda": {**keda, "minReplicas": 0}},
                }
            }
        },
    )
    took = wait_for("low at zero", 150, lambda: not release.pods("duly/queue=low"))
    say(f"low went to zero in {took:.0f} s")

    # A worker merges groups, so while there is one it is kept.
    release.toolbox("group", "low")
    took = wait_for("a worker for the group", 90, lambda: release.ready("duly/queue=low") == 1)
    say(f"low went back to one for a group in {took:.0f} s")
    release.toolbox("ungroup", "low")
    took = wait_for("low at zero", 150, lambda: not release.pods("duly/queue=low"))
    say(f"low went to zero without it in {took:.0f} s")

    release.toolbox("produce", "low", "1", "10", "wake")
    took = wait_for(
        "first task of low",
        90,
        lambda: json.loads(release.toolbox("outcomes", "low", "1", "wake")) == {"completed": 1},
    )
    say(f"low went back to one, its first task was done after {took:.0f} s")

    producer = Producer(release, "default", 20000, 4000, "backlog")
    took = wait_for("five workers", 120, lambda: release.ready("duly/queue=default") == 5)
    say(f"default went from two to five workers in {took:.0f} s")
    producer.finish(180)
    took = wait_for("two workers again", 300, lambda: len(release.pods("duly/queue=default")) == 2)
    say(f"default went back to two workers in {took:.0f} s")


@pytest.mark.skipif(HAS_KEDA, reason="KEDA is in this cluster")
def test_an_hpa_scales_with_the_load(release: Release):
    hpa = {
        "enabled": True,
        "minReplicas": 2,
        "maxReplicas": 4,
        "cpuUtilization": 50,
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}},
    }
    release.helm("upgrade", {"worker": {"queues": {"default": {"hpa": hpa}}}})

    producer = Producer(release, "default", 30000, 400, "load")
    took = wait_for("four workers", 150, lambda: release.ready("duly/queue=default") == 4)
    say(f"default went to four workers in {took:.0f} s")
    producer.stop()
    took = wait_for("two workers again", 300, lambda: len(release.pods("duly/queue=default")) == 2)
    say(f"default went back to two workers in {took:.0f} s")
