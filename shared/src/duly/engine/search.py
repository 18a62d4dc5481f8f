"""Finds tasks by what they are: kind, error, payload, time. Looks at the newest within a bound."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from duly.engine.inspector import Inspector
from duly.task import Task, TaskState

_PAGE = 500
DEFAULT_WINDOW = 100_000
SEARCHED = (
    TaskState.ARCHIVED,
    TaskState.QUARANTINED,
    TaskState.RETRY,
    TaskState.SCHEDULED,
    TaskState.AGGREGATING,
    TaskState.WAITING,
    TaskState.ACTIVE,
    TaskState.COMPLETED,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What to look for; everything that is given must hold."""

    queues: tuple[str, ...] = ()
    """None: every queue."""
    states: tuple[TaskState, ...] = SEARCHED
    kind: str = ""
    error: str = ""
    """Part of the last attempt's error, in whatever case."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Payload field (dots go deeper) → the text of its value."""
    since: datetime | None = None
    until: datetime | None = None

    def matches(self, task: Task) -> bool:
        """Tell whether a task is one of those."""
        if self.kind and task.kind != self.kind:
            return False
        if self.error:
            last = task.history[0].error if task.history else ""
            if self.error.casefold() not in last.casefold():
                return False
        if any(_value(task.payload, path) != text for path, text in self.fields.items()):
            return False
        instant = task.ended_at or task.due_at or task.enqueued_at
        return _within(instant, self.since, self.until)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search found."""

    tasks: tuple[Task, ...]
    scanned: int
    """Tasks that were looked at."""
    total: int
    """Tasks that there were to look at, when the search began."""
    complete: bool
    """False: the window or the limit was reached; there may be more."""


async def search(
    inspector: Inspector, query: Query, *, limit: int = 100, window: int = DEFAULT_WINDOW
) -> Found:
    """Return the newest tasks that match.

    Args:
        inspector: Where to look.
        query: What to look for.
        limit: Most tasks to return.
        window: Most tasks to look at: a search that reads everything stops the broker for others.

    Raises:
        NotFoundError: A named queue does not exist.
    """
    total = await count(inspector, query.queues, query.states)
    found: list[Task] = []
    scanned, complete = 0, True
    async for task in scan(inspector, query.queues, query.states):
        if scanned >= window or len(found) >= limit:
            complete = False
            break
        scanned += 1
        if query.matches(task):
            found.append(task)
    return Found(tasks=tuple(found), scanned=scanned, total=total, complete=complete)


async def count(
    inspector: Inspector, queues: tuple[str, ...], states: tuple[TaskState, ...]
) -> int:
    """Return how many tasks a scan would yield, without looking at any."""
    reports = (
        [await inspector.queue(name) for name in queues] if queues else await inspector.queues()
    )
    return sum(getattr(report, state.value) for report in reports for state in states)


async def scan(
    inspector: Inspector, queues: tuple[str, ...], states: tuple[TaskState, ...]
) -> AsyncIterator[Task]:
    """Yield tasks state by state, newest first, a page at a time."""
    names = queues or tuple(report.name for report in await inspector.queues())
    for state in states:
        for name in names:
            cursor: str | None = None
            while True:
                page = await inspector.tasks(name, state, limit=_PAGE, cursor=cursor)
                for task in page.tasks:
                    yield task
                cursor = page.next_cursor
                if cursor is None:
                    break


def _value(payload: Mapping[str, Any], path: str) -> str | None:
    value: Any = payload
    for part in path.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else str(value)


def _within(instant: datetime | None, since: datetime | None, until: datetime | None) -> bool:
    if instant is None:
        return since is None and until is None
    return (since is None or instant >= since) and (until is None or instant <= until)
