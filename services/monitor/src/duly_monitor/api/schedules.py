"""Schedules as JSON."""

from dataclasses import replace
from datetime import datetime
from typing import Final, Self

from pydantic import Field
from starlette.requests import Request

from duly.clock import to_unix_ms
from duly.engine.inspection.inspector import Inspector
from duly.engine.storage.reports import EntryReport, TickOutcome, TickReport
from duly.errors import NotFoundError
from duly_monitor.api.described import described
from duly_monitor.api.models import NEXT, Answer, Receipt
from duly_monitor.api.paging import Key, part_of
from duly_monitor.api.tables import Table
from duly_monitor.audit import act_of
from duly_monitor.bounds import EntryPath, PartQuery, TicksQuery, addressed, asked
from duly_monitor.reads import read_all

_COLUMNS = (
    *("id", "kind", "queue", "description", "interval_seconds", "cron", "timezone", "overlap"),
    *("catch_up", "next_slot", "last_slot", "last_outcome", "enqueued", "skipped", "missed"),
    *("caught_up", "triggered", "paused_since", "held"),
)
_KEPT: Final = 1_000
"""Ticks of an entry that there are at most."""


class TickAnswer(Answer):
    """One recorded tick."""

    entry: str
    slot: datetime
    outcome: TickOutcome
    task_id: str
    at: datetime

    @classmethod
    def of(cls, report: TickReport) -> Self:
        """Return the answer for a report."""
        return cls.model_validate(report)


class TickListAnswer(Answer):
    """The newest ticks of an entry, newest first."""

    ticks: list[TickAnswer]
    next_cursor: str | None = Field(description=NEXT)


class EntryAnswer(Answer):
    """One entry of the timetable."""

    id: str
    kind: str
    queue: str
    description: str = Field(description="when it is due, in plain English")
    interval_seconds: float | None = Field(description="null: the entry uses cron")
    cron: str | None
    timezone: str = Field(description="time zone of cron")
    overlap: str = Field(description="skip, queue_one or allow")
    catch_up: str = Field(description="skip, one or all")
    next_slot: datetime = Field(description="the first slot that is not claimed yet")
    next_slots: list[datetime] = Field(description="the next five slots")
    last: TickAnswer | None
    enqueued: int
    skipped: int
    missed: int
    caught_up: int
    triggered: int
    paused_since: datetime | None = Field(
        description="when an operator paused it; null: not paused"
    )
    held: bool = Field(description="paused in the timetable itself")

    @property
    def last_slot(self) -> datetime | None:
        """The slot of the newest tick, for tables."""
        return self.last.slot if self.last else None

    @property
    def last_outcome(self) -> str:
        """What became of it."""
        return self.last.outcome.value if self.last else ""

    @classmethod
    def of(cls, report: EntryReport) -> Self:
        """Return the answer for a report."""
        every = report.interval
        facts = {name: getattr(report, name) for name in cls.model_fields if hasattr(report, name)}
        return cls(
            **facts
            | {
                "interval_seconds": None if every is None else every.total_seconds(),
                "last": None if report.last is None else TickAnswer.of(report.last),
                "next_slots": list(report.next_slots),
            }
        )


class EntryListAnswer(Answer):
    """The timetable, by id."""

    schedules: list[EntryAnswer]
    next_cursor: str | None = Field(description=NEXT)


class EntryReceiptAnswer(Receipt):
    """What was done to an entry."""

    entry: str
    task_id: str | None = Field(None, description="of the task that was enqueued")


class ScheduleApi:
    """Answers for `/api/v1/schedules…`."""

    def __init__(self, inspector: Inspector) -> None:
        self._inspector = inspector

    @described(
        "List the entries of the timetable",
        EntryListAnswer,
        query=PartQuery,
        table=Table("schedules", "schedules", _COLUMNS),
    )
    async def schedules(self, request: Request) -> Answer:
        """Return a page of the entries."""
        query, entries = (
            asked(PartQuery, request),
            (await self._inspector.overview.recent()).entries,
        )
        part = part_of(entries, query, lambda entry: (entry.id, entry.queue))
        whole = await read_all([self._with_last(entry) for entry in part.items])
        schedules = [EntryAnswer.of(entry) for entry in whole]
        return EntryListAnswer(schedules=schedules, next_cursor=part.next_cursor)

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
        query=TicksQuery,
        errors=(400, 404),
        table=Table("ticks", "ticks", ("entry", "slot", "outcome", "task_id", "at")),
    )
    async def ticks(self, request: Request) -> Answer:
        """Return a page of the recorded ticks, newest first."""
        entry, query = addressed(EntryPath, request).entry, asked(TicksQuery, request)
        looked_at = _KEPT if query.cursor else min(query.limit + 1, _KEPT)
        ticks = await self._inspector.schedules.ticks(entry, limit=looked_at)
        part = part_of(ticks, query, _order)
        answers = [TickAnswer.of(tick) for tick in part.items]
        return TickListAnswer(ticks=answers, next_cursor=part.next_cursor)

    @described("Enqueue an entry's task now", EntryReceiptAnswer, path=EntryPath, errors=(404, 409))
    async def trigger(self, request: Request) -> Answer:
        """Enqueue the task beside the ticks."""
        entry = addressed(EntryPath, request).entry
        task_id = await self._inspector.schedules.trigger(entry)
        act_of(request).detail = f"task {task_id}"
        return EntryReceiptAnswer(operation="trigger", entry=entry, task_id=task_id)

    @described("Pause an entry", EntryReceiptAnswer, path=EntryPath, errors=(404,))
    async def pause(self, request: Request) -> Answer:
        """Let ticks pass without a task."""
        entry = addressed(EntryPath, request).entry
        await self._inspector.schedules.pause(entry)
        return EntryReceiptAnswer(operation="pause", entry=entry)

    @described("Resume an entry", EntryReceiptAnswer, path=EntryPath, errors=(404,))
    async def resume(self, request: Request) -> Answer:
        """Undo `pause`."""
        entry = addressed(EntryPath, request).entry
        await self._inspector.schedules.resume(entry)
        return EntryReceiptAnswer(operation="resume", entry=entry)


def _order(tick: TickReport) -> Key:
    return -to_unix_ms(tick.at), -to_unix_ms(tick.slot), tick.outcome.value, tick.task_id
