"""Looking at queues: it writes nothing, is bounded in bytes, and one bad queue hides no other."""

import tracemalloc
from datetime import timedelta

import pytest

from duly.engine.inspection import budget
from duly.engine.inspection.inspector import Inspector
from duly.engine.inspection.known_queues import UnreadableQueueError
from duly.engine.inspection.search import Query
from duly.engine.storage.keys import KEY_TYPES, QueueKeys, queue_keys
from duly.errors import BrokerError, NotFoundError
from duly.job import Job, Policy
from duly.task import TaskState

READ_ONLY = ("~*", "&*", "+@read", "+@connection")
MIB = 1024 * 1024


class Note(Job, kind="note"):
    text: str = ""


class Low(Job, kind="low", policy=Policy(queue="low")):
    pass


@pytest.fixture
async def looker(valkey_server, broker_settings):
    """An inspector whose user has only read commands."""
    with valkey_server.client() as raw:
        raw.execute_command("ACL", "SETUSER", "looker", "on", ">pw", *READ_ONLY)
    settings = broker_settings.model_copy(update={"username": "looker", "password": "pw"})
    settings = type(settings).model_validate(settings.model_dump())
    try:
        async with Inspector.connect(settings) as inspector:
            yield inspector
    finally:
        with valkey_server.client() as raw:
            raw.execute_command("ACL", "DELUSER", "looker")


@pytest.fixture
async def filled(client, inspector, store):
    """A queue with tasks in several states, and another one."""
    for state in ("waiting", "archived", "scheduled"):
        delay = timedelta(hours=1) if state == "scheduled" else None
        await client.enqueue(Note(), task_id=state, delay=delay)
    await inspector.tasks.archive("default", "archived")
    await client.enqueue(Low())
    await store.register("low")


def dump(raw):
    return {key: raw.dump(key) for key in sorted(raw.keys("*"))}


async def everything(inspector):
    """Read whatever can be read."""
    for queue in await inspector.queues.list():
        assert queue.error == ""
        await inspector.queues.get(queue.name)
        assert (await inspector.queues.memory(queue.name) or 0) > 0
        await inspector.queues.minutes(queue.name)
        await inspector.queues.days(queue.name)
        for state in TaskState:
            await inspector.tasks.list(queue.name, state)
        await inspector.groups.list(queue.name)
        await inspector.joins.list(queue.name)
        await inspector.locks.list(queue.name)
    for task_id in ("waiting", "archived", "scheduled"):
        assert (await inspector.tasks.find(task_id)).state == task_id
    assert len((await inspector.tasks.search(Query(kind="note"))).tasks) == 3
    assert (await inspector.failures.survey()).scanned == 1
    assert len((await inspector.bulk.plan("run", Query())).tasks) == 2
    await inspector.servers.list()
    await inspector.schedules.list()
    await inspector.brokers.list()
    await inspector.ping()


async def test_a_user_with_read_commands_only_sees_everything(looker, filled):
    await everything(looker)

    with pytest.raises(BrokerError):
        await looker.queues.pause("default")


async def test_looking_changes_nothing(inspector, filled, valkey_server):
    with valkey_server.client() as raw:
        raw.sadd("duly:queues", "never-used")  # known, and without a stream
        before = dump(raw)

    await everything_of_an_empty_queue(inspector)

    with valkey_server.client() as raw:
        assert dump(raw) == before


async def everything_of_an_empty_queue(inspector):
    assert (await inspector.queues.get("never-used")).held == 0
    for state in TaskState:
        assert (await inspector.tasks.list("never-used", state)).tasks == ()
    with pytest.raises(NotFoundError):
        await inspector.tasks.get("never-used", "x")
    await inspector.queues.list()
    await inspector.failures.survey()


@pytest.mark.parametrize("newest", [True, False])
@pytest.mark.parametrize("state", list(TaskState))
@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "-",
        "1-",
        "18446744073709551616-0",
        "0-18446744073709551616",
        "0-0",
        "18446744073709551615-18446744073709551615",
        "٣-٤",
        "٣:x",
        "²-1",
        "²:x",
        "1:",
        "1-1\n",
        "9" * 40 + "-0",
        "9" * 40 + ":x",
        "1-1 2",
        "(1-1",
        "nan:x",
    ],
)
async def test_what_is_no_cursor_is_refused(inspector, filled, state, cursor, newest):
    with pytest.raises(ValueError, match="not a cursor"):
        await inspector.tasks.list("default", state, cursor=cursor, newest=newest)


