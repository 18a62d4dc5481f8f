"""A server leaves tasks of kinds it does not know to servers that know them."""

from collections import Counter
from datetime import timedelta

import pytest

from duly.engine.storage.codec import Message, encode
from duly.engine.storage.reports import UNKNOWN_KIND
from duly.engine.storage.scripts import NewTask
from duly.engine.storage.store import Store
from duly.job import Job, Policy
from duly.task import AttemptOutcome, TaskState


class Old(Job, kind="old"):
    number: int = 0


class New(Job, kind="new", policy=Policy(max_attempts=1)):
    number: int


class Unfit(Job, kind="fit"):
    """What a producer of another version writes for `Fit`."""

    text: str


class Fit(Job, kind="fit"):
    number: int


@pytest.fixture
def ran():
    return Counter()


def handler(ran, name):
    async def run(job, context):
        ran[name, context.kind, context.attempt, context.crashes] += 1

    return run


@pytest.mark.fault("version skew")
async def test_a_server_that_knows_the_kind_gets_every_task(client, inspector, serve, until, ran):
    await serve({Old: handler(ran, "old")})
    await serve({Old: handler(ran, "new"), New: handler(ran, "new")})

    await client.enqueue_many([New(number=number) for number in range(50)])

    await until(lambda: ran["new", "new", 1, 0] == 50, what="50 runs, each a first attempt")
    assert set(ran) == {("new", "new", 1, 0)}
    report = await until(lambda: settled(inspector), what="an empty queue")
    assert (report.quarantined, report.processed) == (0, 50)


async def settled(inspector):
    report = await inspector.queues.get("default")
    empty = not report.waiting + report.active + report.scheduled + report.retry
    return report if empty and report.processed else None


@pytest.mark.fault("version skew")
async def test_tasks_wait_for_a_server_that_comes_later(client, inspector, serve, until, ran):
    await serve({Old: handler(ran, "old")}, unknown_grace=timedelta(minutes=10))
    task = await client.enqueue(New(number=1))
    aside = await until(lambda: in_state(inspector, task.id, TaskState.SCHEDULED))
    assert [attempt.outcome for attempt in aside.history] == [AttemptOutcome.DEFERRED]
    assert aside.history[0].error == UNKNOWN_KIND
    assert aside.attempts == 0

    await serve({New: handler(ran, "new")})

    await until(lambda: ran["new", "new", 1, 0] == 1, what="the first attempt")


async def in_state(inspector, task_id, state):
    task = await inspector.tasks.find(task_id)
    return task if task.state is state else None


@pytest.mark.fault("version skew")
async def test_a_kind_that_nobody_knows_is_quarantined_after_the_grace(
    client, inspector, serve, until, ran
):
    await serve({Old: handler(ran, "old")}, unknown_grace=timedelta(seconds=1))
    task = await client.enqueue(New(number=1))

    gone = await until(lambda: in_state(inspector, task.id, TaskState.QUARANTINED))

    assert [attempt.error for attempt in gone.history] == [UNKNOWN_KIND, UNKNOWN_KIND]
    assert gone.history[0].outcome is AttemptOutcome.QUARANTINED
    assert gone.history[0].at - gone.history[1].at >= timedelta(seconds=0.99)
    assert not ran


async def test_without_a_grace_it_is_quarantined_at_once(client, inspector, serve, until, ran):
    await serve({Old: handler(ran, "old")}, unknown_grace=timedelta(0))
    task = await client.enqueue(New(number=1))

    gone = await until(lambda: in_state(inspector, task.id, TaskState.QUARANTINED))

    assert [attempt.error for attempt in gone.history] == [UNKNOWN_KIND]


async def test_what_is_no_name_of_a_kind_is_quarantined_at_once(
    broker_settings, inspector, serve, until, ran
):
    await serve({Old: handler(ran, "old")})
    async with Store.open(broker_settings) as store:
        message = Message(task_id="odd", task_name="evil\n\x1b[2J")
        await store.add("default", [NewTask(id="odd", data=encode(message))], max_length=10)

    gone = await until(lambda: in_state(inspector, "odd", TaskState.QUARANTINED))

    assert gone.history[0].error == "its kind is not a valid name of a kind"


@pytest.mark.fault("version skew")
async def test_a_crowd_of_unknown_tasks_does_not_keep_the_known_ones_waiting(
    client, inspector, serve, until, ran
):
    await serve({Old: handler(ran, "old")}, unknown_grace=timedelta(minutes=10))
    await client.enqueue_many([New(number=number) for number in range(2_000)])

    await client.enqueue_many([Old(number=number) for number in range(100)])

    await until(lambda: ran["old", "old", 1, 0] == 100, what="100 runs")
    report = await inspector.queues.get("default")
    assert report.quarantined == 0


@pytest.mark.fault("version skew")
async def test_a_server_that_arrives_takes_back_what_nobody_knew(
    client, inspector, serve, until, ran
):
    await serve({Old: handler(ran, "old")}, unknown_grace=timedelta(0))
    lost = await client.enqueue_many([New(number=number) for number in range(3)])
    bad = await client.enqueue(Unfit(text="no number"))
    for task in (*lost, bad):
        await until(lambda task=task: in_state(inspector, task.id, TaskState.QUARANTINED))

    await serve({New: handler(ran, "new"), Fit: handler(ran, "new")})

    await until(lambda: ran["new", "new", 1, 0] == 3, what="three first attempts")
    await until(lambda: in_state(inspector, bad.id, TaskState.QUARANTINED))
    assert set(ran) == {("new", "new", 1, 0)}
