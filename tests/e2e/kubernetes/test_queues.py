"""Queues come, change and go while the release runs: who is replaced, and what becomes of tasks."""

import time

import pytest
from cluster import Release, kubectl, merged, say, wait_for
from producing import Producer
from watching import Logs, outcomes, verdict

EVERY_QUEUE = {"scheduler", "monitor"}
"""They deal with all queues, and run no tasks (ADR 0054)."""
EXTRA = {"worker": {"queues": {"extra": {"replicas": 1, "concurrency": 2}}}}
WITHOUT = {"worker": {"queues": {"extra": None}}}
COUNT = 40


def upgraded(release: Release, changes: dict[str, object]) -> set[str]:
    """Upgrade; give which sorts of pods were replaced, added or taken away."""
    before, start = release.uids(), time.monotonic()
    release.helm("upgrade", changes)
    took = time.monotonic() - start
    after = release.uids()
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    say(f"upgrade in {took:.0f} s: {sorted(changed)} changed, {sorted(set(after) - changed)} stay")
    return changed


def duly(release: Release, *arguments: str) -> str:
    return release.exec("toolbox", "duly", *arguments)


def hold_tasks(release: Release, prefix: str) -> None:
    """Put tasks into the queue that nobody runs, since it is paused."""
    duly(release, "queues", "pause", "extra")
    Producer(release, "extra", COUNT, 400, prefix).finish(60)
    assert outcomes(release, "extra", COUNT, prefix) == {"waiting": COUNT}


@pytest.fixture(scope="module")
def with_extra(release: Release) -> set[str]:
    """Add a queue; give which pods that changed."""
    return upgraded(release, EXTRA)


def test_a_new_queue_replaces_no_other_worker(release: Release, with_extra: set[str]):
    assert with_extra == {"worker-extra", *EVERY_QUEUE}
    assert release.ready("duly/queue=extra") == 1


def test_a_changed_queue_replaces_its_own_workers_only(release: Release, with_extra: set[str]):
    changed = upgraded(
        release, merged(EXTRA, {"worker": {"queues": {"extra": {"concurrency": 4}}}})
    )

    assert changed == {"worker-extra", *EVERY_QUEUE}


def test_more_workers_of_a_queue_replace_nobody(release: Release, with_extra: set[str]):
    before = release.uids()

    release.helm(
        "upgrade",
        merged(EXTRA, {"worker": {"queues": {"extra": {"concurrency": 4, "replicas": 2}}}}),
    )

    after = release.uids()
    assert before.pop("worker-extra") < after.pop("worker-extra")
    assert before == after


def test_a_queue_with_tasks_is_not_taken_away(release: Release, with_extra: set[str]):
    hold_tasks(release, "refused")
    before = release.uids()

    said = release.refusal(WITHOUT)

    say(said[-800:])
    job = kubectl("logs", "job/duly-queue-removal")
    assert f"queue extra is paused and holds {COUNT} tasks ({COUNT} waiting)" in job
    assert "duly tasks run ID --to-queue OTHER" in job
    assert release.uids() == before
    assert outcomes(release, "extra", COUNT, "refused") == {"waiting": COUNT}


def test_draining_waits_for_the_old_workers(release: Release, logs: Logs, with_extra: set[str]):
    logs.follow_all(release)
    duly(release, "queues", "resume", "extra")
    count = 3000
    assert Producer(release, "extra", count, 10000, "drained").finish(60) == count

    policy = {"queueRemoval": {"policy": "drain", "drainSeconds": 240}}
    changed = upgraded(release, merged(WITHOUT, policy))

    assert changed == {"worker-extra", *EVERY_QUEUE}
    found = verdict(release, logs, "extra", count, "drained")
    assert found["completed"] == count
    assert found["run twice"] == 0


@pytest.mark.nightly
def test_what_is_kept_runs_when_the_queue_is_there_again(release: Release, with_extra: set[str]):
    upgraded(release, EXTRA)
    hold_tasks(release, "kept")

    changed = upgraded(release, merged(WITHOUT, {"queueRemoval": {"policy": "keep"}}))

    assert changed == {"worker-extra", *EVERY_QUEUE}
    assert outcomes(release, "extra", COUNT, "kept") == {"waiting": COUNT}
    release.helm("upgrade", EXTRA)
    duly(release, "queues", "resume", "extra")
    done = {"completed": COUNT}
    wait_for("tasks", 60, lambda: outcomes(release, "extra", COUNT, "kept") == done)
    upgraded(release, WITHOUT)
    assert "extra" in duly(release, "queues", "rm", "extra", "--force", "--yes")
