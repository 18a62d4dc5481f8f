"""Failures of many queues read at once: the same as list by list, by few commands."""

import pytest

from duly.engine.inspection.inspector import Inspector
from duly.engine.inspection.newest_failed import FAILED
from duly.engine.storage.keys import queue_keys
from duly.engine.storage.store import Store
from duly.errors import BrokerError

NOW_MS = 1_790_000_000_000
MESSAGE = '{"task_id":"%s","task_name":"%s","labels":{},"args":[],"kwargs":{"a":"%s"}}'
HISTORY = '{"number":3,"outcome":"failed","at":1790000000000,"error":"%s: x","traceback":""}'


async def fill(store, *, queues=12, tasks=9, size=0):
    """Archive and quarantine tasks, some without a message or without history."""
    for number in range(queues):
        keys = await store.register(f"queue-{number:02}")
        commands = []
        for task in range(tasks):
            name, kind = f"t-{number}-{task}", f"kind-{task % 3}"
            state = FAILED[task % 2]
            score = NOW_MS + 1_000 * task + number
            commands.append(("ZADD", getattr(keys, state.value), score, name))
            if task != 4:
                commands.append(("HSET", keys.records, name, MESSAGE % (name, kind, "x" * size)))
            if task != 5:
                error = ("Gone", "Lost")[number % 2]
                commands.append(("HSET", keys.history, name, HISTORY % error))
        await store.connection.many(commands)


def told(survey):
    assert {group.error for group in survey.groups} <= {"Gone: x", "Lost: x", ""}
    assert survey.scanned == 1 or len(survey.groups) > 5
    return sorted(survey.groups, key=lambda each: each.fingerprint), survey.scanned, survey.total


@pytest.mark.parametrize("window", [10_000, 50, 1])
@pytest.mark.parametrize("size", [0, 200_000], ids=["small", "large"])
async def test_a_survey_is_the_same_with_and_without_scripts(inspector, store, window, size):
    await fill(store, size=size)
    plain = await inspector.failures.survey(window=window)

    await inspector.overview.read()
    assert inspector.overview.reads_at_once
    at_once = await inspector.failures.survey(window=window)

    assert told(at_once) == told(plain)
    assert at_once.scanned == min(window, 12 * 9)


async def test_a_queue_that_cannot_be_read_is_told(inspector, store):
    await fill(store)
    await inspector.overview.read()
    sizes = await inspector.tasks.sizes((), FAILED)
    await store.connection.command("DEL", queue_keys("queue-03").records)
    await store.connection.command("SET", queue_keys("queue-03").records, "text")

    found = await inspector.failures.survey(sizes=sizes)

    assert "queue-03" in "".join(found.unreadable)
    assert found.scanned == 11 * 9
    assert "queue-03" not in {name for group in found.groups for name in group.queues}


async def test_a_right_that_was_taken_away_hides_nothing(inspector, store, monkeypatch):
    await fill(store)
    await inspector.overview.read()
    sizes = await inspector.tasks.sizes((), FAILED)

    async def refuse(_):
        raise BrokerError("NOPERM this user has no permissions to run the 'evalsha' command")

    monkeypatch.setattr(inspector.tasks._known.store, "run", refuse)

    assert (await inspector.failures.survey(sizes=sizes)).scanned == 12 * 9


@pytest.mark.parametrize("broker", ["valkey", "redis"])
async def test_many_queues_take_few_commands(broker, request, commands_of):
    server = request.getfixturevalue(f"{broker}_server")
    server.flush()
    async with Store.open(server.settings()) as store:
        inspector = Inspector(store)
        await fill(store, queues=100, tasks=30)
        await inspector.overview.read()
        sizes = await inspector.tasks.sizes((), FAILED)
        await inspector.failures.survey(sizes=sizes)
        async with commands_of(server, store) as sent:
            found = await inspector.failures.survey(sizes=sizes)

    assert found.scanned == 3_000
    assert len(sent) <= 6
