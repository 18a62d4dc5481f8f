import asyncio
import gc
import io
import logging
import threading
import weakref
from datetime import timedelta

import pytest
import structlog

from duly.engine.storage.codec import Message
from duly.engine.storage.keys import queue_keys
from duly.engine.storage.store import Delivery, Store
from duly.engine.transport.connection import Connection
from duly.engine.worker import partial_results, runner
from duly.engine.worker.attempt import RunningAttempt
from duly.errors import Revoke
from duly.flow import group
from duly.job import Job, Policy
from duly.runtime import logs
from duly.runtime.settings import LogSettings
from duly.task import RESULT_LIMIT_BYTES, Progress, TaskContext, TaskState


class Import(Job, kind="import"):
    pass


class Report(Job, kind="report", policy=Policy(retention=timedelta(hours=1), max_attempts=1)):
    fails: bool = False
    returns: str | None = None


class Stubborn(Job, kind="stubborn", policy=Policy(timeout=timedelta(milliseconds=50))):
    pass


class Part(Job, kind="part"):
    number: int


class Whole(Job, kind="whole"):
    number: int


@pytest.mark.parametrize("in_thread", [False, True])
async def test_progress_shows_where_running_tasks_are_shown(
    serving, client, inspector, until, in_thread
):
    release = threading.Event()

    def work(job, context):
        context.progress(0.4, "rows 400 of 1000")
        release.wait(90)

    async def asynchronous(job, context):
        context.progress(0.4, "rows 400 of 1000")
        await asyncio.to_thread(release.wait, 90)

    async with serving({Import: work if in_thread else asynchronous}):
        task = await client.enqueue(Import())

        async def shown():
            return (await inspector.tasks.get("default", task.id)).progress

        assert await until(shown) == Progress(0.4, "rows 400 of 1000")
        (server,) = await inspector.servers.list()
        assert [run.progress for run in server.running] == [Progress(0.4, "rows 400 of 1000")]
        release.set()


async def test_a_handler_that_ignores_its_timeout_keeps_its_slot_and_is_reported(
    serving, client, inspector, until, monkeypatch
):
    monkeypatch.setattr(runner, "_STUCK_AFTER", 0.1)
    release, seen = asyncio.Event(), []

    async def ignore(job, context):
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                seen.append(context.cancelled)

    async def reported():
        (report,) = await inspector.servers.list()
        return [run.stuck for run in report.running] == [True]

    async with serving({Stubborn: ignore}, concurrency=1) as server:
        try:
            await client.enqueue(Stubborn())
            await until(lambda: server.stuck("default") == 1)
            assert seen == [True]
            await until(reported)
            assert (await inspector.queues.get("default")).active == 1, "the slot is held"
        finally:
            release.set()  # what ignores its cancellation would keep the tests from ending
        await until(lambda: server.stuck("default") == 0)


async def test_a_thread_keeps_its_slot_until_its_end_or_that_of_the_worker(
    serving, client, inspector, until
):
    begun, release = threading.Event(), threading.Event()

    def work(job, context):
        begun.set()
        release.wait(90)

    try:
        async with serving({Stubborn: work}, drain=timedelta(milliseconds=10)) as server:
            task = await client.enqueue(Stubborn())
            await asyncio.to_thread(begun.wait, 90)
            (running,) = server.receiver.running()
            await until(lambda: running.timed_out)
            await inspector.tasks.cancel("default", task.id, outcome="retry")
            await until(lambda: running.interrupted)

            attempt = running.task
            done, _ = await asyncio.wait({attempt}, timeout=0.1)
            assert not done
            assert server.receiver.running() == [running]
        await asyncio.wait_for(attempt, 60)
        assert not release.is_set()
    finally:
        release.set()


@pytest.mark.parametrize("in_thread", [False, True])
@pytest.mark.parametrize(
    ("payload", "kept"),
    [({}, {"rows": 999}), ({"fails": True}, {"rows": 999}), ({"returns": "all"}, "all")],
)
async def test_a_result_is_seen_before_the_end_and_the_last_word_is_kept(  # noqa: PLR0917
    serving, client, inspector, until, in_thread, payload, kept
):
    release = threading.Event()

    def work(job, context):
        for rows in range(1000):
            context.write_result({"rows": rows})
        release.wait(90)
        if job.fails:
            raise LookupError
        return job.returns

    async def asynchronous(job, context):
        return await asyncio.to_thread(work, job, context)

    async with serving({Report: work if in_thread else asynchronous}):
        task = await client.enqueue(Report(**payload))

        async def found(state, result):
            now = await inspector.tasks.get("default", task.id)
            return (now.state, now.result) == (state, result)

        await until(lambda: found(TaskState.ACTIVE, {"rows": 999}))
        release.set()
        end = TaskState.ARCHIVED if payload.get("fails") else TaskState.COMPLETED
        await until(lambda: found(end, kept))


async def test_nothing_is_left_of_a_result_without_retention(
    serving, client, inspector, until, broker_settings
):
    release = asyncio.Event()

    async def work(job, context):
        context.write_result("so far")
        await release.wait()

    async with serving({Import: work}):
        task = await client.enqueue(Import())

        async def seen():
            return (await inspector.tasks.get("default", task.id)).result == "so far"

        async def gone():
            return (await inspector.queues.get("default")).processed == 1

        await until(seen)
        release.set()
        await until(gone)
    async with Connection.open(broker_settings) as connection:
        assert await connection.command("HLEN", queue_keys("default").results) == 0


