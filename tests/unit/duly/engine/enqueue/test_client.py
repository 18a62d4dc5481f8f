"""The client on a real Valkey: many callers at once, and a broker that goes away."""

import asyncio
import time
from datetime import timedelta

import pytest

from duly.engine.enqueue.client import Client
from duly.engine.enqueue.request import Request
from duly.errors import (
    BrokerDownError,
    DuplicateTaskError,
    InvalidOptionError,
    PayloadTooLargeError,
    QueueFullError,
    TaskIdConflictError,
)
from duly.job import Job
from duly.runtime.settings import QueueSettings, RedisSettings
from duly.task import Task, TaskState
from duly.testing.outage import Outage


class Note(Job, kind="note"):
    number: int = 0


def scripts_run(server):
    with server.client() as raw:
        return raw.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]


async def together(client, count, **options):
    calls = [client.enqueue(Note(number=number), **options) for number in range(count)]
    return await asyncio.gather(*calls, return_exceptions=True)


async def test_calls_that_are_under_way_together_leave_in_one_script(client, valkey_server):
    await client.enqueue(Note())
    before = scripts_run(valkey_server)

    tasks = await together(client, 300)

    assert scripts_run(valkey_server) - before == 2
    assert [task.payload["number"] for task in tasks] == list(range(300))
    assert len({task.id for task in tasks}) == 300


async def test_calls_together_have_an_answer_each(client):
    same = await together(client, 3, task_id="same")
    unique = await asyncio.gather(
        *(client.enqueue(Note(number=9), unique_for=timedelta(hours=1)) for _ in range(3)),
        return_exceptions=True,
    )

    assert [type(answer) for answer in same] == [Task, TaskIdConflictError, TaskIdConflictError]
    assert [type(answer) for answer in unique] == [Task, DuplicateTaskError, DuplicateTaskError]
    assert unique[2].task_id == unique[0].id


@pytest.mark.fault("flood")
async def test_a_full_queue_takes_what_it_has_room_for(broker_settings):
    async with Client.connect(broker_settings, {"default": QueueSettings(max_length=4)}) as client:
        answers = await together(client, 6)

    assert [type(answer) for answer in answers] == [Task] * 4 + [QueueFullError] * 2


@pytest.mark.fault("reply lost")
async def test_calls_together_survive_a_reply_that_is_lost(broker_settings, inspector):
    async with Outage.before(broker_settings) as outage, Client.connect(outage.settings) as client:
        await client.enqueue(Note())
        lost = outage.lose_next_reply(lambda data: b"EVALSHA" in data)

        tasks = await together(client, 50)

    assert lost.is_set()
    assert len({task.id for task in tasks}) == 50
    assert (await inspector.queues.get("default")).waiting == 51


def asks(*words):
    return lambda data: all(word in data for word in words)


async def test_a_second_try_enters_tasks_into_their_group(broker_settings, inspector):
    """The connection breaks before the tasks came, so that all of them are added again."""
    async with Outage.before(broker_settings) as outage, Client.connect(outage.settings) as client:
        lost = outage.lose_next_reply(asks(b"SADD", b"duly:queues"))

        task = await client.enqueue(Note(), group="ada", task_id="first")

    assert lost.is_set()
    assert task.state is TaskState.AGGREGATING
    assert await inspector.groups.members("default", "note", "ada") == ["first"]
    assert (await inspector.queues.get("default")).waiting == 0


async def test_members_whose_reply_is_lost_are_in_their_group_once(broker_settings, inspector):
    async with Outage.before(broker_settings) as outage, Client.connect(outage.settings) as client:
        await client.enqueue(Note(), group="ada", task_id="first")
        lost = outage.lose_next_reply(asks(b"second"))

        task = await client.enqueue(Note(), group="ada", task_id="second")

    assert lost.is_set()
    assert task.state is TaskState.AGGREGATING
    assert await inspector.groups.members("default", "note", "ada") == ["first", "second"]


@pytest.mark.parametrize("lost_of", [b"member", b"plain"])
async def test_a_batch_of_both_sorts_loses_none_with_its_reply(broker_settings, inspector, lost_of):
    batch = [Request(job=Note(), task_id="plain"),
             Request(job=Note(), task_id="member", group="ada")]  # fmt: skip
    async with Outage.before(broker_settings) as outage, Client.connect(outage.settings) as client:
        lost = outage.lose_next_reply(asks(lost_of))

        tasks = await client.enqueue_many(batch)

    assert lost.is_set()
    assert [task.state for task in tasks] == [TaskState.WAITING, TaskState.AGGREGATING]
    report = await inspector.queues.get("default")
    assert (report.waiting, report.aggregating) == (1, 1)


