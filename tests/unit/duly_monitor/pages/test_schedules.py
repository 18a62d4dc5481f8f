"""The timetable."""

from dataclasses import replace
from datetime import timedelta


async def test_an_overdue_schedule_asks_for_its_scheduler(client, inspector):
    assert "does a scheduler run?" not in (await client.get("/monitoring/schedules")).text

    real = await inspector.schedules()
    late = replace(real[0], next_slot=inspector.at - timedelta(minutes=4))

    async def schedules():
        return [late]

    inspector.schedules = schedules
    assert "does a scheduler run?" in (await client.get("/monitoring/schedules")).text


async def test_an_entry_is_told_in_plain_english_with_its_policies(client, inspector):
    real = await inspector.schedules()
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

    inspector.schedules = schedules
    page = (await client.get("/monitoring/schedules")).text

    assert "At 09:00 on Monday through Friday (Europe/Berlin)" in page
    assert "one more may wait" in page
    assert "the newest is made up for" in page
    assert "Caught up" in page
    assert "paused by the timetable" in page
    (answer,) = (await client.get("/monitoring/api/v1/schedules")).json()["schedules"]
    assert (answer["interval_seconds"], answer["cron"]) == (None, "0 9 * * mon-fri")
