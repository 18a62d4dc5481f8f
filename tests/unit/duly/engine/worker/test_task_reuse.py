"""Coroutines share an asyncio task only for as long as none of them could notice."""

import asyncio
import contextvars
import time
from collections import deque

import pytest

from duly.engine.worker.task_reuse import TaskReuse

MARK = contextvars.ContextVar("MARK", default="unset")


class Work:
    """What there is to take, and which task each ran in."""

    def __init__(self, **options):
        self.waiting, self.tasks, self.begun = deque(), {}, []
        self.turns = TaskReuse(self._take, **{"monotonic": time.monotonic} | options)

    def add(self, name, body=None):
        self.waiting.append((name, body))
        self.turns.go_on()

    def _take(self, task):
        return self._run(*self.waiting.popleft(), task) if self.waiting else None

    async def _run(self, name, body, task):
        assert asyncio.current_task() is task
        self.begun.append(name)
        self.tasks[name] = task
        if body is not None:
            await body()


async def at_once():
    pass


async def test_what_never_waits_runs_in_one_task_in_order():
    work = Work()
    for number in range(5):
        work.add(number, at_once)

    await asyncio.sleep(0)

    assert work.begun == list(range(5))
    assert len(set(work.tasks.values())) == 1


async def test_what_waits_keeps_its_task_and_the_next_begins_in_another(until):
    go_on = asyncio.Event()
    work = Work()
    for number in range(3):
        work.add(number, go_on.wait)
    work.add("last", at_once)

    await until(lambda: len(work.begun) == 4)

    assert len(set(work.tasks.values())) == 4
    go_on.set()
    await until(lambda: all(task.done() for task in work.tasks.values()))


async def test_one_that_has_waited_lets_none_into_its_task(until):
    go_on, work = asyncio.Event(), Work()
    work.add("waits", go_on.wait)
    await until(lambda: work.begun)

    go_on.set()
    work.add("next", at_once)
    await until(lambda: len(work.begun) == 2)

    assert work.tasks["waits"] is not work.tasks["next"]


async def test_what_sets_a_context_variable_sets_it_for_nobody_else():
    seen, work = [], Work()

    async def set_it():
        seen.append(MARK.get())
        MARK.set("set")

    for number in range(3):
        work.add(number, set_it)
    for _ in range(3):
        await asyncio.sleep(0)

    assert seen == ["unset"] * 3


async def test_a_cancelled_task_runs_nothing_more():
    work = Work()

    async def cancel():
        asyncio.current_task().cancel()

    work.add("first", cancel)
    work.add("second", at_once)
    for _ in range(3):
        await asyncio.sleep(0)

    assert work.begun == ["first", "second"]
    assert work.tasks["first"].cancelled()
    assert not work.tasks["second"].cancelled()


async def test_a_timeout_belongs_to_one_alone(until):
    work, ends = Work(), []

    async def too_long():
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            ends.append("timeout")

    async def group():
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
        ends.append("group")

    for body in (too_long, group, at_once, too_long):
        work.add(len(work.waiting), body)

    await until(lambda: sorted(ends) == ["group", "timeout", "timeout"])


@pytest.mark.parametrize(("step", "before_others"), [(0.1, 1), (0.0, 5)])
async def test_others_have_their_turn_after_a_slice_of_time(step, before_others):
    now, seen = [0.0], []
    work = Work(monotonic=lambda: now[0], slice_seconds=0.05)

    async def takes_time():
        now[0] += step

    for number in range(5):
        work.add(number, takes_time)
    asyncio.get_running_loop().call_soon(lambda: seen.append(len(work.begun)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert seen == [before_others]


async def test_nothing_to_take_is_no_harm():
    work = Work()
    work.turns.go_on()
    work.turns.go_on()
    await asyncio.sleep(0)

    work.add("later", at_once)
    await asyncio.sleep(0)

    assert work.begun == ["later"]
