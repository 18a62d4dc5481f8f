"""Queues as JSON."""

from starlette.requests import Request
from starlette.responses import Response

from duly.clock import Clock
from duly.engine.inspector import Inspector
from duly.engine.reports import QueueReport
from duly_monitor import health
from duly_monitor.api.described import described, reply
from duly_monitor.api.models import (
    MinuteAnswer,
    MinuteListAnswer,
    QueueAnswer,
    QueueListAnswer,
    ReceiptAnswer,
)
from duly_monitor.bounds import MinutesQuery, QueuePath, addressed, asked


class QueueApi:
    """Answers for `/api/v1/queues…`."""

    def __init__(self, inspector: Inspector, clock: Clock) -> None:
        self._inspector, self._clock = inspector, clock

    @described("List the queues", QueueListAnswer)
    async def queues(self, _request: Request) -> Response:
        """Return every queue."""
        reports = await self._inspector.queues()
        return reply(QueueListAnswer(queues=[self._answer(report) for report in reports]))

    @described("Show one queue", QueueAnswer, path=QueuePath, errors=(404,))
    async def queue(self, request: Request) -> Response:
        """Return one queue."""
        path = addressed(QueuePath, request)
        return reply(self._answer(await self._inspector.queue(path.name)))

    @described(
        "Show what a queue did in each of the last minutes",
        MinuteListAnswer,
        path=QueuePath,
        query=MinutesQuery,
        errors=(400, 404),
    )
    async def minutes(self, request: Request) -> Response:
        """Return the throughput of one queue."""
        name, query = addressed(QueuePath, request).name, asked(MinutesQuery, request)
        await self._inspector.queue(name)
        minutes = await self._inspector.minutes(name, count=query.count)
        return reply(MinuteListAnswer(minutes=[MinuteAnswer.of(minute) for minute in minutes]))

    @described("Pause a queue", ReceiptAnswer, path=QueuePath, errors=(403, 404))
    async def pause(self, request: Request) -> Response:
        """Stop workers from taking tasks of the queue."""
        name = addressed(QueuePath, request).name
        await self._inspector.queue(name)
        await self._inspector.pause(name)
        return reply(ReceiptAnswer(operation="pause", queue=name))

    @described("Resume a queue", ReceiptAnswer, path=QueuePath, errors=(403, 404))
    async def resume(self, request: Request) -> Response:
        """Let workers take tasks of the queue again."""
        name = addressed(QueuePath, request).name
        await self._inspector.queue(name)
        await self._inspector.resume(name)
        return reply(ReceiptAnswer(operation="resume", queue=name))

    def _answer(self, report: QueueReport) -> QueueAnswer:
        return QueueAnswer.of(report, health.of_queue(report, self._clock.now()))
