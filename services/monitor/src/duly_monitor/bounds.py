"""Validation of what a request may contain: names, ids, page sizes, cursors."""

from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from duly.engine.inspection.inspector import Inspector
from duly.engine.storage.reports import AuditPage, TaskPage
from duly.job import NAME_PATTERN
from duly.task import TaskState
from duly_monitor.series import Span

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
TaskId = Annotated[str, Field(min_length=1, max_length=256)]
Cursor = Annotated[str, Field(max_length=512)]
_STREAM_ID = "[0-9]{1,19}-[0-9]{1,19}"
_PLACE = r"-?([0-9]{1,17}|inf):[\s\S]+"
StreamCursor = Annotated[str, Field(max_length=512, pattern=f"^{_STREAM_ID}$")]
TaskCursor = Annotated[str, Field(max_length=512, pattern=f"^({_STREAM_ID}|{_PLACE})$")]
GroupCursor = Annotated[str, Field(max_length=512, pattern=r"^[0-9]{13}:[\s\S]+$")]
_CURSOR = "cursor: must be the next_cursor of a page of the same list"
SearchCursor = Annotated[
    str, Field(max_length=700, pattern=f"^[a-z]+/[^/]+/({_STREAM_ID}|{_PLACE})$")
]


class Query(BaseModel):
    """The base of every set of parameters; pages ignore unknown ones, the API refuses them."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class QueuePath(Query):
    """A queue in an address."""

    name: Name


class TaskPath(Query):
    """A task in an address."""

    queue: Name
    task_id: TaskId


class TaskIdPath(Query):
    """A task in an address that does not name its queue."""

    task_id: TaskId


class JoinPath(Query):
    """A join of a queue in an address."""

    name: Name
    join_id: TaskId


class EntryPath(Query):
    """A schedule entry in an address."""

    entry: Name


class ServerPath(Query):
    """A worker in an address."""

    server: TaskId


class KindPath(Query):
    """A kind of job in an address."""

    kind: Name


class ListQuery(Query):
    """Which page of which list of tasks."""

    state: TaskState = TaskState.WAITING
    limit: int = Field(30, ge=1, le=200, description="most tasks in the page")
    cursor: TaskCursor | None = Field(None, description="`next_cursor` of the previous page")
    order: Literal["newest", "oldest"] = Field(
        "newest", description="which come first; of scheduled and retry: by when they are due"
    )


class PageQuery(Query):
    """Which page of a list that is no list of tasks."""

    limit: int = Field(50, ge=1, le=200, description="most records in the page")
    cursor: StreamCursor | None = Field(None, description="`next_cursor` of the previous page")


class PartQuery(Query):
    """Which page of a list that is read whole."""

    limit: int = Field(1_000, ge=1, le=1_000, description="most items in the page")
    cursor: Annotated[str, Field(max_length=1_000, pattern="^[0-9a-f]*$")] | None = Field(
        None, description="`next_cursor` of the previous page"
    )


class TicksQuery(PartQuery):
    """Which page of the ticks of an entry."""

    limit: int = Field(50, ge=1, le=1_000, description="most ticks in the page")


class MinutesQuery(Query):
    """How far back."""

    count: int = Field(60, ge=1, le=1440, description="how many minutes")


class SpanQuery(Query):
    """How far back a chart goes."""

    span: Span = Field(Span.DAY, description="how far back")


class DaysQuery(Query):
    """How many days back."""

    count: int = Field(30, ge=1, le=90, description="how many days")


Asked = TypeVar("Asked", bound=Query)


def asked(model: type[Asked], request: Request) -> Asked:
    """Return the query parameters as a model.

    Raises:
        HTTPException: 400, naming the parameter, when one is out of bounds.
    """
    try:
        return model.model_validate(dict(request.query_params))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        if name == "cursor":
            raise invalid_cursor() from error
        raise HTTPException(400, f"{name}: {first['msg']}") from error


def addressed(model: type[Asked], request: Request) -> Asked:
    """Return the path parameters as a model.

    Raises:
        HTTPException: 404, since nothing can have such a name.
    """
    try:
        return model.model_validate(request.path_params)
    except ValidationError as error:
        raise HTTPException(404, "No queue, task or entry can have this name.") from error


def invalid_cursor() -> HTTPException:
    """Return the error that says what a cursor must be."""
    return HTTPException(400, _CURSOR)


def unknown_cursor() -> HTTPException:
    """Return the error for a cursor that is one, and leads to no page of this list."""
    return HTTPException(404, _CURSOR)


async def audited(inspector: Inspector, query: PageQuery) -> AuditPage:
    """Return the requested page of the audit.

    Raises:
        HTTPException: 404, when nothing can lie behind the cursor.
    """
    try:
        return await inspector.audit.list(limit=query.limit, cursor=query.cursor)
    except ValueError as error:
        raise unknown_cursor() from error


async def listed(inspector: Inspector, queue: str, state: TaskState, query: ListQuery) -> TaskPage:
    """Return the requested page of tasks.

    Raises:
        HTTPException: 404, when the cursor is one of another list.
    """
    try:
        return await inspector.tasks.list(
            queue, state, limit=query.limit, cursor=query.cursor, newest=query.order == "newest"
        )
    except ValueError as error:
        raise unknown_cursor() from error
