import asyncio
import threading

import pytest

from duly.engine.worker import threads
from duly.runtime.attemptlog import ATTEMPT
from duly.task import Outside, TaskContext


class Held:
    """A function that runs until it is released."""

    def __init__(self):
        self.begun, self.release = threading.Event(), threading.Event()
        self.ended = []

    def __call__(self):
        self.begun.set()
        self.release.wait(90)
        self.ended.append(True)

    async def started(self):
        """Give the task that waits for it, once it runs."""
        task = asyncio.create_task(threads.run(self))
        await asyncio.to_thread(self.begun.wait, 90)
        return task


async def cancelled_in_vain(task):
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=0.05)
    assert not done


async def test_it_returns_and_raises_what_the_function_does():
    def refuse():
        raise KeyError("x")

    assert await threads.run(divmod, 7, 2) == (3, 1)
    with pytest.raises(KeyError):
        await threads.run(refuse)


async def test_cancelling_waits_for_the_end_of_the_function():
    work = Held()
    task = await work.started()
    await cancelled_in_vain(task)

    work.release.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.ended == [True]


async def test_it_keeps_its_slot_however_often_it_is_cancelled():
    work = Held()
    task = await work.started()
    for _ in range(3):
        await cancelled_in_vain(task)

    work.release.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_worker_that_has_ended_leaves_the_function():
    work, over = Held(), []
    outside = Outside(over=lambda: bool(over))
    token = ATTEMPT.set(TaskContext(id="1", queue="q", kind="k", outside=outside))
    task = await work.started()
    ATTEMPT.reset(token)
    await cancelled_in_vain(task)

    over.append(True)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 60)
    assert not work.release.is_set()
    work.release.set()


async def test_a_function_may_raise_what_no_future_can_hold():
    def stop():
        raise StopIteration("enough")

    with pytest.raises(RuntimeError, match="enough"):
        await threads.run(stop)
