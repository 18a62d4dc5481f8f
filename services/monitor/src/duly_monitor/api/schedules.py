"""Schedules as JSON."""

from starlette.requests import Request
from starlette.responses import Response

from duly.engine.inspector import Inspector
from duly_monitor.api.described import described, reply
from duly_monitor.api.models import EntryAnswer, EntryListAnswer, TickAnswer, TickListAnswer
from duly_monitor.bounds import EntryPath, LimitQuery, addressed, asked


class ScheduleApi:
    """Answers for `/api/v1/schedules…`."""

    def __init__(self, inspector: Inspector) -> None:
        self._inspector = inspector

    @described("List the timetable", EntryListAnswer)
    async def schedules(self, _request: Request) -> Response:
        """Return every entry."""
        entries = await self._inspector.schedules()
        return reply(EntryListAnswer(schedules=[EntryAnswer.of(entry) for entry in entries]))

    @described(
        "List the newest ticks of an entry",
        TickListAnswer,
        path=EntryPath,
        query=LimitQuery,
        errors=(400, 404),
    )
    async def ticks(self, request: Request) -> Response:
        """Return recorded ticks, newest first."""
        entry, query = addressed(EntryPath, request).entry, asked(LimitQuery, request)
        ticks = await self._inspector.ticks(entry, limit=query.limit)
        return reply(TickListAnswer(ticks=[TickAnswer.of(tick) for tick in ticks]))
