"""Connections of one application that overlap: each block enqueues by its own."""

import asyncio
import threading
from contextlib import AsyncExitStack

import pytest
from pydantic import SecretStr

from duly.app.declaration import App
from duly.engine.inspection.inspector import Inspector
from duly.errors import DulyError
from duly.runtime.settings import DEFAULT_QUEUES, RedisSettings
from duly.task import TaskState

NOT_CONNECTED = "'shop' is not connected"


@pytest.fixture
def app():
    return App("shop")


@pytest.fixture
def note(app):
    @app.task
    async def note(number: int): ...

    return note


@pytest.fixture
def databases(valkey_server, broker_settings):
    """The settings of two databases of one server, which is empty."""
    address = valkey_server.url.removesuffix("/0")
    return [RedisSettings(url=SecretStr(f"{address}/{db}")) for db in (1, 2)]


async def ids_in(settings):
    async with Inspector.connect(settings) as inspector:
        page = await inspector.tasks.list("default", TaskState.WAITING)
        return {task.id for task in page.tasks}


async def test_overlapping_blocks_enqueue_each_to_its_own_broker(app, note, databases):
    first_is_open, second_is_open, first_is_over = (asyncio.Event() for _ in range(3))

    async def first():
        async with app.connect(databases[0], DEFAULT_QUEUES):
            first_is_open.set()
            await second_is_open.wait()
            await note.options(task_id="first").enqueue(1)
        first_is_over.set()

    async def second():
        await first_is_open.wait()
        async with app.connect(databases[1], DEFAULT_QUEUES):
            second_is_open.set()
            await first_is_over.wait()
            await note.options(task_id="second").enqueue(2)
            await asyncio.create_task(note.options(task_id="subtask").enqueue(3))

    async with asyncio.TaskGroup() as group:
        group.create_task(first())
        group.create_task(second())

    assert [await ids_in(each) for each in databases] == [{"first"}, {"second", "subtask"}]
    with pytest.raises(DulyError, match=NOT_CONNECTED):
        await note.enqueue(4)


def test_overlapping_blocks_of_threads_likewise(app, note, databases):
    both_are_open, first_is_over = threading.Barrier(2, timeout=60), threading.Event()
    failures = []

    def work(settings, name, waits):
        try:
            with app.connect_blocking(settings, DEFAULT_QUEUES):
                both_are_open.wait()
                if waits:
                    assert first_is_over.wait(60)
                note.options(task_id=name).enqueue_blocking(1)
        except Exception as error:  # noqa: BLE001 - for the assertion
            failures.append(error)
        finally:
            first_is_over.set()

    threads = [
        threading.Thread(target=work, args=(databases[0], "first", False)),
        threading.Thread(target=work, args=(databases[1], "second", True)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert failures == []
    assert [asyncio.run(ids_in(each)) for each in databases] == [{"first"}, {"second"}]
    with pytest.raises(DulyError, match=NOT_CONNECTED):
        note.enqueue_blocking(4)


async def test_whoever_stands_beside_the_block_finds_the_client_that_opened_first(
    app, note, databases
):
    """A web application is connected in one task, and its requests come in others."""
    connected, over = asyncio.Event(), asyncio.Event()

    async def lifespan():
        async with app.connect(databases[0], DEFAULT_QUEUES):
            connected.set()
            await over.wait()

    async def request(name):
        await note.options(task_id=name).enqueue(1)

    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        group.create_task(lifespan())
        await asyncio.wait_for(connected.wait(), 60)
        await request("alone")
        another = stack.enter_async_context(app.connect(databases[1], DEFAULT_QUEUES))
        await asyncio.create_task(another)
        await request("beside another")
        over.set()

    assert await ids_in(databases[0]) == {"alone", "beside another"}


async def test_blocks_inside_each_other_end_one_by_one(app, note, databases):
    async with app.connect(databases[0], DEFAULT_QUEUES):
        async with app.connect(databases[1], DEFAULT_QUEUES):
            await note.options(task_id="inner").enqueue(1)
            late = asyncio.Event()

            async def outlives():
                await late.wait()
                await note.options(task_id="late").enqueue(1)

            outliving = asyncio.create_task(outlives())
        await note.options(task_id="outer").enqueue(1)
        late.set()
        await outliving

    assert [await ids_in(each) for each in databases] == [{"outer", "late"}, {"inner"}]


async def test_a_block_may_be_left_by_another_task(app, note, databases):
    stack = AsyncExitStack()
    enter = stack.enter_async_context(app.connect(databases[0], DEFAULT_QUEUES))
    await asyncio.create_task(enter)
    await note.enqueue(1)
    await asyncio.create_task(stack.aclose())

    with pytest.raises(DulyError, match=NOT_CONNECTED):
        await note.enqueue(2)


async def test_a_task_that_outlives_its_block_is_not_given_another_client(app, note, databases):
    over = asyncio.Event()

    async def outlives():
        await over.wait()
        await note.enqueue(1)

    async with app.connect(databases[0], DEFAULT_QUEUES):
        outliving = asyncio.create_task(outlives())
    async with app.connect(databases[1], DEFAULT_QUEUES):
        over.set()
        with pytest.raises(DulyError, match=NOT_CONNECTED):
            await outliving
