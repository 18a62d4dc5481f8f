"""An exit that an asyncio task of a handler raises is a failed attempt; the worker goes on."""

import asyncio
import gc
import sys
from functools import partial

import pytest

from duly.engine.worker.contained import exits_contained
from duly.errors import SubtaskExitError
from duly.job import Job, Policy
from duly.task import TaskState
from duly.testing.waiting import until


class Errand(Job, kind="errand", policy=Policy(max_attempts=1)):
    pass


class Scarce(Job, kind="scarce", policy=Policy(max_attempts=1, max_running=1)):
    pass


async def leave(error, *, after=0):
    for _ in range(after):
        await asyncio.sleep(0)
    raise error


async def by_task(error, after):
    await asyncio.create_task(leave(error, after=after))


async def by_group(error, after):
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(asyncio.sleep(60))
        tasks.create_task(leave(error, after=after))


async def by_gathering(error, after):
    await asyncio.gather(asyncio.sleep(0), leave(error, after=after))


async def by_waiting(error, after):
    await asyncio.wait_for(leave(error, after=after), 60)


async def by_shielding(error, after):
    await asyncio.shield(leave(error, after=after))


async def when_cancelled(error, _after):
    async def hang():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise error from None

    task = asyncio.create_task(hang())
    await asyncio.sleep(0)
    task.cancel()
    await task


async def nested(error, after):
    await asyncio.create_task(by_group(error, after))


WAYS = [by_task, by_group, by_gathering, by_waiting, by_shielding, when_cancelled, nested]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "exit_at", [(SystemExit(3), 0), (KeyboardInterrupt(), 0), (SystemExit(), 2)]
)
async def test_an_exit_of_a_subtask_is_a_failed_attempt(client, inspector, serving, way, exit_at):
    error, after = exit_at

    async def handler(*_):
        await way(error, after)

    async with serving({Errand: handler, Scarce: handler}):
        for job in (Errand(), Scarce()):
            task = await client.enqueue(job)

            async def archived(task=task):
                return (await inspector.tasks.find(task.id)).state is TaskState.ARCHIVED

            await until(archived)
            (attempt,) = (await inspector.tasks.find(task.id)).history
            shown = attempt.error + attempt.traceback
            assert f"raised {type(error).__name__}" in shown


async def test_a_subtask_that_nobody_awaits_ends_nothing(client, serving):
    ran, subtasks = [], set()

    async def handler(*_):
        subtasks.add(asyncio.create_task(leave(SystemExit(3))))
        ran.append(1)

    async with serving({Errand: handler}):
        await client.enqueue(Errand())
        await client.enqueue(Errand())
        await until(lambda: len(ran) == 2 and all(task.done() for task in subtasks))

    assert {type(task.exception()) for task in subtasks} == {SubtaskExitError}


async def test_everything_else_about_a_task_is_as_it_was():
    loop = asyncio.get_running_loop()

    async def give(value):
        await asyncio.sleep(0)
        return value

    with exits_contained(loop):
        task = loop.create_task(give(7), name="giver")
        assert "give()" in repr(task)
        assert task.get_coro().__name__ == "give"
        assert task.get_name() == "giver"
        assert task.get_stack()
        assert await task == 7
        never = asyncio.create_task(give(1))
        never.cancel()
        with pytest.raises(asyncio.CancelledError):
            await never
        failing = asyncio.create_task(leave(ValueError("no")))
        with pytest.raises(ValueError, match="no"):
            await failing
    gc.collect()  # no coroutine was left unawaited


async def test_the_factory_of_a_loop_is_shared_and_put_back():
    loop, made = asyncio.get_running_loop(), []

    def before(loop, work, **options):
        made.append(work)
        return asyncio.Task(work, loop=loop, **options)

    loop.set_task_factory(before)
    one, two = exits_contained(loop), exits_contained(loop)
    with one:
        two.__enter__()
    with pytest.raises(SubtaskExitError):
        await asyncio.create_task(leave(SystemExit(1)))
    two.__exit__(None, None, None)

    assert len(made) == 1
    assert loop.get_task_factory() is before
    loop.set_task_factory(None)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
async def test_eager_tasks_are_contained_too():
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    with exits_contained(loop), pytest.raises(SubtaskExitError):
        await partial(asyncio.create_task, leave(SystemExit(1)))()
    loop.set_task_factory(None)
