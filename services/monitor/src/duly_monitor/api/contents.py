"""What a queue holds beside its tasks, as JSON: groups, joins, locks, days."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field
from starlette.requests import Request

from duly.clock import to_unix_ms
from duly.engine.inspection.inspector import Inspector
from duly_monitor.api.described import described, read_body
from duly_monitor.api.models import NEXT, Answer, ReasonedBody, Receipt, TaskAnswer, TaskListAnswer
from duly_monitor.api.paging import part_of
from duly_monitor.api.tables import TASK_COLUMNS, Table
from duly_monitor.audit import act_of
from duly_monitor.bounds import (
    DaysQuery,
    GroupCursor,
    JoinPath,
    PartQuery,
    Query,
    QueuePath,
    addressed,
    asked,
    unknown_cursor,
)


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
    next_cursor: str | None = Field(description=NEXT)


class GroupTasksQuery(Query):
    """Which part of which group of a queue."""

    kind: Annotated[str, Field(max_length=256, description="of the group's tasks")]
    group: Annotated[str, Field(max_length=1_024, description="its name")] = ""
    limit: int = Field(30, ge=1, le=200, description="most tasks in the page")
    cursor: GroupCursor | None = Field(None, description="`next_cursor` of the previous page")
    order: Literal["newest", "oldest"] = Field("oldest", description="which come first")


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
    next_cursor: str | None = Field(description=NEXT)


class JoinReceiptAnswer(Receipt):
    """What was done to a join."""

    queue: str
    join: str


class LockAnswer(Answer):
    """A unique lock."""

    digest: str
    task_id: str
    expires_at: datetime


class LockListAnswer(Answer):
    """The unique locks of a queue, those that end first first."""

    locks: list[LockAnswer]
    next_cursor: str | None = Field(description=NEXT)
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

    @described(
        "List the groups of a queue, those that are due first first",
        GroupListAnswer,
        path=QueuePath,
        query=PartQuery,
        errors=(400, 404),
        table=Table("groups", "groups", ("kind", "name", "size", "oldest", "due", "tries")),
    )
    async def groups(self, request: Request) -> Answer:
        """Return a page of the groups, of a thousand at most."""
        name, query = addressed(QueuePath, request).name, asked(PartQuery, request)
        found = await self._inspector.groups.list(name)
        part = part_of(found, query, lambda each: (to_unix_ms(each.due), each.kind, each.name))
        groups = [GroupAnswer.model_validate(each) for each in part.items]
        return GroupListAnswer(groups=groups, next_cursor=part.next_cursor)

    @described(
        "List the tasks of a group",
        TaskListAnswer,
        path=QueuePath,
        query=GroupTasksQuery,
        errors=(400, 404),
        table=Table("tasks", "tasks", TASK_COLUMNS),
    )
    async def group(self, request: Request) -> Answer:
        """Return a page of the tasks of one group."""
        name, query = addressed(QueuePath, request).name, asked(GroupTasksQuery, request)
        await self._inspector.groups.get(name, query.kind, query.group)
        try:
            page = await self._inspector.groups.tasks(
                name, query.kind, query.group,
                limit=query.limit, cursor=query.cursor, newest=query.order == "newest",
            )  # fmt: skip
        except ValueError as error:
            raise unknown_cursor() from error
        tasks = [TaskAnswer.of(task) for task in page.tasks]
        return TaskListAnswer(tasks=tasks, next_cursor=page.next_cursor)

    @described(
        "List the joins of a queue, oldest first",
        JoinListAnswer,
        path=QueuePath,
        query=PartQuery,
        errors=(400, 404),
        table=Table("joins", "joins", ("id", "since", "members", "awaited", "task_id", "kind")),
    )
    async def joins(self, request: Request) -> Answer:
        """Return a page of the joins, of a thousand at most."""
        name, query = addressed(QueuePath, request).name, asked(PartQuery, request)
        found = await self._inspector.joins.list(name)
        part = part_of(found, query, lambda each: (to_unix_ms(each.since), each.id))
        joins = [JoinAnswer.model_validate(each) for each in part.items]
        return JoinListAnswer(joins=joins, next_cursor=part.next_cursor)

    @described(
        "Cancel the task that was to follow the members of a join",
        JoinReceiptAnswer,
        path=JoinPath,
        body=ReasonedBody,
        errors=(400, 404, 413),
    )
    async def cancel_join(self, request: Request) -> Answer:
        """Cancel it: the members run, and nothing comes after them."""
        path, wanted = addressed(JoinPath, request), await read_body(ReasonedBody, request)
        act_of(request).reason = wanted.reason
        await self._inspector.joins.cancel(path.name, path.join_id)
        return JoinReceiptAnswer(operation="cancel", queue=path.name, join=path.join_id)

    @described(
        "List the unique locks of a queue, those that end first first",
        LockListAnswer,
        path=QueuePath,
        query=PartQuery,
        errors=(400, 404),
        table=Table("locks", "locks", ("digest", "task_id", "expires_at")),
    )
    async def locks(self, request: Request) -> Answer:
        """Return a page of the locks."""
        name, query = addressed(QueuePath, request).name, asked(PartQuery, request)
        page = await self._inspector.locks.list(name)
        part = part_of(page.locks, query, lambda each: (to_unix_ms(each.expires_at), each.digest))
        locks = [LockAnswer.model_validate(each) for each in part.items]
        return LockListAnswer(locks=locks, complete=page.complete, next_cursor=part.next_cursor)

    @described(
        "Show the throughput of a queue day by day",
        DayListAnswer,
        path=QueuePath,
        query=DaysQuery,
        errors=(400, 404),
        table=Table("days", "days", ("at", "processed", "failed", "crashed")),
    )
    async def days(self, request: Request) -> Answer:
        """Return the throughput by day."""
        name, query = addressed(QueuePath, request).name, asked(DaysQuery, request)
        await self._inspector.queues.get(name)
        found = await self._inspector.queues.days(name, count=query.count)
        return DayListAnswer(days=[DayAnswer.model_validate(each) for each in found])
