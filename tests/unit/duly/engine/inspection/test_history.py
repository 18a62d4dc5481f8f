"""Charts of days and months: what is over is read once."""

from datetime import UTC, datetime, timedelta

import pytest

from duly.clock import to_unix_ms
from duly.engine.inspection.history import Course
from duly.engine.storage.keys import queue_keys
from duly.engine.storage.reports import MinuteReport, QueueReport
from duly.job import Job

NOW = datetime(2026, 11, 25, 3, 34, 17, tzinfo=UTC)
TEN = timedelta(minutes=10)


class Note(Job, kind="note"):
    pass


@pytest.fixture
async def past(client, inspector, store, monkeypatch):
    """`past(queue, {age: (processed, failed)})` writes down what a queue did."""
    clock = Now(NOW)
    monkeypatch.setattr(inspector._store, "now_ms", clock)
    await client.enqueue(Note())
    await client.enqueue(Note(), queue="low")

    async def write(queue, counts):
        keys = queue_keys(queue)
        for age, (processed, failed) in counts.items():
            at = to_unix_ms(clock.at - age)
            minute = at // 60_000 % 60
            for outcome, count in (("processed", processed), ("failed", failed)):
                name = f"{minute}:note:{outcome}"
                await store.connection.command("HINCRBY", keys.hour(at), name, count)
                await store.connection.command("HINCRBY", keys.day(at), f"note:{outcome}", count)

    write.clock = clock
    return write


class Now:
    """A clock of the broker that can be put forward."""

    def __init__(self, at):
        self.at = at

    def __call__(self):
        return to_unix_ms(self.at)


@pytest.fixture
def sent(inspector, monkeypatch):
    """The commands that were sent."""
    connection = inspector._store.connection
    found, many, command = [], connection.many, connection.command

    async def note_many(commands):
        found.extend(commands)
        return await many(commands)

    async def note(*words):
        found.append(words)
        return await command(*words)

    monkeypatch.setattr(connection, "many", note_many)
    monkeypatch.setattr(connection, "command", note)
    return found


async def test_points_hold_what_was_done_in_whole_steps(inspector, past):
    await past("default", {
        timedelta(0): (100, 0),  # its ten minutes are not over
        timedelta(minutes=5): (4, 1),
        timedelta(minutes=14): (3, 0),
        timedelta(hours=23, minutes=59): (2, 2),
        timedelta(hours=24, minutes=5): (50, 0),
    })  # fmt: skip
    await past("low", {timedelta(minutes=6): (1, 0)})

    course = await inspector.history.hours(["default", "low"], hours=24, step=TEN)

    assert len(course.points) == 144
    assert course.points[-1] == MinuteReport(
        at=datetime(2026, 11, 25, 3, 20, tzinfo=UTC), processed=8, failed=1
    )
    assert course.points[0] == MinuteReport(
        at=datetime(2026, 11, 24, 3, 30, tzinfo=UTC), processed=2, failed=2
    )
    assert course.sums == {"default": (109, 3), "low": (1, 0)}, "what is under way counts in sums"


async def test_what_is_over_is_read_once(inspector, past, sent):
    await past("default", {timedelta(hours=30): (7, 0), timedelta(minutes=20): (5, 0)})
    half = timedelta(minutes=30)
    first = await inspector.history.hours(["default"], hours=72, step=half)
    sent.clear()
    await past("default", {timedelta(hours=0): (9, 0)})
    past.clock.at += timedelta(minutes=27)
    sent.clear()

    again = await inspector.history.hours(["default"], hours=72, step=half)

    assert len(first.points) == len(again.points) == 144
    assert (first.sums, again.sums) == ({"default": (12, 0)}, {"default": (21, 0)})
    assert [words[0] for words in sent] == ["SISMEMBER", "HGETALL", "HGETALL"]
    past.clock.at += timedelta(minutes=2)
    await inspector.history.hours(["default"], hours=72, step=half)
    sent.clear()
    await inspector.history.hours(["default"], hours=72, step=half)
    assert [words[0] for words in sent] == ["SISMEMBER", "HGETALL"]


async def test_what_is_known_of_now_is_not_read(inspector, past, sent):
    await past("default", {timedelta(hours=5): (7, 0)})
    queues = ["default", "low", "broken"]
    start = NOW.replace(second=0) - timedelta(minutes=60)
    done = [
        MinuteReport(at=start + timedelta(minutes=number), processed=1, failed=0)
        for number in range(61)
    ]
    minutes = {"default": done, "low": done, "broken": ()}
    reports = [
        QueueReport(name="default", processed_today=5),
        QueueReport(name="low", failed_today=1),
        QueueReport(name="broken", error="no"),
    ]

    course = await inspector.history.hours(queues, hours=24, step=TEN, minutes=minutes)
    days = await inspector.history.days(queues, reports=reports)
    sent.clear()
    again = await inspector.history.hours(queues, hours=24, step=TEN, minutes=minutes)
    days_again = await inspector.history.days(queues, reports=reports)

    assert course == again
    assert course.sums == {"default": (7 + 35, 0), "low": (35, 0)}
    assert days == days_again
    assert days.sums == {"default": (7 + 5, 0), "low": (0, 1)}
    assert len(days.points) == 90
    assert sent == []


async def test_days_go_back_three_months(inspector, past):
    await past("default", {timedelta(0): (1, 1), timedelta(days=89): (2, 0)})

    course = await inspector.history.days(["default"])

    assert course.points[0].processed == 2
    assert (course.points[-1].processed, course.points[-1].failed) == (1, 1)


async def test_a_queue_of_the_same_name_begins_anew(inspector, past):
    await past("default", {timedelta(hours=3): (5, 0)})
    before = await inspector.history.hours(["default"], hours=24, step=TEN)
    await inspector.queues.remove("default", force=True)

    inspector.history.forget("default")

    assert before.sums == {"default": (5, 0)}
    assert await inspector.history.hours(["default"], hours=24, step=TEN) == Course()


async def test_a_queue_that_cannot_be_read_hides_no_other(inspector, past, store):
    await store.connection.command("SET", queue_keys("low").hour(to_unix_ms(NOW)), "text")

    course = await inspector.history.hours(["default", "low"], hours=24, step=TEN)

    assert course.sums == {"default": (0, 0)}
    assert len(course.points) == 144