@pytest.mark.fault("broker hangs")
async def test_a_broker_that_hangs_is_told_within_two_seconds(own_server, stopwatch):
    settings = own_server.settings().model_copy(update={"timeout": RedisSettings().timeout})
    async with Client.connect(settings) as client:
        await client.enqueue(Note())
        own_server.pause()
        try:
            begun, counted = time.monotonic(), stopwatch()
            answers = await together(client, 20)
            seconds, running = time.monotonic() - begun, stopwatch() - counted
        finally:
            own_server.resume()
        again = await client.enqueue(Note())

    assert {type(answer) for answer in answers} == {BrokerDownError}
    assert all(answer.timed_out for answer in answers)
    assert seconds > 1.9
    assert running < 2.25
    assert isinstance(again, Task)


async def test_a_broker_that_is_not_there_is_told_at_once(own_server, stopwatch):
    settings = own_server.settings()
    own_server.kill9()
    async with Client.connect(settings) as client:
        begun = stopwatch()
        with pytest.raises(BrokerDownError):
            await client.enqueue(Note())

    assert stopwatch() - begun < 2.0


async def test_many_are_added_batch_by_batch_in_their_order(client, inspector):
    jobs = [Note(number=number) for number in range(1_234)]

    tasks = await client.enqueue_many(jobs)

    assert [task.payload["number"] for task in tasks] == list(range(1_234))
    page = await inspector.tasks.list("default", TaskState.WAITING, limit=1_000)
    listed = [task.payload["number"] for task in page.tasks]
    assert sorted(listed) == listed or sorted(listed, reverse=True) == listed
    assert (await inspector.queues.get("default")).waiting == 1_234


async def test_of_many_a_batch_is_refused_whole_and_the_others_are_not(client, inspector):
    await client.enqueue(Note(), task_id="taken")
    jobs = [Note() for _ in range(1_100)]
    jobs[700] = Request(job=Note(), task_id="taken")

    found = await client.try_enqueue_many(jobs, whole=True)

    refused = [place for place, answer in enumerate(found) if not isinstance(answer, Task)]
    assert refused == list(range(500, 1_000))
    assert isinstance(found[700], TaskIdConflictError)
    assert (await inspector.queues.get("default")).waiting == 1 + 600


async def test_many_with_one_that_is_too_large_leave_nothing_under_way(client, inspector):
    jobs = [Note() for _ in range(1_100)]
    jobs[1_050] = Request(job=Note(), headers={"too": "x" * 300_000})

    with pytest.raises(PayloadTooLargeError):
        await client.enqueue_many(jobs)

    assert (await inspector.queues.get("default")).waiting == 1_000, "those before its batch"


async def test_many_to_a_broker_that_is_gone_raise_once(own_server):
    async with Client.connect(own_server.settings()) as client:
        await client.enqueue_many([Note()])
        own_server.kill9()

        with pytest.raises(BrokerDownError):
            await client.enqueue_many([Note() for _ in range(1_600)])


async def test_an_iterator_is_read_batch_by_batch(client, inspector):
    read = []

    def numbers():
        for number in range(1_600):
            read.append(number)
            yield Note(number=number)

    tasks = await client.enqueue_many(numbers())

    assert [task.payload["number"] for task in tasks] == read == list(range(1_600))
    assert (await inspector.queues.get("default")).waiting == 1_600


async def test_an_iterator_that_fails_leaves_nothing_under_way(client, inspector):
    def numbers():
        yield from (Note(number=number) for number in range(1_200))
        raise LookupError

    with pytest.raises(LookupError):
        await client.enqueue_many(numbers())

    assert (await inspector.queues.get("default")).waiting == 1_000


async def test_nothing_is_enqueued_of_nothing(client):
    assert await client.enqueue_many([]) == []
    assert await client.try_enqueue_many(iter(())) == []


class Bulky(Job, kind="bulky"):
    text: str


async def test_a_batch_is_bounded_in_bytes(client, valkey_server):
    await client.enqueue(Note())
    before = scripts_run(valkey_server)

    tasks = await client.enqueue_many([Bulky(text="x" * 200_000) for _ in range(170)])

    assert len(tasks) == 170
    assert scripts_run(valkey_server) - before == 3


async def test_of_many_what_is_wrong_in_itself_is_refused_by_itself(client, inspector):
    found = await client.try_enqueue_many(
        [Note(), Request(job=Note(), task_id="a\nb"), Bulky(text="x" * 300_000)]
    )

    assert [type(answer) for answer in found] == [Task, InvalidOptionError, PayloadTooLargeError]
    assert (await inspector.queues.get("default")).waiting == 1


class Tagged(Job, kind="tagged"):
    tags: frozenset[str]


async def test_sets_of_another_order_are_the_same_unique_job(client):
    """A set's order depends on how it came about, as it does on the process."""
    names = [f"tag{number}" for number in range(50)]
    one, other = frozenset(names), frozenset(reversed(names))

    await client.enqueue(Tagged(tags=one), unique_for=timedelta(hours=1))
    with pytest.raises(DuplicateTaskError):
        await client.enqueue(Tagged(tags=other), unique_for=timedelta(hours=1))
