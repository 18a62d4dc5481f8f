"""Causes of failures, and searches, as JSON and as CSV."""

from datetime import datetime

from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from duly.clock import Clock
from duly.engine.inspection.inspector import Inspector
from duly_monitor.api.described import described, reply
from duly_monitor.api.models import Answer, TaskAnswer
from duly_monitor.api.tables import csv_reply
from duly_monitor.bounds import Query, asked
from duly_monitor.redaction import mask_text
from duly_monitor.search_words import MOST_CHARACTERS, Search, SearchSyntaxError, understand

_GROUP_COLUMNS = ("cause", "kind", "error", "count", "first", "last", "queues")
_TASK_COLUMNS = (
    *("id", "queue", "kind", "state", "attempts", "crashes", "enqueued_at", "due_at", "ended_at"),
    "error",
)


class SearchQuery(Query):
    """A search in words."""

    q: str = Field(
        "",
        max_length=MOST_CHARACTERS,
        description="such as `kind:send_invoice error:timeout since:2h`; keys: queue, kind, state, "
        "id, error, group, args.…, since, until, cause",
    )
    limit: int = Field(100, ge=1, le=200, description="most tasks")


class FailureGroupAnswer(Answer):
    """Failures that are likely one and the same."""

    cause: str = Field(description="for searches: `cause:…`")
    kind: str
    error: str = Field(description="of the newest one; secrets are masked")
    count: int
    first: datetime
    last: datetime
    queues: list[str]
    example_id: str
    example_queue: str
    hours: list[int] = Field(description="how many in each of the last 24 hours, oldest first")


class FailureListAnswer(Answer):
    """Failures by cause, the most frequent first."""

    groups: list[FailureGroupAnswer]
    scanned: int = Field(description="failed tasks that were looked at, the newest")
    total: int = Field(description="failed tasks that there were")
    unreadable: list[str] = Field(description="why queues were passed over")


class FoundAnswer(Answer):
    """What a search found, newest first."""

    tasks: list[TaskAnswer]
    scanned: int
    total: int = Field(description="tasks that there were to look at")
    complete: bool = Field(description="false: a bound was reached; there may be more")
    unreadable: list[str]


def understood(words: str, clock: Clock) -> Search:
    """Return what a search means.

    Raises:
        HTTPException: 400, naming the word.
    """
    try:
        return understand(words, clock.now())
    except SearchSyntaxError as error:
        raise HTTPException(400, f"q: {error}") from error


class FailureApi:
    """Answers for `/api/v1/failures` and `/api/v1/search`."""

    def __init__(self, inspector: Inspector, clock: Clock) -> None:
        self._inspector, self._clock = inspector, clock

    @described("List the failures by cause", FailureListAnswer)
    async def groups(self, _request: Request) -> Response:
        """Return the causes."""
        return reply(await self._survey())

    async def groups_table(self, _request: Request) -> Response:
        """Return the causes as CSV."""
        survey = await self._survey()
        rows = (
            [*(getattr(each, name) for name in _GROUP_COLUMNS[:-1]), " ".join(each.queues)]
            for each in survey.groups
        )
        return csv_reply("failures", _GROUP_COLUMNS, rows)

    @described("Search for tasks", FoundAnswer, query=SearchQuery, errors=(400, 404))
    async def search(self, request: Request) -> Response:
        """Return the newest tasks that match."""
        return reply(await self._found(asked(SearchQuery, request)))

    async def search_table(self, request: Request) -> Response:
        """Return what a search found as CSV."""
        found = await self._found(asked(SearchQuery, request))
        rows = (
            [
                *(getattr(task, name) for name in _TASK_COLUMNS[:-1]),
                task.history[0].error if task.history else "",
            ]
            for task in found.tasks
        )
        return csv_reply("tasks", _TASK_COLUMNS, rows)

    async def _survey(self) -> FailureListAnswer:
        survey = await self._inspector.failures.survey()
        groups = [
            FailureGroupAnswer(
                cause=group.fingerprint, kind=group.kind, error=mask_text(group.error),
                count=group.count, first=group.first, last=group.last, queues=list(group.queues),
                example_id=group.example.id, example_queue=group.example.queue,
                hours=list(group.hours),
            )
            for group in survey.groups
        ]  # fmt: skip
        return FailureListAnswer(
            groups=groups, scanned=survey.scanned, total=survey.total,
            unreadable=list(survey.unreadable),
        )  # fmt: skip

    async def _found(self, query: SearchQuery) -> FoundAnswer:
        search = understood(query.q, self._clock)
        if search.task_id:
            task = TaskAnswer.of(await self._inspector.tasks.find(search.task_id))
            return FoundAnswer(tasks=[task], scanned=1, total=1, complete=True, unreadable=[])
        found = await self._inspector.tasks.search(search.query, limit=query.limit)
        return FoundAnswer(
            tasks=[TaskAnswer.of(task) for task in found.tasks], scanned=found.scanned,
            total=found.total, complete=found.complete, unreadable=list(found.unreadable),
        )  # fmt: skip
