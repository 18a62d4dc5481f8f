import asyncio
import threading

import pytest

from duly.engine.worker import threads
from duly.runtime.attemptlog import ATTEMPT
from duly.task import Outside, TaskContext


async def test_it_returns_and_raises_what_the_function_does():
    def refuse():
        raise KeyError("x")

    assert await threads.run(divmod, 7, 2) == (3, 1)
    with pytest.raises(KeyError):
        await threads.run(refuse)


async def test_cancelling_waits_for_the_end_of_the_function():
    begun, release = threading.Event(), threading.Event()
    ended = []

    def work():
        begun.set()
        release.wait(90)
        ended.append(True)

    task = asyncio.create_task(threads.run(work))
    await asyncio.to_thread(begun.wait, 90)
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=0.05)
    assert not done

    release.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]


async def test_it_keeps_its_slot_however_often_it_is_cancelled():
    begun, release = threading.Event(), threading.Event()

    def work():
        begun.set()
        release.wait(90)

    task = asyncio.create_task(threads.run(work))
    await asyncio.to_thread(begun.wait, 90)
    for _ in range(3):
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=0.05)
        assert not done

    release.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_worker_that_has_ended_leaves_the_function():
    begun, release, over = threading.Event(), threading.Event(), []

    def work():
        begun.set()
        release.wait(90)

    outside = Outside(over=lambda: bool(over))
    token = ATTEMPT.set(TaskContext(id="1", queue="q", kind="k", outside=outside))
    task = asyncio.create_task(threads.run(work))
    ATTEMPT.reset(token)
    await asyncio.to_thread(begun.wait, 90)
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=0.05)
    assert not done

    over.append(True)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 60)
    assert not release.is_set()
    release.set()


async def test_a_function_may_raise_what_no_future_can_hold():
    def stop():
        raise StopIteration("enough")

    with pytest.raises(RuntimeError, match="enough"):
        await threads.run(stop)