@pytest.mark.parametrize("cursor", ["٣" * 13 + ":x", "²" * 13 + ":x", "", "1:x", "1-1"])
async def test_what_is_no_cursor_of_a_group_is_refused(inspector, filled, cursor):
    with pytest.raises(ValueError, match="not a cursor"):
        await inspector.groups.tasks("default", "note", "x", cursor=cursor)


READ = (
    "aggregating archived completed entries history index leases pause_note paused "
    "quarantined records retry scheduled servers stream ticks totals"
)
"""The keys that a report of a queue stands on."""


def test_the_type_of_every_key_is_known():
    assert set(KEY_TYPES) == set(QueueKeys.__slots__) - {"name", "prefix", "control"}


@pytest.mark.parametrize("name", READ.split())
async def test_a_key_of_a_wrong_type_fails_its_queue_and_says_which(inspector, filled, store, name):
    key = getattr(queue_keys("low"), name)
    await store.connection.command("DEL", key)
    wrong = ("SADD", key, "x") if name in {"paused", "pause_note"} else ("SET", key, "oops")
    await store.connection.command(*wrong)

    good, bad = await inspector.queues.list()

    assert (good.name, good.error, good.waiting) == ("default", "", 1)
    assert bad.name == "low"
    assert f"key {key} is a " in bad.error
    assert "rename or delete it" in bad.error
    with pytest.raises(UnreadableQueueError, match="cannot be read"):
        await inspector.queues.get("low")
    assert (await inspector.tasks.find("waiting")).queue == "default"
    assert {task.id for task in (await inspector.tasks.search(Query(kind="note"))).tasks} == {
        "waiting", "archived", "scheduled",
    }  # fmt: skip
    assert await inspector.servers.list() == []
    assert await inspector.schedules.list() == []
    assert (await inspector.failures.survey()).total == 1


async def test_a_search_says_which_queue_it_passed_over(inspector, filled, store):
    keys = queue_keys("low")
    await store.connection.command("DEL", keys.archived)
    await store.connection.command("SET", keys.archived, "oops")

    found = await inspector.tasks.search(Query())
    surveyed = await inspector.failures.survey()
    planned = await inspector.bulk.plan("run", Query())

    assert not found.complete
    assert not planned.complete
    for unreadable in (found.unreadable, surveyed.unreadable, planned.unreadable):
        assert keys.archived in unreadable[0]
    with pytest.raises(UnreadableQueueError):
        await inspector.tasks.search(Query(queues=("low",)))


@pytest.mark.parametrize(
    ("key", "command"),
    [
        ("totals", ("HSET", "note:processed", "many")),
        ("archived", ("ZADD", "inf", "x")),
        ("archived", ("ZADD", "-5", "x")),
        ("leases", ("ZADD", "inf", "x")),
        ("servers", ("HSET", "x", "{")),
        ("entries", ("HSET", "x", "{")),
        ("ticks", ("HSET", "x:enqueued", "many")),
        ("paused", ("SET", "yesterday")),
        ("pause_note", ("SET", "{")),
        ("index", ("HSET", "x", "waiting")),
    ],
)
async def test_malformed_content_fails_its_queue_at_most(inspector, filled, store, key, command):
    word, *rest = command
    await store.connection.command(word, getattr(queue_keys("low"), key), *rest)

    reports = await inspector.queues.list()

    assert [report.name for report in reports] == ["default", "low"]
    assert reports[0].error == ""
    await inspector.servers.list()
    await inspector.schedules.list()
    for state in TaskState:
        page = await inspector.tasks.list("low", state)
        if page.next_cursor:
            await inspector.tasks.list("low", state, cursor=page.next_cursor)
    with pytest.raises(NotFoundError):
        await inspector.tasks.get("low", "x" if key == "index" else "y")


@pytest.mark.parametrize("junk", ["", "UPPER", "a b", "x" * 65, "low\n", "{low}", b"\xff\xfe"])
async def test_a_junk_name_among_the_queues_is_no_queue(inspector, filled, store, junk):
    await store.connection.command("SADD", "duly:queues", junk)

    assert [report.name for report in await inspector.queues.list()] == ["default", "low"]
    if isinstance(junk, str):
        with pytest.raises(NotFoundError):
            await inspector.queues.get(junk)


