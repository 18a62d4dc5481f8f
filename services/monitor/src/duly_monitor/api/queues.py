"""Queues as JSON."""

from datetime import datetime
from typing import Self

from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.requests import Request

from duly.clock import Clock
from duly.engine.inspection import health
from duly.engine.inspection.health import Health, Level
from duly.engine.inspection.inspector import Inspector
from duly.engine.inspection.removal import QueueInUseError
from duly.engine.storage.reports import MinuteReport, QueueReport
from duly_monitor.api.described import described, read_body
from duly_monitor.api.models import NEXT, Answer, Body, ReasonedBody, ReceiptAnswer
from duly_monitor.api.paging import part_of
from duly_monitor.api.tables import Table
from duly_monitor.audit import act_of
from duly_monitor.bounds import MinutesQuery, PartQuery, QueuePath, addressed, asked
from duly_monitor.permissions import identity_of

_COLUMNS = (
    *("name", "health", "summary", "waiting", "active", "scheduled", "retry", "archived"),
    *("completed", "quarantined", "aggregating", "processed", "failed", "crashed"),
    *("processed_per_minute", "failed_per_minute", "oldest_waiting_seconds", "servers"),
    *("concurrency", "paused_since", "paused_by", "pause_reason", "archive_dropped", "error"),
)


class QueueAnswer(Answer):
    """One queue."""

    name: str
    health: Level
    summary: str = Field(description="the health of the queue in one sentence")
    waiting: int
    active: int
    scheduled: int
    retry: int
    archived: int
    completed: int
    quarantined: int
    aggregating: int = Field(description="tasks that wait in groups to be merged")
    processed: int = Field(description="attempts that ended, failures included")
    failed: int
    crashed: int
    processed_per_minute: int
    failed_per_minute: int
    oldest_waiting_seconds: float | None
    servers: int
    concurrency: int
    paused_since: datetime | None
    paused_by: str = Field(description="who paused it; empty: not paused, or not known")
    pause_reason: str = Field(description="why, in that person's words")
    archive_dropped: int
    error: str = Field(description="why the queue cannot be read; empty: it can")

    @classmethod
    def of(cls, report: QueueReport, health: Health) -> Self:
        """Return the answer for a report."""
        age = report.oldest_waiting
        counts = {name: getattr(report, name) for name in cls.model_fields if hasattr(report, name)}
        return cls(
            health=health.level,
            summary=health.sentence,
            oldest_waiting_seconds=None if age is None else age.total_seconds(),
            **counts,
        )


class QueueListAnswer(Answer):
    """The queues, by name."""

    queues: list[QueueAnswer]
    next_cursor: str | None = Field(description=NEXT)


class MinuteAnswer(Answer):
    """One minute of one queue."""

    at: datetime
    processed: int
    failed: int

    @classmethod
    def of(cls, report: MinuteReport) -> Self:
        """Return the answer for a report."""
        return cls.model_validate(report)


class MinuteListAnswer(Answer):
    """The throughput of a queue, minute by minute, oldest first."""

    minutes: list[MinuteAnswer]


class NewPause(Body):
    """Why a queue is paused."""

    reason: str = Field("", max_length=500, description="shown with the queue, and in the audit")


class NewRemoval(ReasonedBody):
    """How a queue is removed."""

    force: bool = Field(default=False, description="with all tasks that it holds; false: if empty")


class QueueApi:
    """Answers for `/api/v1/queues…`."""

    def __init__(self, inspector: Inspector, clock: Clock) -> None:
        self._inspector, self._clock = inspector, clock

    @described(
        "List the queues",
        QueueListAnswer,
        query=PartQuery,
        table=Table("queues", "queues", _COLUMNS),
    )
    async def queues(self, request: Request) -> Answer:
        """Return a page of the queues."""
        query, recent = asked(PartQuery, request), await self._inspector.overview.recent()
        part = part_of(recent.queues, query, lambda report: (report.name,))
        queues = [self._answer(report) for report in part.items]
        return QueueListAnswer(queues=queues, next_cursor=part.next_cursor)

    @described("Show one queue", QueueAnswer, path=QueuePath, errors=(404,))
    async def queue(self, request: Request) -> Answer:
        """Return one queue."""
        path = addressed(QueuePath, request)
        return self._answer(await self._inspector.queues.get(path.name))

    @described(
        "Show the throughput of a queue minute by minute",
        MinuteListAnswer,
        path=QueuePath,
        query=MinutesQuery,
        errors=(400, 404),
        table=Table("minutes", "minutes", ("at", "processed", "failed")),
    )
    async def minutes(self, request: Request) -> Answer:
        """Return the throughput of one queue."""
        name, query = addressed(QueuePath, request).name, asked(MinutesQuery, request)
        await self._inspector.queues.get(name)
        minutes = await self._inspector.queues.minutes(name, count=query.count)
        return MinuteListAnswer(minutes=[MinuteAnswer.of(minute) for minute in minutes])

    @described(
        "Pause a queue", ReceiptAnswer, path=QueuePath, body=NewPause, errors=(400, 403, 404, 413)
    )
    async def pause(self, request: Request) -> Answer:
        """Stop workers from taking tasks of the queue."""
        name, wanted = addressed(QueuePath, request).name, await read_body(NewPause, request)
        act_of(request).reason = wanted.reason
        await self._inspector.queues.get(name)
        await self._inspector.queues.pause(name, by=identity_of(request).user, reason=wanted.reason)
        return ReceiptAnswer(operation="pause", queue=name)

    @described("Resume a queue", ReceiptAnswer, path=QueuePath, errors=(403, 404))
    async def resume(self, request: Request) -> Answer:
        """Undo `pause`."""
        name = addressed(QueuePath, request).name
        await self._inspector.queues.get(name)
        await self._inspector.queues.resume(name)
        return ReceiptAnswer(operation="resume", queue=name)

    @described(
        "Remove a queue that no worker serves",
        ReceiptAnswer,
        path=QueuePath,
        body=NewRemoval,
        errors=(400, 404, 409, 413),
    )
    async def remove(self, request: Request) -> Answer:
        """Remove the queue, and what it holds only when told to."""
        name, wanted = addressed(QueuePath, request).name, await read_body(NewRemoval, request)
        act_of(request).reason = wanted.reason
        try:
            act_of(request).count = await self._inspector.queues.remove(name, force=wanted.force)
            self._inspector.history.forget(name)
        except QueueInUseError as error:
            raise HTTPException(409, f"{str(error).capitalize()}.") from error
        return ReceiptAnswer(operation="remove", queue=name)

    def _answer(self, report: QueueReport) -> QueueAnswer:
        return QueueAnswer.of(report, health.of_queue(report, self._clock.now()))
