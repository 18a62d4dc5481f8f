"""Pause and resume take effect within a second, and a pause outlives the workers."""

import asyncio

import pytest

from duly.job import Job, Policy

BOTH = {"critical": 1, "default": 1}


class Step(Job, kind="step"):
    number: int = 0


class Marker(Job, kind="marker", policy=Policy(queue="critical")):
    number: int = 0


class Steps:
    """Notes when each task began; a task takes some milliseconds."""

    def __init__(self, stopwatch):
        self.now, self.at = stopwatch, []
        self.markers = 0

    async def step(self, _job, _context):
        self.at.append(self.now())
        await asyncio.sleep(0.005)

    async def marker(self, _job, _context):
        self.markers += 1


@pytest.fixture
def steps(stopwatch):
    return Steps(stopwatch)


async def test_no_task_begins_a_second_after_a_pause(client, inspector, serve, steps, until):
    await serve({Step: steps.step}, concurrency=2)
    await client.enqueue_many([Step(number=number) for number in range(2_000)])
    await until(lambda: len(steps.at) > 20, what="a busy worker")

    paused = steps.now()
    await inspector.queues.pause("default")

    await until(lambda: idle_with_tasks(inspector), what="nothing active, something waiting")
    assert steps.now() - paused < 1
    await until(lambda: steps.now() - paused > 1.5, what="some time")
    assert max(steps.at) - paused < 1


async def idle_with_tasks(inspector):
    report = await inspector.queues.get("default")
    return report.active == 0 and report.waiting > 0


async def test_a_pause_outlives_the_workers_and_a_resume_is_heard_within_a_second(
    client, inspector, serve, steps, until
):
    first = await serve({Step: steps.step})
    await inspector.queues.pause("default")
    first.end.set()
    await first.running
    await client.enqueue(Step())

    await serve({Step: steps.step, Marker: steps.marker}, queues=BOTH)
    # It works on its other queue, and so it has had every occasion to take the paused one's task.
    await client.enqueue_many([Marker(number=number) for number in range(50)])
    await until(lambda: steps.markers == 50, what="50 tasks of the other queue")
    assert steps.at == []

    resumed = steps.now()
    await inspector.queues.resume("default")
    await until(lambda: steps.at, what="the task")
    assert steps.at[0] - resumed < 1
