"""Several queues in one worker: each has its share of the slots; a pause ends at once."""

import asyncio

import pytest

from duly.job import Job, Policy


class Urgent(Job, kind="urgent", policy=Policy(queue="critical")):
    number: int = 0


class Long(Job, kind="long", policy=Policy(queue="default")):
    number: int = 0


class Handlers:
    """Long tasks run until let go, one by one; urgent ones end at once."""

    def __init__(self, stopwatch):
        self.now = stopwatch
        self.running = self.most = self.begun = 0
        self.urgent = []
        self.gate = asyncio.Semaphore(0)

    async def long(self, _job, _context):
        self.running += 1
        self.begun += 1
        self.most = max(self.most, self.running)
        try:
            await self.gate.acquire()
        finally:
            self.running -= 1

    async def quick(self, _job, _context):
        self.urgent.append(self.now())


@pytest.fixture
def handlers(stopwatch):
    return Handlers(stopwatch)


QUEUES = {"critical": 6, "default": 3}


@pytest.fixture
async def server(serve, handlers):
    return await serve(
        {Urgent: handlers.quick, Long: handlers.long},
        queues=QUEUES,
        concurrency=3,
        most={"default": 2},
    )


async def test_long_tasks_of_one_queue_leave_slots_to_the_others(client, handlers, server, until):
    await client.enqueue_many([Long(number=number) for number in range(10)])
    await until(lambda: handlers.running == 2, what="two long tasks")

    started = handlers.now()
    await client.enqueue_many([Urgent(number=number) for number in range(20)])

    await until(lambda: len(handlers.urgent) == 20, what="20 urgent tasks")
    assert max(handlers.urgent) - started < 2
    assert handlers.most == 2
    # The worker waits for urgent tasks meanwhile: it must look at the other queue at once.
    released = handlers.now()
    handlers.gate.release()
    await until(lambda: handlers.begun == 3, what="the next long task")
    assert handlers.now() - released < 2
    for _ in range(9):
        handlers.gate.release()
    await until(lambda: handlers.begun == 10 and handlers.running == 0, what="all long tasks")
    assert handlers.most == 2


async def test_a_queue_that_is_resumed_is_served_within_a_second(
    client, inspector, handlers, server, until
):
    await inspector.queues.pause("critical")
    await client.enqueue(Urgent())
    await until(lambda: server.receiver.paused == {"critical"}, what="the pause is heard")

    resumed = handlers.now()
    await inspector.queues.resume("critical")

    await until(lambda: handlers.urgent)
    assert handlers.urgent[0] - resumed < 1
