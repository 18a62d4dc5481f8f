"""The timetable."""

from dataclasses import replace
from datetime import timedelta

import pytest

from duly.engine.inspection import shared_reading
from duly.engine.storage.reports import TickOutcome

ENTRY = "/monitoring/schedules/check-pending-orders"


async def test_an_overdue_schedule_asks_for_its_scheduler(client, connect, inspector):
    assert (
        "check that a scheduler is running" not in (await client.get("/monitoring/schedules")).text
    )

    real = await inspector.schedules.list()
    late = replace(real[0], next_slot=inspector.at - timedelta(minutes=4))

    async def schedules():
        return [late]

    inspector.schedules.list = schedules
    async with connect() as later:
        text = (await later.get("/monitoring/schedules")).text
    assert "check that a scheduler is running" in text


async def test_ticks_are_read_when_there_are_new_ones(client, inspector, monkeypatch):
    monkeypatch.setattr(shared_reading, "KEPT_SECONDS", 0.0)
    monkeypatch.setattr(shared_reading, "_SHARE", 0)
    (real,), asked, ticks = await inspector.schedules.list(), [], inspector.schedules.ticks

    async def note(entry, **options):
        asked.append(entry)
        return await ticks(entry, **options)

    async def later():
        return [replace(real, enqueued=real.enqueued + 1)]

    inspector.schedules.ticks = note
    for _ in range(3):
        await client.get("/monitoring/schedules")
    assert asked == [real.id]

    inspector.schedules.list = later
    assert "17,281" in (await client.get("/monitoring/schedules")).text
    assert asked == [real.id] * 2


async def test_an_entry_is_told_in_plain_english_with_its_policies(client, inspector):
    real = await inspector.schedules.list()
    cron = replace(
        real[0],
        interval=None,
        cron="0 9 * * mon-fri",
        timezone="Europe/Berlin",
        description="At 09:00 on Monday through Friday (Europe/Berlin)",
        overlap="queue_one",
        catch_up="one",
        caught_up=3,
        held=True,
    )

    async def schedules():
        return [cron]

    inspector.schedules.list = schedules
    page = (await client.get("/monitoring/schedules")).text

    assert "At 09:00 on Monday through Friday (Europe/Berlin)" in page
    assert "enqueue at most one" in page
    assert "run the newest" in page
    assert "Caught up" in page
    assert "paused in the timetable" in page
    (answer,) = (await client.get("/monitoring/api/v1/schedules")).json()["schedules"]
    assert (answer["interval_seconds"], answer["cron"]) == (None, "0 9 * * mon-fri")


@pytest.mark.parametrize(
    ("task_id", "words"),
    [
        ("0f1e2d3c4b5a6978", "failed"),
        ("no-such-task", "ended, not kept"),
    ],
)
async def test_the_task_of_the_last_tick_is_followed_up(client, inspector, task_id, words):
    (newest, *_) = await inspector.schedules.ticks("check-pending-orders")

    async def ticks(entry, *, limit, queue):
        skipped = replace(newest, outcome=TickOutcome.SKIPPED)
        return [skipped, replace(newest, task_id=task_id)]

    inspector.schedules.ticks = ticks
    page = (await client.get("/monitoring/schedules")).text

    assert f'/monitoring/tasks/default/{task_id}">{words}</a>' in page


@pytest.mark.parametrize("operation", ["trigger", "pause", "resume"])
async def test_an_entry_is_operated(client, inspector, operation):
    answer = await client.post(f"{ENTRY}/{operation}")

    assert inspector.noted == [(operation, "check-pending-orders")]
    assert answer.status_code == 303
    shown = await client.get(answer.headers["Location"])
    assert 'id="flash"' in shown.text
    (record,) = inspector.audited
    assert record.action == f"{operation}_schedule"


async def test_what_is_offered_is_for_those_who_may(connect, inspector):
    """The region is the same for all: what one may is said around it, and the handler asks too."""
    async with connect(read_only=True) as client:
        page = (await client.get("/monitoring/schedules")).text
        answer = await client.post(f"{ENTRY}/trigger")

    assert "may-trigger-schedules" not in page
    assert answer.status_code == 403
    assert inspector.noted == []
