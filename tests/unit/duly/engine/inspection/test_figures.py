"""The figures of all queues: as the inspector has them, in one call a queue."""

from datetime import timedelta

import pytest

from duly.engine.inspection.figures import QueueFigures, read_figures
from duly.engine.storage.keys import GROUP, queue_keys
from duly.engine.storage.store import Store
from duly.job import Job, Policy
from duly.task import TaskState

MOST_COMMANDS = 30


class Note(Job, kind="note"):
    number: int = 0


class Low(Job, kind="low", policy=Policy(queue="low")):
    pass


async def test_they_are_what_the_inspector_tells(client, inspector, store):
    for number in range(3):
        await client.enqueue(Note(number=number))
    await client.enqueue(Note(), task_id="later", delay=timedelta(hours=1))
    await client.enqueue(Note(), task_id="gone", delay=timedelta(hours=1))
    await inspector.tasks.archive("default", "gone")
    await inspector.queues.pause("default")
    await store.heartbeat("default", server="s1", lease_ms=60_000, description=b'{"concurrency":7}')
    await client.enqueue(Low())

    found = (await read_figures(store)).queues
    told = {report.name: report for report in await inspector.queues.list()}

    assert sorted(found) == ["default", "low"]
    for name, queue in found.items():
        assert queue.tasks == {state: getattr(told[name], state.value) for state in TaskState}
    default = found["default"]
    assert (default.servers, default.concurrency) == (1, 7)
    assert default.paused_seconds is not None
    assert default.paused_seconds < 60
    assert 0 <= default.oldest_waiting_seconds < 60
    assert found["low"].paused_seconds is None


async def test_a_task_whose_server_is_gone_has_no_owner(client, store):
    await client.enqueue(Note())
    await client.enqueue(Note(number=1))
    for server in ("alive", "dead"):
        await store.connection.command(
            "XREADGROUP", "GROUP", GROUP, server, "COUNT", 1,
            "STREAMS", queue_keys("default").stream, ">",
        )  # fmt: skip
    await store.heartbeat("default", server="alive", lease_ms=60_000, description=b"{}")

    default = (await read_figures(store)).queues["default"]

    assert default.tasks[TaskState.ACTIVE] == 2
    assert default.unowned == 1
    assert default.oldest_waiting_seconds == 0


async def test_counts_are_added_up_over_kinds_and_junk_is_passed_over(store):
    keys = await store.register("default")
    await store.connection.command(
        "HSET", keys.totals, "a:processed", 3, "b:processed", 4, "b:failed", 1, "c:crashed", "x"
    )

    figures = await read_figures(store)
    assert figures.queues["default"].outcomes == {"processed": 7, "failed": 1}


async def test_a_queue_that_cannot_be_read_hides_no_other(store):
    await store.register("default")
    await store.register("odd")
    await store.connection.command("SET", queue_keys("odd").outbox, "text")

    figures = await read_figures(store)

    assert [*figures.queues] == ["default"]
    assert figures.unreadable == ["odd"]


@pytest.mark.parametrize("broker", ["valkey", "redis"])
async def test_twenty_queues_take_no_more_than_thirty_commands(broker, request):
    server = request.getfixturevalue(f"{broker}_server")
    server.flush()
    async with Store.open(server.settings()) as store:
        for number in range(20):
            await store.register(f"queue-{number}")
        await read_figures(store)
        with server.client() as raw, raw.monitor() as monitor:
            figures = await read_figures(store)
            await store.connection.command("ECHO", "the end")
            sent = []
            while "ECHO" not in (command := monitor.next_command())["command"]:
                sent.append(command)

    assert len(figures.queues) == 20
    assert all(isinstance(queue, QueueFigures) for queue in figures.queues.values())
    assert len([command for command in sent if command["client_type"] != "lua"]) <= MOST_COMMANDS
