"""The bounds of everything a request may ask for: names, ids, page sizes, cursors."""

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from duly.engine.inspector import Inspector
from duly.engine.reports import TaskPage
from duly.job import NAME_PATTERN
from duly.task import TaskState

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
TaskId = Annotated[str, Field(min_length=1, max_length=256)]
Cursor = Annotated[str, Field(max_length=512)]


class Query(BaseModel):
    """The base of every set of query parameters; what it does not name is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class QueuePath(Query):
    """A queue in an address."""

    name: Name


class TaskPath(Query):
    """A task in an address."""

    queue: Name
    task_id: TaskId


class TaskIdPath(Query):
    """A task in an address that does not tell its queue."""

    task_id: TaskId


class EntryPath(Query):
    """A schedule entry in an address."""

    entry: Name


class ListQuery(Query):
    """Which page of which list of tasks."""

    state: TaskState = TaskState.WAITING
    limit: int = Field(30, ge=1, le=200, description="tasks in the page")
    cursor: Cursor | None = Field(None, description="`next_cursor` of the page before")


class LimitQuery(Query):
    """How much of a list."""

    limit: int = Field(50, ge=1, le=200)


class MinutesQuery(Query):
    """How far back."""

    count: int = Field(60, ge=1, le=1440, description="minutes")


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
        raise HTTPException(400, f"{name}: {first['msg']}") from error


def addressed(model: type[Asked], request: Request) -> Asked:
    """Return the path parameters as a model.

    Raises:
        HTTPException: 404, since nothing can have such a name.
    """
    try:
        return model.model_validate(request.path_params)
    except ValidationError as error:
        raise HTTPException(404, "nothing has such a name") from error


async def listed(inspector: Inspector, queue: str, state: TaskState, query: ListQuery) -> TaskPage:
    """Return the page of tasks that was asked for.

    Raises:
        HTTPException: 400, when the cursor is not one of ours.
    """
    try:
        return await inspector.tasks(queue, state, limit=query.limit, cursor=query.cursor)
    except ValueError as error:
        raise HTTPException(400, "cursor: it must be the next_cursor of a page") from error
