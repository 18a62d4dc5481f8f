"""Queues as JSON."""

from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from duly.clock import Clock
from duly.engine.inspection.inspector import Inspector
from duly.engine.inspection.removal import QueueInUseError
from duly.engine.storage.reports import QueueReport
from duly_monitor import health
from duly_monitor.api.described import described, read_body, reply
from duly_monitor.api.models import (
    MinuteAnswer,
    MinuteListAnswer,
    QueueAnswer,
    QueueListAnswer,
    ReceiptAnswer,
)
from duly_monitor.audit import act_of
from duly_monitor.bounds import MinutesQuery, QueuePath, addressed, asked
from duly_monitor.permissions import identity_of


class NewPause(BaseModel):
    """Why a queue is paused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    reason: str = Field("", max_length=500, description="shown with the queue, and in the audit")


class QueueApi:
    """Answers for `/api/v1/queues…`."""

    def __init__(self, inspector: Inspector, clock: Clock) -> None:
        self._inspector, self._clock = inspector, clock

    @described("List the queues", QueueListAnswer)
    async def queues(self, _request: Request) -> Response:
        """Return every queue."""
        reports = (await self._inspector.overview.recent()).queues
        return reply(QueueListAnswer(queues=[self._answer(report) for report in reports]))

    @described("Show one queue", QueueAnswer, path=QueuePath, errors=(404,))
    async def queue(self, request: Request) -> Response:
        """Return one queue."""
        path = addressed(QueuePath, request)
        return reply(self._answer(await self._inspector.queues.get(path.name)))

    @described(
        "Show the throughput of a queue minute by minute",
        MinuteListAnswer,
        path=QueuePath,
        query=MinutesQuery,
        errors=(400, 404),
    )
    async def minutes(self, request: Request) -> Response:
        """Return the throughput of one queue."""
        name, query = addressed(QueuePath, request).name, asked(MinutesQuery, request)
        await self._inspector.queues.get(name)
        minutes = await self._inspector.queues.minutes(name, count=query.count)
        return reply(MinuteListAnswer(minutes=[MinuteAnswer.of(minute) for minute in minutes]))

    @described(
        "Pause a queue", ReceiptAnswer, path=QueuePath, body=NewPause, errors=(400, 403, 404, 413)
    )
    async def pause(self, request: Request) -> Response:
        """Stop workers from taking tasks of the queue."""
        name, wanted = addressed(QueuePath, request).name, await read_body(NewPause, request)
        act_of(request).reason = wanted.reason
        await self._inspector.queues.get(name)
        await self._inspector.queues.pause(name, by=identity_of(request).user, reason=wanted.reason)
        return reply(ReceiptAnswer(operation="pause", queue=name))

    @described("Resume a queue", ReceiptAnswer, path=QueuePath, errors=(403, 404))
    async def resume(self, request: Request) -> Response:
        """Undo `pause`."""
        name = addressed(QueuePath, request).name
        await self._inspector.queues.get(name)
        await self._inspector.queues.resume(name)
        return reply(ReceiptAnswer(operation="resume", queue=name))

    @described(
        "Remove an empty queue that no worker serves",
        ReceiptAnswer,
        path=QueuePath,
        errors=(404, 409),
    )
    async def remove(self, request: Request) -> Response:
        """Remove the queue."""
        name = addressed(QueuePath, request).name
        try:
            act_of(request).count = await self._inspector.queues.remove(name)
            self._inspector.history.forget(name)
        except QueueInUseError as error:
            raise HTTPException(409, f"{str(error).capitalize()}.") from error
        return reply(ReceiptAnswer(operation="remove", queue=name))

    def _answer(self, report: QueueReport) -> QueueAnswer:
        return QueueAnswer.of(report, health.of_queue(report, self._clock.now()))