async def large(store, state, count, size):
    """Put tasks with large histories into a state."""
    keys = queue_keys("default")
    data = b'{"task_id":"%d","task_name":"note","labels":{},"args":[],"kwargs":{}}'
    line = b'{"number":1,"outcome":"failed","at":1764000000000,"error":"E: x","traceback":"%s"}' % (
        b"x" * size
    )
    for start in range(0, count, 100):
        numbers = range(start, min(start + 100, count))
        await store.connection.many(
            [
                ("ZADD", getattr(keys, state), 1764000000000 + number, str(number))
                for number in numbers
            ]
            + [("HSET", keys.index, str(number), state) for number in numbers]
            + [("HSET", keys.records, str(number), data % number) for number in numbers]
            + [("HSET", keys.history, str(number), line) for number in numbers]
        )


@pytest.mark.parametrize("state", ["archived", "retry", "completed", "quarantined"])
@pytest.mark.parametrize("newest", [True, False])
async def test_pages_of_large_tasks_hold_fewer_and_leave_none_out(
    client, inspector, store, state, newest
):
    await store.register("default")
    await large(store, state, 200, 39_000)

    seen, cursor, pages = [], None, 0
    while True:
        page = await inspector.tasks.list(
            "default", TaskState(state), limit=500, cursor=cursor, newest=newest
        )
        size = sum(len(task.history[0].traceback) for task in page.tasks)
        assert size < 3 * budget.PAGE_BYTES
        seen += [task.id for task in page.tasks]
        pages, cursor = pages + 1, page.next_cursor
        if cursor is None:
            break

    expected = [str(number) for number in range(200)]
    assert seen == (expected[::-1] if newest else expected)
    assert pages > 3


@pytest.mark.parametrize("newest", [True, False])
async def test_pages_of_large_waiting_tasks_hold_fewer_and_leave_none_out(
    client, inspector, newest
):
    tasks = await client.enqueue_many([Note(text=f"{n:03}" + "x" * 100_000) for n in range(60)])

    seen, cursor, pages = [], None, 0
    while True:
        page = await inspector.tasks.list(
            "default", TaskState.WAITING, limit=500, cursor=cursor, newest=newest
        )
        assert len(page.tasks) <= 2 * budget.PAGE_BYTES // 100_000 + 5
        seen += [task.id for task in page.tasks]
        pages, cursor = pages + 1, page.next_cursor
        if cursor is None:
            break

    expected = [task.id for task in tasks]
    assert seen == (expected[::-1] if newest else expected)
    assert pages > 1


async def test_a_page_of_small_tasks_is_full(client, inspector):
    await client.enqueue_many([Note() for _ in range(700)])

    page = await inspector.tasks.list("default", TaskState.WAITING, limit=600)

    assert len(page.tasks) == 600
    assert page.next_cursor


async def test_a_survey_keeps_no_more_than_its_groups_need(inspector, store):
    await store.register("default")
    await large(store, "archived", 1_000, 39_000)

    tracemalloc.start()
    try:
        surveyed = await inspector.failures.survey()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert (surveyed.scanned, surveyed.groups[0].count) == (1_000, 1_000)
    assert peak < 12 * MIB


async def test_a_plan_of_large_tasks_is_small(inspector, store):
    await store.register("default")
    await large(store, "archived", 1_000, 39_000)

    tracemalloc.start()
    try:
        planned = await inspector.bulk.plan("run", Query())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(planned.tasks) == 1_000
    assert peak < 12 * MIB


async def test_a_search_ends_once_it_has_found_enough_bytes(inspector, store, monkeypatch):
    monkeypatch.setattr("duly.engine.inspection.tasks.FOUND_BYTES", MIB)
    await store.register("default")
    await large(store, "archived", 100, 39_000)

    found = await inspector.tasks.search(Query(), limit=100)

    assert not found.complete
    assert MIB / 39_000 < len(found.tasks) < 2 * MIB / 39_000


async def test_a_name_that_is_no_text_is_not_found(inspector, filled):
    odd = "\udce9"

    for call in (
        inspector.tasks.find(odd),
        inspector.tasks.get("default", odd),
        inspector.tasks.run("default", odd),
        inspector.tasks.rerun("default", odd),
        inspector.tasks.edit("default", odd, {}),
        inspector.tasks.archive("default", odd),
        inspector.tasks.delete("default", odd),
        inspector.tasks.cancel("default", odd),
        inspector.queues.get(odd),
        inspector.schedules.trigger(odd),
        inspector.servers.stop(odd),
        inspector.joins.cancel("default", odd),
        inspector.groups.get("default", "note", odd),
    ):
        with pytest.raises(NotFoundError):
            await call
