"""Several schedulers on one broker: each slot once, whichever of them start and stop."""

import asyncio
import time
from datetime import timedelta
from itertools import pairwise

import pytest

from duly.engine.enqueue.client import Client
from duly.engine.inspection.inspector import Inspector
from duly.errors import NotFoundError
from duly.jobs import CheckPendingOrders
from duly.runtime.settings import MetricsSettings
from duly.schedule import Entry, Overlap
from duly.task import TaskState
from duly.testing.waiting import until
from duly_scheduler.app import schedule
from duly_scheduler.settings import Settings

SECOND = timedelta(seconds=1)
ENTRY = Entry(
    id="often", job=CheckPendingOrders(), interval=SECOND, overlap=Overlap.ALLOW, queue="default"
)
pytestmark = pytest.mark.timeout(600)


def settings(broker):
    return Settings(redis=broker, metrics=MetricsSettings(host="127.0.0.1", port=0))


@pytest.mark.fault("several schedulers")
async def test_killed_and_restarted_processes_double_no_slot(start, own_server, stopwatch):
    began, counted = time.monotonic(), stopwatch()
    replicas = [start(own_server.port) for _ in range(2)]
    for replica in replicas:
        replica.ready()

    async with Inspector.connect(own_server.settings()) as inspector:

        async def ticks():
            try:
                found = await inspector.schedules.ticks("check-pending-orders", limit=100)
            except NotFoundError:  # ready, but not announced yet
                return []
            return sorted(tick.slot for tick in found)

        async def more():
            count = len(await ticks()) + 4

            async def so():
                return len(await ticks()) >= count

            await until(so)

        await more()
        replicas[0].process.kill()
        await more()
        replicas.append(start(own_server.port))
        replicas[2].ready()
        replicas[1].process.terminate()
        await more()
        slots = await ticks()

    assert len(set(slots)) == len(slots)
    # A second each on an idle machine; one that stalls or is starved may be late by some slots.
    stalled = time.monotonic() - began - (stopwatch() - counted)
    assert max(after - before for before, after in pairwise(slots)) <= (3 + stalled) * SECOND
    claimed = [slot for replica in replicas for slot in replica.claimed()]
    assert len(set(claimed)) == len(claimed)


@pytest.mark.fault("several schedulers")
async def test_each_slot_becomes_one_task_however_many_replicas_run(broker_settings):
    stop = asyncio.Event()

    async with Inspector.connect(broker_settings) as inspector, asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(schedule(settings(broker_settings), (ENTRY,), stop))

        async def enqueued(count):
            try:
                page = await inspector.tasks.list("default", TaskState.WAITING, limit=100)
            except NotFoundError:  # no scheduler has been there yet
                return None
            return page.tasks if len(page.tasks) >= count else None

        tasks = await until(lambda: enqueued(6))
        stop.set()

    ids = [task.id for task in tasks]
    assert len(set(ids)) == len(ids)
    assert all(task_id.startswith("often@") for task_id in ids)


async def test_an_entry_and_its_ticks_are_listed(broker_settings):
    stop = asyncio.Event()

    async with Inspector.connect(broker_settings) as inspector, asyncio.TaskGroup() as group:
        group.create_task(schedule(settings(broker_settings), (ENTRY,), stop))

        async def announced():
            found = await inspector.schedules.list()
            return found if found and found[0].last else None

        (report,) = await until(announced)
        stop.set()

    assert (report.id, report.interval, report.queue) == ("often", SECOND, "default")


async def test_entries_of_a_file_change_while_replicas_run(start, own_server, tmp_path):
    file = tmp_path / "entries.yaml"
    file.write_text("entries: {}")
    variables = {
        "DULY_SCHEDULER__ENTRIES_FILE": str(file),
        "DULY_SCHEDULER__ENTRIES_INTERVAL": "200ms",
    }
    replicas = [start(own_server.port, **variables) for _ in range(2)]
    replicas[0].ready()

    def say(line):
        new = tmp_path / "new"
        new.write_text(f"entries: {{added: {line}}}" if line else "entries: {}")
        new.replace(file)

    async with Inspector.connect(own_server.settings()) as inspector:

        async def known(description):
            found = {report.id: report for report in await inspector.schedules.list()}
            if description is None:
                return "added" not in found
            return "added" in found and found["added"].description == description

        say("{kind: check_pending_orders, interval: 1s, overlap: allow, queue: low}")
        await until(lambda: known("every second"))

        async def ticked(count):
            ticks = await inspector.schedules.ticks("added", limit=100)
            return ticks if len(ticks) >= count else None

        ticks = await until(lambda: ticked(3))
        say('{kind: check_pending_orders, cron: "@daily", timezone: Europe/Berlin, queue: low}')
        await until(lambda: known("At 00:00 every day (Europe/Berlin)"))
        say("{kind: check_pending_orders, interval: soon}")
        for replica in replicas:
            replica.said("Entries unreadable, keeping the previous ones")
        assert await known("At 00:00 every day (Europe/Berlin)")
        say("{kind: nope, interval: 1s}")
        for replica in replicas:
            replica.said("Entry refused, the others go on")
        await until(lambda: known(None))

    assert len({tick.slot for tick in ticks}) == len(ticks)
    _, text = replicas[0].ask("/metrics")
    assert "duly_entries_errors_total 0" not in text
    assert "duly_entries_errors_total" in text


async def test_a_due_task_is_promoted_without_any_worker(broker_settings):
    stop = asyncio.Event()

    async with (
        Client.connect(broker_settings, create_queues=True) as client,
        Inspector.connect(broker_settings) as inspector,
        asyncio.TaskGroup() as group,
    ):
        task = await client.enqueue(
            CheckPendingOrders(), queue="low", delay=timedelta(milliseconds=500)
        )
        assert task.state is TaskState.SCHEDULED
        group.create_task(schedule(settings(broker_settings), (), stop))

        async def waits():
            return (await inspector.tasks.get("low", task.id)).state is TaskState.WAITING

        await until(waits)
        stop.set()