async def test_a_result_that_does_not_fit_is_the_handlers_error():
    context = TaskContext(id="1", queue="q", kind="k")

    with pytest.raises(ValueError, match="262144"):
        context.write_result("x" * RESULT_LIMIT_BYTES)
    with pytest.raises(TypeError):
        context.write_result(object())
    assert context.partial_result is None


async def test_results_are_written_again_when_the_broker_was_unreachable(
    own_server, until, monkeypatch
):
    monkeypatch.setattr(partial_results, "_EVERY", 0.01)
    running = RunningAttempt(
        Delivery(b"1-1", None),
        "q",
        Message("1", "k"),
        None,
        TaskContext(id="1", queue="q", kind="k"),
        0,
        0,
        0,
    )
    async with Store.open(own_server.settings()) as store:
        keys = await store.register("q")
        await store.connection.command("HSET", keys.index, "1", "1-1")
        writer = partial_results.PartialResults(store, lambda: [running])
        working = asyncio.create_task(writer.run())
        own_server.kill9()
        running.context.partial_result = b"7"
        await until(lambda: writer._loop)
        writer.noticed(running.context)
        own_server.restart()
        await store.connection.command("HSET", keys.index, "1", "1-1")

        async def written():
            return await store.connection.command("HGET", keys.results, "1") == b"7"

        await until(written)
        working.cancel()


async def test_a_member_that_is_revoked_cancels_the_join_that_waits_for_it(
    serving, client, inspector, until
):
    async def part(job, context):
        if job.number == 1:
            raise Revoke

    async with serving({Part: part, Whole: part}):
        await client.start(group([Part(number=0), Part(number=1)], then=Whole(number=0)))

        async def done():
            report = await inspector.queues.get("default")
            return report.processed == 2 and not await inspector.joins.list("default")

        await until(done)
    assert (await inspector.queues.get("default")).held == 0


@pytest.mark.parametrize("kind", ["coroutine", "function"])
async def test_what_a_handler_logs_carries_its_attempt(serving, client, until, kind):
    stream = io.StringIO()
    logs.configure(LogSettings(), service="worker", stream=stream)

    def function(job, context):
        structlog.get_logger("shop").info("Itself")
        logging.getLogger("library").warning("Beside")

    async def coroutine(job, context):
        async def beside():
            logging.getLogger("library").warning("Beside")

        structlog.get_logger("shop").info("Itself")
        await asyncio.create_task(beside())

    async with serving({Import: coroutine if kind == "coroutine" else function}):
        await client.enqueue(Import(), task_id="mine")

        async def told():
            return "Beside" in stream.getvalue()

        await until(told)
    for message in ("Itself", "Beside"):
        (line,) = [line for line in stream.getvalue().splitlines() if message in line]
        assert line.endswith("task_id=mine kind=import queue=default attempt=1")


class Hoard:
    """Something that a handler has, and that takes memory."""


@pytest.mark.parametrize("in_thread", [False, True])
async def test_what_a_handler_had_is_let_go_when_it_has_failed(
    serving, client, inspector, until, in_thread
):
    """At once, not with the next collection of cycles: it may be all the memory there is."""
    kept = []

    def work(job, context):
        hoard = Hoard()
        kept.append(weakref.ref(hoard))
        raise MemoryError

    async def asynchronous(job, context):
        work(job, context)

    gc.collect()
    gc.disable()
    try:
        async with serving({Report: work if in_thread else asynchronous}):
            task = await client.enqueue(Report())

            async def archived():
                return (await inspector.tasks.get("default", task.id)).state is TaskState.ARCHIVED

            await until(archived)
            await until(lambda: all(ref() is None for ref in kept))
    finally:
        gc.enable()


class Reader(Job, kind="reader", policy=Policy(max_attempts=1)):
    catches: bool = False


LOST = ConnectionError("reset")
"""A connection keeps its error and raises it for each who reads, as aiohttp's streams do."""


async def caught_in_a_coroutine(hold):
    try:
        raise LOST
    except ConnectionError:
        await hold()


async def caught_in_a_generator(hold):
    def rows():
        try:
            raise LOST
        except ConnectionError:
            yield 1
            yield 2

    held = rows()
    next(held)
    await hold()
    assert list(held) == [2]


async def caught_in_an_asynchronous_generator(hold):
    async def rows():
        try:
            raise LOST
        except ConnectionError:
            await hold()
            yield 1

    assert [row async for row in rows()] == [1]


@pytest.mark.parametrize(
    "catch", [caught_in_a_coroutine, caught_in_a_generator, caught_in_an_asynchronous_generator]
)
async def test_an_error_that_others_have_caught_ends_none_of_them(
    serving, client, inspector, until, catch
):
    caught, go_on, seen = asyncio.Event(), asyncio.Event(), []

    async def hold():
        caught.set()
        await go_on.wait()

    async def work(job, context):
        if not job.catches:
            raise LOST
        await catch(hold)
        seen.append("went on")

    async def ended(archived, processed):
        report = await inspector.queues.get("default")
        return (report.archived, report.processed) == (archived, processed)

    async with serving({Reader: work}):
        await client.enqueue(Reader(catches=True))
        await asyncio.wait_for(caught.wait(), 60)
        await client.enqueue(Reader())
        await until(lambda: ended(1, 1))
        go_on.set()
        await until(lambda: ended(1, 2))
    assert seen == ["went on"]
