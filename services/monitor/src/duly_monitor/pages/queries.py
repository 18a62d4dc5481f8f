"""What the addresses of pages may say, within bounds."""

import re
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from duly.job import NAME_PATTERN
from duly.task import ENDED, TaskState
from duly_monitor.bounds import Cursor, Query
from duly_monitor.operations import Operation
from duly_monitor.search_words import MOST_CHARACTERS
from duly_monitor.series import Span

_COLUMN = re.compile(r"[^\s,:\"]{1,80}")
_MOST_COLUMNS = 6
SHOWN_QUEUES: Final = 100
"""Queues on a page of the overview."""
Words = Annotated[str, Field(max_length=MOST_CHARACTERS)]


class OverviewQuery(Query):
    """Which page of the queues."""

    page: int = Field(1, ge=1, le=10_000)


class FailureQuery(Query):
    """Which failures, and how many of the newest to look at."""

    MOST: ClassVar[int] = 100_000

    queue: Annotated[str, Field(pattern=rf"^(|{NAME_PATTERN.strip('^$')})$")] = ""
    window: int = Field(2_000, ge=1, le=MOST)


class _Listed(Query):
    """What all lists of tasks have in common."""

    MOST: ClassVar[int] = 1_000_000

    q: Words = ""
    columns: Annotated[str, Field(max_length=500)] = ""
    window: int = Field(10_000, ge=1, le=MOST)

    @property
    def shown_columns(self) -> list[str]:
        """The fields of payloads that are columns of their own."""
        return list(dict.fromkeys(_COLUMN.findall(self.columns)))[:_MOST_COLUMNS]


class SearchQuery(_Listed):
    """What is looked for, and how."""

    limit: int = Field(100, ge=1, le=200)


class QueueQuery(_Listed):
    """Which part of which list of a queue."""

    state: TaskState = TaskState.WAITING
    order: Literal["", "newest", "oldest"] = ""
    limit: int = Field(30, ge=1, le=200)
    cursor: Cursor | None = None
    before: Cursor | None = None
    at: int = Field(0, ge=0, le=10**12)
    last: bool = False
    span: Span = Span.HOUR
    """How far back the chart goes."""

    @property
    def newest(self) -> bool:
        """Whether the newest come first: by itself only of what has ended."""
        return self.state in ENDED if not self.order else self.order == "newest"


class GroupQuery(Query):
    """Which part of which group of a queue."""

    kind: Annotated[str, Field(max_length=256)]
    group: Annotated[str, Field(max_length=1_024)] = ""
    order: Literal["", "newest", "oldest"] = ""
    limit: int = Field(30, ge=1, le=200)
    cursor: Annotated[str, Field(max_length=2_048)] | None = None
    at: int = Field(0, ge=0, le=10**12)

    @property
    def newest(self) -> bool:
        """Whether the newest come first: only when asked for."""
        return self.order == "newest"

    @property
    def shown_columns(self) -> list[str]:
        """Fields of payloads that are columns: none."""
        return []


class BulkQuery(Query):
    """An operation on all tasks that match."""

    operation: Operation
    q: Words = ""
    back: Annotated[str, Field(max_length=2_000)] = ""


class EnqueueQuery(Query):
    """Which kind the form is for."""

    kind: Annotated[str, Field(max_length=64)] = ""


class BulkPath(Query):
    """A bulk operation in an address."""

    run_id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
