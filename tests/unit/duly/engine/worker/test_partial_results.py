"""What handlers show of their results is written once, however often somebody looks."""

import asyncio

from duly.engine.storage.codec import Message
from duly.engine.storage.keys import queue_keys
from duly.engine.worker import partial_results
from duly.engine.worker.attempt import RunningAttempt
from duly.task import TaskContext

SAME = "1767614400000-0"
"""Two queues may give entries the same id: it is a millisecond and a number."""


async def active(store, queue):
    """Return a task that runs, whose stream_id has the same id in every queue."""
    keys = await store.register(queue)
    await store.connection.command("XADD", keys.stream, SAME, "data", "x")
    await store.connection.command("HSET", keys.index, "one", SAME)
    reader = store.reader(queue)
    (delivery,) = await reader.read(server="server", count=1, block_ms=1_000)
    await reader.close()
    context = TaskContext(id="one", queue=queue, kind="import")
    return RunningAttempt(delivery, queue, Message("one", "import"), None, context, 0, 0, 0)


async def test_entries_of_two_queues_with_one_id_are_written_once_each(
    store, valkey_server, until, monkeypatch
):
    monkeypatch.setattr(partial_results, "_EVERY", 0.01)
    shown = [await active(store, queue) for queue in ("default", "low", "new")]
    default, low, new = shown
    writer = partial_results.PartialResults(store, lambda: shown)
    working = asyncio.create_task(writer.run())
    await until(lambda: writer._loop)

    async def kept():
        keys = [queue_keys(running.queue).results for running in shown]
        return [await store.connection.command("HGET", key, "one") for key in keys]

    async def show(partial_result, *those):
        for running in those:
            running.context.partial_result = partial_result
        writer.noticed(new.context)

        async def written():
            return await kept() == [running.context.partial_result for running in shown]

        await until(written)

    await show(b"1", default, low, new)
    with valkey_server.client() as raw:
        raw.config_resetstat()
        for partial_result in (b"2", b"3"):
            await show(partial_result, new)
        writes = raw.info("commandstats")["cmdstat_hset"]["calls"]

    assert writes == 2, "only what is new is written"
    working.cancel()
