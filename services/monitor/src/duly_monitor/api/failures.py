"""Causes of failures, and searches, as JSON and as CSV."""

from datetime import datetime

from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.requests import Request

from duly.clock import Clock
from duly.engine.inspection.failures import DEFAULT_WINDOW
from duly.engine.inspection.inspector import Inspector
from duly.engine.inspection.search import DEFAULT_WINDOW as _WINDOW
from duly_monitor.api.described import described
from duly_monitor.api.models import NEXT, Answer, TaskAnswer
from duly_monitor.api.paging import part_of
from duly_monitor.api.tables import TASK_COLUMNS, Table
from duly_monitor.bounds import Name, PartQuery, Query, SearchCursor, asked, unknown_cursor
from duly_monitor.redaction import mask_text
from duly_monitor.search_words import MOST_CHARACTERS, Search, SearchSyntaxError, understand

_GROUP_COLUMNS = ("cause", "kind", "error", "count", "first", "last", "queues")
MOST_FAILURES = 100_000
MOST_SEARCHED = 1_000_000
"""Tasks that one request may look at."""


class FailuresQuery(PartQuery):
    """Which failures, and how many of the newest to look at."""

    queue: Name | None = Field(None, description="null: of every queue")
    window: int = Field(
        DEFAULT_WINDOW, ge=1, le=MOST_FAILURES, description="most failed tasks to look at"
    )


class SearchQuery(Query):
    """A search in words."""

    q: str = Field(
        "",
        max_length=MOST_CHARACTERS,
        description="such as `kind:send_invoice error:timeout since:2h`; keys: queue, kind, state, "
        "id, error, group, args.…, since, until, cause",
    )
    limit: int = Field(100, ge=1, le=200, description="most tasks in the page")
    window: int = Field(
        _WINDOW, ge=1, le=MOST_SEARCHED, description="most tasks to look at for the page"
    )
    cursor: SearchCursor | None = Field(
        None, description="`next_cursor` of the same search: it goes on where that has come to"
    )


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
    next_cursor: str | None = Field(description=NEXT)


class FoundAnswer(Answer):
    """What a search found, newest first."""

    tasks: list[TaskAnswer]
    scanned: int
    total: int = Field(description="tasks that there were to look at")
    complete: bool = Field(description="false: a bound was reached; there may be more")
    unreadable: list[str]
    next_cursor: str | None = Field(
        description="where the same search goes on; null: all has been looked at"
    )


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

    @described(
        "List the failures by cause",
        FailureListAnswer,
        query=FailuresQuery,
        errors=(400, 404),
        table=Table("failures", "groups", _GROUP_COLUMNS),
    )
    async def groups(self, request: Request) -> Answer:
        """Return a page of the causes; one that fails more often meanwhile moves to the front."""
        query = asked(FailuresQuery, request)
        survey = await self._inspector.failures.survey(
            queues=(query.queue,) if query.queue else (), window=query.window
        )
        part = part_of(survey.groups, query, lambda group: (-group.count, group.fingerprint))
        groups = [
            FailureGroupAnswer(
                cause=group.fingerprint, kind=group.kind, error=mask_text(group.error),
                count=group.count, first=group.first, last=group.last, queues=list(group.queues),
                example_id=group.example.id, example_queue=group.example.queue,
                hours=list(group.hours),
            )
            for group in part.items
        ]  # fmt: skip
        return FailureListAnswer(
            groups=groups, scanned=survey.scanned, total=survey.total,
            unreadable=list(survey.unreadable), next_cursor=part.next_cursor,
        )  # fmt: skip

    @described(
        "Search for tasks",
        FoundAnswer,
        query=SearchQuery,
        errors=(400, 404),
        table=Table("tasks", "tasks", TASK_COLUMNS),
    )
    async def search(self, request: Request) -> Answer:
        """Return the newest tasks that match."""
        query = asked(SearchQuery, request)
        search = understood(query.q, self._clock)
        try:
            found = await self._inspector.tasks.search(
                search.query, limit=query.limit, window=query.window, cursor=query.cursor
            )
        except ValueError as error:
            raise unknown_cursor() from error
        return FoundAnswer(
            tasks=[TaskAnswer.of(task) for task in found.tasks], scanned=found.scanned,
            total=found.total, complete=found.complete, unreadable=list(found.unreadable),
            next_cursor=found.next_cursor,
        )  # fmt: skip
