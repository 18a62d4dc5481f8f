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
