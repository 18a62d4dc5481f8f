"""How a handler of the API describes itself, and how its answer is encoded."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlencode

from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from duly.payload_schema import explained
from duly_monitor.api.models import Answer, Body
from duly_monitor.api.tables import Table, csv_reply
from duly_monitor.audit import Endpoint
from duly_monitor.bounds import Query

_Body = TypeVar("_Body", bound=BaseModel)
Shown = Callable[[Request], Awaitable[Answer]]
Handler = TypeVar("Handler", bound=Callable[..., Awaitable[Answer]])


@dataclass(frozen=True, slots=True)
class Description:
    """One operation of the API, for its documentation."""

    summary: str
    answer: type[Answer]
    path: type[Query] | None = None
    query: type[Query] | None = None
    headers: type[Query] | None = None
    errors: tuple[int, ...] = ()
    body: type[Body] | None = None
    table: Table | None = None
    """How the answer becomes CSV, at the same address with `.csv`; None: it does not."""


DESCRIPTION = "__duly_description__"


def described(
    summary: str,
    answer: type[Answer],
    *,
    path: type[Query] | None = None,
    query: type[Query] | None = None,
    headers: type[Query] | None = None,
    errors: tuple[int, ...] = (),
    body: type[Body] | None = None,
    table: Table | None = None,
) -> Callable[[Handler], Handler]:
    """Attach to a handler the description from which OpenAPI is made."""

    def attach(handler: Handler) -> Handler:
        found = Description(summary, answer, path, query, headers, errors, body, table)
        setattr(handler, DESCRIPTION, found)
        return handler

    return attach


def description_of(handler: object) -> Description | None:
    """Return what a handler says of itself."""
    found = getattr(handler, DESCRIPTION, None)
    return found if isinstance(found, Description) else None


def told(handler: Shown) -> Endpoint:
    """Return an endpoint that tells what a handler has done."""

    async def answered(request: Request) -> Response:
        _check_keys(request, handler)
        return _encoded(await handler(request))

    return _unwrapped(answered, handler)


def tagged(handler: Shown) -> Endpoint:
    """Return an endpoint that shows something with a tag: 304 to who has it already."""

    async def answered(request: Request) -> Response:
        _check_keys(request, handler)
        return with_tag(request, _encoded(await handler(request)))

    return _unwrapped(answered, handler)


def tabled(handler: Shown, table: Table) -> Endpoint:
    """Return an endpoint that shows a list as CSV; where it goes on is the header `Link`."""

    async def answered(request: Request) -> Response:
        _check_keys(request, handler)
        answer = await handler(request)
        rows = getattr(answer, table.rows)
        cells = ([getattr(row, column) for column in table.columns] for row in rows)
        response = with_tag(request, csv_reply(table.name, table.columns, cells))
        cursor = getattr(answer, "next_cursor", None)
        if cursor is not None:
            following = {**request.query_params, "cursor": cursor}
            response.headers["Link"] = f'<?{urlencode(following, errors="replace")}>; rel="next"'
        return response

    return _unwrapped(answered, handler)


def _check_keys(request: Request, handler: Shown) -> None:
    """Refuse parameters that an address does not have: what they ask for would not be answered.

    Raises:
        HTTPException: 400, naming the first, and those that are known.
    """
    found = description_of(handler)
    model = found.query if found else None
    fields = model.model_fields.items() if model else ()
    known = [field.alias or name for name, field in fields]
    for name in request.query_params:
        if name not in known:
            hint = f"known: {', '.join(known)}" if known else "this address takes none"
            raise HTTPException(400, f"{name[:64]}: unknown parameter ({hint}).")


def _unwrapped(endpoint: Endpoint, handler: Shown) -> Endpoint:
    # The description of the API reads what a handler declares about itself.
    endpoint.__wrapped__ = handler  # type: ignore[attr-defined]
    return endpoint


def _encoded(answer: Answer) -> Response:
    """Encode an answer. Escaped ASCII: lone surrogates in payloads cannot break it."""
    return Response(json.dumps(answer.model_dump(mode="json")), media_type="application/json")


def with_tag(request: Request, response: Response) -> Response:
    """Give a response a tag of its content; return an empty one for who has that already."""
    tag = f'"{hashlib.sha256(bytes(response.body)).hexdigest()[:32]}"'
    known = request.headers.get("if-none-match", "")
    if not {tag, "*"}.isdisjoint(each.strip().removeprefix("W/") for each in known.split(",")):
        response = Response(status_code=304)
    response.headers["ETag"] = tag
    return response


async def read_body(model: type[_Body], request: Request) -> _Body:
    """Return the body as a model.

    No body stands for an empty object, where every part may be left out.

    Raises:
        HTTPException: 400, naming the part, when it is not one.
    """
    try:
        return model.model_validate_json(await request.body() or b"{}")
    except ValidationError as error:
        raise HTTPException(400, explained(error)) from error
