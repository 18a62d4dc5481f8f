"""taskiq's own receiver on a queue of duly's: what it is given, and what becomes of it."""

import asyncio

from taskiq import Context, TaskiqDepends
from taskiq.acks import AcknowledgeType

from duly import TaskState

READ_AHEAD = 1


async def test_the_receiver_gets_as_many_as_it_runs_and_one_more(
    broker, by_stock, inspector, until
):
    go, begun = asyncio.Event(), []

    @broker.task
    async def wait(number: int) -> None:
        begun.append(number)
        await go.wait()

    for number in range(20):
        await wait.kiq(number)
    async with by_stock(broker, concurrency=3):
        await until(lambda: len(begun) == 3, what="three run")
        (report,) = [it for it in await inspector.queues.list() if it.name == "default"]
        assert report.active <= 3 + READ_AHEAD
        go.set()
        await until(lambda: len(begun) == 20, what="all have run")


async def test_what_is_acknowledged_when_received_is_settled_then(
    broker, by_stock, inspector, until
):
    go = asyncio.Event()

    @broker.task
    async def wait() -> None:
        await go.wait()

    async def has_succeeded():
        return (await inspector.tasks.find(sent.task_id)).state is TaskState.COMPLETED

    async with by_stock(broker, ack_type=AcknowledgeType.WHEN_RECEIVED):
        sent = await wait.kiq()
        await until(has_succeeded, what="it is settled")
        go.set()


async def test_a_manual_acknowledgement_is_the_tasks_own(broker, run):
    @broker.task(ack_type="manual")
    async def work(acknowledges: bool, context: Context = TaskiqDepends()) -> str:
        if acknowledges:
            await context.ack()
        return "done"

    async with run(broker):
        good, bad = await work.kiq(True), await work.kiq(False)
        assert not (await good.wait_result(timeout=60)).is_err
        assert "without" in str((await bad.wait_result(timeout=60)).error)
