"""The figures of all queues: as the inspector has them, in one call a queue."""

from datetime import timedelta

import pytest

from duly.engine.inspection.figures import QueueFigures, read_figures
from duly.engine.storage.keys import GROUP, KEY_NAMES, KEY_TYPES, queue_keys
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


async def test_what_is_due_and_left_is_told(client, store):
    await client.enqueue(Note(), delay=timedelta(hours=1))
    keys = queue_keys("default")
    ago = store.now_ms() - 90_000
    await store.connection.command("ZADD", keys.retry, ago, "since a minute and a half")
    await store.connection.command("ZADD", keys.groups, "-inf", "a:stranger")

    overdue = (await read_figures(store)).queues["default"].overdue_seconds

    assert overdue[TaskState.SCHEDULED] == 0
    assert 89 < overdue[TaskState.RETRY] < 600
    assert overdue[TaskState.AGGREGATING] > 10**9


async def test_strangers_in_place_of_groups_hide_no_figure(client, store):
    await client.enqueue(Note())
    await store.connection.command("SET", queue_keys("default").groups, "text")

    figures = await read_figures(store)

    assert figures.queues["default"].tasks[TaskState.WAITING] == 1
    assert figures.queues["default"].overdue_seconds[TaskState.AGGREGATING] == 0
    assert "groups" in figures.unreadable["default"]


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
    key = queue_keys("odd").outbox
    assert figures.unreadable == {
        "odd": f"queue odd cannot be read: key {key} is a string, not a stream: rename or delete it"
    }


@pytest.mark.parametrize("name", KEY_NAMES)
async def test_a_foreign_type_under_any_key_is_told(store, name):
    await store.register("odd")
    key = getattr(queue_keys("odd"), name)
    await store.connection.command("DEL", key)
    await store.connection.command("RPUSH", key, "not ours")

    found = (await read_figures(store)).unreadable["odd"]

    assert f"key {key} is a list, not a {KEY_TYPES[name]}: rename or delete it" in found


async def test_keys_of_one_kind_one_entry_and_one_hour_are_looked_at_too(store):
    keys, now_ms = await store.register("odd"), store.now_ms()
    command = store.connection.command
    await command("HSET", keys.limits, "a:running", 1)
    await command("HSET", keys.entries, "nightly", "{}")
    wrong = [
        *(keys.permits("a"), keys.parked("a"), keys.tick_history("nightly")),
        *(keys.hour(now_ms), keys.day(now_ms)),
    ]
    for key in wrong:
        await command("SET", key, "not ours")

    found = (await read_figures(store)).unreadable["odd"]

    assert [key for key in wrong if f"key {key} is a string" not in found] == []


async def test_what_a_foreign_key_does_not_touch_is_still_told(client, store):
    await client.enqueue(Note())
    await store.connection.command("SET", queue_keys("default").hour(store.now_ms()), "not ours")

    figures = await read_figures(store)

    assert figures.unreadable.keys() == {"default"}
    assert figures.queues["default"].tasks[TaskState.WAITING] == 1


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
