"""Upkeep: workers alone find what nobody tells them of."""

import asyncio
from datetime import timedelta

from duly.engine.enqueue.outbox import OutboxRelay
from duly.engine.maintenance.on_demand import OnDemandMaintenance
from duly.engine.maintenance.promoter import Promoter
from duly.engine.maintenance.reaper import Reaper
from duly.engine.maintenance.upkeep import Upkeep
from duly.engine.storage import scripts
from duly.engine.storage.keys import GROUP, queue_keys
from duly.engine.storage.scripts import Successor
from duly.job import Job
from duly.runtime.settings import ArchiveSettings
from duly.testing.waiting import until


class Note(Job, kind="note"):
    pass


async def test_workers_alone_recover_tasks_of_a_consumer_without_a_lease(client, store, serving):
    """Whoever reads the stream by hand, or dies before its first heartbeat, has no lease."""
    await client.enqueue(Note())
    keys, seen = queue_keys("default"), []
    reader = store.reader("default")
    (taken,) = await reader.read(server="no-lease", count=1, block_ms=1)
    await reader.close()
    await store.connection.command(
        "XCLAIM", keys.stream, GROUP, "no-lease", 0, taken.stream_id, "IDLE", 3_600_000
    )

    async def handler(_, context):
        seen.append(context.crashes)

    async with serving({Note: handler}):
        await until(lambda: seen, timeout=30)  # sooner than by a later look

    assert seen == [1]


async def test_what_a_dead_client_left_in_the_outbox_is_delivered(store):
    keys = await store.register("home")
    on_demand = OnDemandMaintenance(
        Promoter(store, "home"),
        Reaper(store, "home", lease=timedelta(seconds=2)),
        OutboxRelay(store, "home"),
        horizon=timedelta(seconds=1),
    )
    upkeep = Upkeep(store, "home", bounds=ArchiveSettings(), kinds=(), on_demand=on_demand)
    running = asyncio.create_task(on_demand.run())

    async def letters():
        return await store.connection.command("XLEN", keys.outbox)

    async def delivered():
        return not await letters()

    try:
        for task_id in ("one", "two"):  # the first may be what they look for as they begin
            data = b'{"task_id":"%s","task_name":"note"}' % task_id.encode()
            letter = Successor("task", "away", id=task_id, data=data)
            await store.run(scripts.outbox_append(keys, [letter]))
            await upkeep.run_once()
            await until(delivered)
    finally:
        running.cancel()
        await asyncio.wait({running})

    assert await store.present("away", ["one", "two"]) == [True, True]
