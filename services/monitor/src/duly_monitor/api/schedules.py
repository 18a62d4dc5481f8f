"""Schedules as JSON."""

from dataclasses import replace

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from duly.engine.inspection.inspector import Inspector
from duly.engine.storage.reports import EntryReport
from duly.errors import NotFoundError
from duly_monitor.api.described import described, reply
from duly_monitor.api.models import Answer, EntryAnswer, EntryListAnswer, TickAnswer, TickListAnswer
from duly_monitor.bounds import EntryPath, LimitQuery, addressed, asked
from duly_monitor.reads import read_all


class EntryReceiptAnswer(Answer):
    """What was done to an entry."""

    operation: str
    entry: str
    task_id: str | None = Field(None, description="of the task that was enqueued")


class ScheduleApi:
    """Answers for `/api/v1/schedules…`."""

    def __init__(self, inspector: Inspector) -> None:
        self._inspector = inspector

    @described("List the entries of the timetable", EntryListAnswer)
    async def schedules(self, _request: Request) -> Response:
        """Return every entry."""
        entries = (await self._inspector.overview.recent()).entries
        whole = await read_all([self._with_last(entry) for entry in entries])
        return reply(EntryListAnswer(schedules=[EntryAnswer.of(entry) for entry in whole]))

    async def _with_last(self, entry: EntryReport) -> EntryReport:
        """Return an entry with its last tick."""
        try:
            ticks = await self._inspector.schedules.ticks(entry.id, limit=1, queue=entry.queue)
        except NotFoundError:  # removed since the list was read
            return entry
        return replace(entry, last=ticks[0] if ticks else None)

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
        ticks = await self._inspector.schedules.ticks(entry, limit=query.limit)
        return reply(TickListAnswer(ticks=[TickAnswer.of(tick) for tick in ticks]))

    @described("Enqueue an entry's task now", EntryReceiptAnswer, path=EntryPath, errors=(404, 409))
    async def trigger(self, request: Request) -> Response:
        """Enqueue the task beside the ticks."""
        entry = addressed(EntryPath, request).entry
        task_id = await self._inspector.schedules.trigger(entry)
        return reply(EntryReceiptAnswer(operation="trigger", entry=entry, task_id=task_id))

    @described("Pause an entry", EntryReceiptAnswer, path=EntryPath, errors=(404,))
    async def pause(self, request: Request) -> Response:
        """Let ticks pass without a task."""
        entry = addressed(EntryPath, request).entry
        await self._inspector.schedules.pause(entry)
        return reply(EntryReceiptAnswer(operation="pause", entry=entry))

    @described("Resume an entry", EntryReceiptAnswer, path=EntryPath, errors=(404,))
    async def resume(self, request: Request) -> Response:
        """Undo `pause`."""
        entry = addressed(EntryPath, request).entry
        await self._inspector.schedules.resume(entry)
        return reply(EntryReceiptAnswer(operation="resume", entry=entry))
