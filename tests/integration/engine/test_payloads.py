"""What a client accepts reaches the handler as it was, whichever way it takes."""

import sys
from datetime import timedelta
from pathlib import Path

import pytest

from duly.engine.enqueue.request import Request
from duly.engine.enqueue.ticks import Ticks
from duly.engine.storage.store import Store
from duly.flow import chain, group
from duly.job import Job, Policy
from duly.schedule import Entry
from duly.task import TaskState
from duly.testing.waiting import until

sys.path.append(str(Path(__file__).parent))

from intricate import Intricate, echo, example


class Whole(Job, kind="whole"):
    parts: list[Intricate]


class Note:
    """A handler that keeps what it gets."""

    def __init__(self):
        self.seen = []

    async def __call__(self, job, _):
        self.seen.append(job)


@pytest.fixture
def note():
    return Note()


async def by_call(client, _):
    await client.enqueue(example())


async def by_batch(client, _):
    await client.enqueue_many([Request(job=example(), retention=timedelta(hours=1))])


async def by_flow(client, _):
    await client.start(chain(Start(), group([example()])))


async def by_tick(_, settings):
    async with Ticks.connect(settings) as ticks:
        entry = Entry(id="e", job=example(), interval=timedelta(hours=1))
        entry.check()
        await ticks.announce([entry])
        await ticks.tick(entry)


async def by_handler(client, _):
    await client.enqueue(Begin())


class Start(Job, kind="start"):
    pass


class Begin(Job, kind="begin"):
    pass


async def nothing(*_):
    pass


async def begin(_, context):
    context.then(example())


@pytest.mark.parametrize(
    "send", [by_call, by_batch, by_flow, by_tick, by_handler], ids=lambda send: send.__name__
)
async def test_a_handler_gets_what_was_enqueued(client, broker_settings, serve, note, send):
    await serve({Intricate: note, Start: nothing, Begin: begin})
    await send(client, broker_settings)
    await until(lambda: note.seen)

    assert note.seen == [example()]
    assert note.seen[0].double == 6


async def test_a_handler_in_a_process_gets_what_was_enqueued(client, inspector, serve):
    await serve({Intricate: echo}, handle={"run_in": "process"})
    task = await client.enqueue(example(), retention=timedelta(hours=1))

    async def completed():
        return (await inspector.queues.get("default")).completed

    await until(completed)

    assert (await inspector.tasks.get("default", task.id)).result == "True"


async def test_a_triggered_entry_and_a_rerun_arrive_as_the_first_did(
    client, broker_settings, inspector, serve, note
):
    async with Ticks.connect(broker_settings) as ticks:
        await ticks.announce([Entry(id="e", job=example(), interval=timedelta(hours=1))])
    task = await client.enqueue(example(), delay=timedelta(hours=1))
    await inspector.tasks.archive("default", task.id)
    await inspector.schedules.trigger("e")
    await inspector.tasks.rerun(
        "default", task.id, changes={"number": 4}, catalogue={"intricate": Intricate}
    )

    await serve({Intricate: note})
    await until(lambda: len(note.seen) == 2)

    assert sorted(job.number for job in note.seen) == [3, 4]
    assert example() in note.seen
    assert all(job.lines == example().lines for job in note.seen)


async def test_a_merged_group_arrives_as_it_was_made(client, serve, note):
    async def merge(jobs, _):
        return Whole(parts=jobs)

    with pytest.MonkeyPatch.context() as patch:
        terms = Policy().aggregate.model_copy(update={"max_size": 2})
        patch.setattr(Intricate, "policy", Policy(aggregate=terms))
        await serve({Whole: note}, merge={Intricate: merge})
        for _ in range(2):
            await client.enqueue(example(), group="ada")
        await until(lambda: note.seen)

    assert note.seen == [Whole(parts=[example(), example()])]


async def test_the_digest_of_a_unique_job_is_the_same_for_a_call_and_a_tick(
    client, broker_settings
):
    """Sets are in it; the lock of one is the lock of all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Intricate, "policy", Policy(unique_for=timedelta(hours=1)))
        task = await client.enqueue(example())
        async with Ticks.connect(broker_settings) as ticks, Store.open(broker_settings) as store:
            entry = Entry(id="e", job=example(), interval=timedelta(hours=1))
            (report,) = (await ticks.tick(entry)).reports
            locks = await store.connection.command("HLEN", "duly:{default}:locks")

    assert (report.outcome.value, locks) == ("skipped", 1)
    assert task.state is TaskState.WAITING
