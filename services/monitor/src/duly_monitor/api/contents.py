"""What a queue holds beside its tasks, as JSON: groups, joins, locks, days."""

from datetime import datetime

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from duly.engine.inspection.inspector import Inspector
from duly_monitor.api.described import described, reply
from duly_monitor.api.models import Answer
from duly_monitor.bounds import DaysQuery, QueuePath, addressed, asked


class GroupAnswer(Answer):
    """Tasks that wait to be merged into one."""

    kind: str
    name: str
    size: int
    oldest: datetime | None
    due: datetime
    tries: int = Field(description="times that its merging was begun, and has not succeeded")


class GroupListAnswer(Answer):
    """The groups of a queue."""

    groups: list[GroupAnswer]


class JoinAnswer(Answer):
    """A task that waits for the members of a fan-out."""

    id: str
    since: datetime
    members: int
    awaited: list[int] = Field(description="members that have not succeeded yet, from 0")
    task_id: str
    kind: str


class JoinListAnswer(Answer):
    """The joins of a queue."""

    joins: list[JoinAnswer]


class LockAnswer(Answer):
    """A unique lock."""

    digest: str
    task_id: str
    expires_at: datetime


class LockListAnswer(Answer):
    """The unique locks of a queue, those that end first first."""

    locks: list[LockAnswer]
    complete: bool = Field(description="false: there are more than were looked at")


class DayAnswer(Answer):
    """One day of UTC of one queue."""

    at: datetime
    processed: int
    failed: int
    crashed: int


class DayListAnswer(Answer):
    """The throughput of a queue, day by day, oldest first."""

    days: list[DayAnswer]


class ContentsApi:
    """Answers for `/api/v1/queues/{name}/groups` and others below a queue."""

    def __init__(self, inspector: Inspector) -> None:
        self._inspector = inspector

    @described("List the groups of a queue", GroupListAnswer, path=QueuePath, errors=(404,))
    async def groups(self, request: Request) -> Response:
        """Return the groups."""
        found = await self._inspector.groups.list(addressed(QueuePath, request).name)
        return reply(GroupListAnswer(groups=[GroupAnswer.model_validate(each) for each in found]))

    @described("List the joins of a queue", JoinListAnswer, path=QueuePath, errors=(404,))
    async def joins(self, request: Request) -> Response:
        """Return the joins."""
        found = await self._inspector.joins.list(addressed(QueuePath, request).name)
        return reply(JoinListAnswer(joins=[JoinAnswer.model_validate(each) for each in found]))

    @described("List the unique locks of a queue", LockListAnswer, path=QueuePath, errors=(404,))
    async def locks(self, request: Request) -> Response:
        """Return the locks."""
        page = await self._inspector.locks.list(addressed(QueuePath, request).name)
        locks = [LockAnswer.model_validate(each) for each in page.locks]
        return reply(LockListAnswer(locks=locks, complete=page.complete))

    @described(
        "Show the throughput of a queue day by day",
        DayListAnswer,
        path=QueuePath,
        query=DaysQuery,
        errors=(400, 404),
    )
    async def days(self, request: Request) -> Response:
        """Return the throughput by day."""
        name, query = addressed(QueuePath, request).name, asked(DaysQuery, request)
        await self._inspector.queues.get(name)
        found = await self._inspector.queues.days(name, count=query.count)
        return reply(DayListAnswer(days=[DayAnswer.model_validate(each) for each in found]))
