"""Each queue is maintained by itself, whatever lies in the broker."""

import asyncio
import io
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from duly.engine.maintenance.maintainer import Maintainer
from duly.engine.storage.keys import QUEUES, queue_keys
from duly.job import Job
from duly.runtime import logs
from duly.runtime.settings import LogSettings
from duly.runtime.supervision import Supervisor
from duly.task import TaskState
from duly.testing.waiting import until

JUNK = ["", "Upper", "two words", "a\nb", "x" * 65, "ä", "{a}", "*", "a:b", "\udcff"]


class Note(Job, kind="note"):
    pass


@pytest.fixture
def lines():
    stream = io.StringIO()
    logs.configure(LogSettings(level="DEBUG"), service="test", stream=stream)
    yield lambda: stream.getvalue().splitlines()
    logs.configure(LogSettings(), service="test", stream=io.StringIO())


@pytest.fixture
def maintaining(broker_settings, monkeypatch):
    """`async with maintaining()`: the maintainer runs for the body; gives its supervisor."""
    monkeypatch.setattr(
        "duly.engine.maintenance.maintainer._LOOK_FOR_QUEUES", timedelta(milliseconds=20)
    )

    @asynccontextmanager
    async def run(**options):
        stop, supervisor = asyncio.Event(), Supervisor()
        async with Maintainer.open(broker_settings, supervisor=supervisor, **options) as maintainer:
            running = asyncio.create_task(maintainer.run(stop))
            try:
                yield supervisor
            finally:
                stop.set()
                await asyncio.wait_for(running, 60)

    return run


@pytest.fixture
def promoted(client, inspector):
    """Return a function that waits until a scheduled task of a queue was promoted."""

    async def wait(queue="default"):
        task = await client.enqueue(Note(), queue=queue, delay=timedelta(milliseconds=20))

        async def waits():
            return (await inspector.tasks.get(queue, task.id)).state is TaskState.WAITING

        await until(waits, timeout=60, what=f"{queue} is maintained")

    return wait


async def test_names_that_name_no_queue_are_ignored_with_one_warning(
    store, maintaining, promoted, lines
):
    names = [name.encode("utf-8", "surrogateescape") for name in JUNK]
    await store.connection.command("SADD", QUEUES, *names)
    errors = []

    async with maintaining(on_error=errors.append) as supervisor:
        await promoted()
        await promoted()
        assert supervisor.liveness() is None

    warnings = [line for line in lines() if "Names in duly:queues ignored" in line]
    assert len(warnings) == 1
    assert f"count={len(JUNK)}" in warnings[0]
    assert errors == []
    assert not [line for line in lines() if " ERROR " in line]


@pytest.mark.parametrize(
    "name",
    ["scheduled", "stream", "leases", "outbox", "archived", "completed", "locks", "ticks", "index"],
)
async def test_a_key_of_a_wrong_type_stops_no_other_queue_and_floods_no_log(  # noqa: PLR0917
    store, client, maintaining, promoted, lines, name
):
    await client.enqueue(Note(), queue="broken")
    key = getattr(queue_keys("broken"), name)
    await store.connection.command("DEL", key)
    await store.connection.command("SET", key, "not what it should be")
    errors = []

    async with maintaining(on_error=errors.append) as supervisor:
        await until(lambda: errors or name == "index", timeout=60)
        await promoted("default")
        await promoted("default")
        assert supervisor.liveness() is None

    assert all(loop.endswith(" broken") for loop in errors)
    failures = [line for line in lines() if "Background loop failed" in line]
    assert len(failures) <= len(set(errors))
    assert not [line for line in lines() if "Broker unreachable" in line]


async def test_the_janitor_tidies_the_rest_where_one_key_is_of_a_wrong_type(
    store, client, maintaining
):
    await client.enqueue(Note())
    keys = queue_keys("default")
    await store.connection.command("SET", keys.archived, "not what it should be")
    await store.connection.command("HSET", keys.commands, "gone-server", "stop 1")
    await store.connection.command("HSET", keys.locks, "digest", "1 task-of-long-ago")

    async def tidy():
        left = await store.connection.many([("HLEN", keys.commands), ("HLEN", keys.locks)])
        return left == [0, 0]

    async with maintaining():
        await until(tidy, timeout=60)


async def test_the_loops_of_a_removed_queue_end(inspector, maintaining, promoted, monkeypatch):
    async with maintaining() as supervisor:
        await promoted("low")
        await promoted("default")
        await inspector.queues.remove("low", force=True)
        await until(lambda: not any(name.endswith(" low") for name in supervisor._beats))
        await promoted("default")
        assert supervisor.liveness() is None
