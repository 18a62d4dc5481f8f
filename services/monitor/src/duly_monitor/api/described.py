"""How a handler of the API describes itself, and how its response is encoded."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from duly.payload_schema import explained
from duly_monitor.api.models import Answer
from duly_monitor.bounds import Query

_Body = TypeVar("_Body", bound=BaseModel)
Handler = TypeVar("Handler", bound=Callable[..., Awaitable[Response]])


@dataclass(frozen=True, slots=True)
class Description:
    """One operation of the API, for its documentation."""

    summary: str
    answer: type[Answer]
    path: type[Query] | None = None
    query: type[Query] | None = None
    errors: tuple[int, ...] = ()
    body: type[BaseModel] | None = None


DESCRIPTION = "__duly_description__"


def described(
    summary: str,
    answer: type[Answer],
    *,
    path: type[Query] | None = None,
    query: type[Query] | None = None,
    errors: tuple[int, ...] = (),
    body: type[BaseModel] | None = None,
) -> Callable[[Handler], Handler]:
    """Attach to a handler the description from which OpenAPI is made."""

    def attach(handler: Handler) -> Handler:
        setattr(handler, DESCRIPTION, Description(summary, answer, path, query, errors, body))
        return handler

    return attach


def reply(answer: Answer) -> Response:
    """Encode a response. Escaped ASCII: lone surrogates in payloads cannot break it."""
    return Response(json.dumps(answer.model_dump(mode="json")), media_type="application/json")


def tagged(handler: Callable[[Request], Awaitable[Response]]) -> Callable[..., Awaitable[Response]]:
    """Give an answer a tag of its content, and answer 304 to who has it already."""

    async def answered(request: Request) -> Response:
        response = await handler(request)
        tag = f'"{hashlib.sha256(bytes(response.body)).hexdigest()[:32]}"'
        headers = {"ETag": tag}
        known = request.headers.get("if-none-match", "")
        if response.status_code == 200 and tag in (  # noqa: PLR2004 - all is well
            each.strip().removeprefix("W/") for each in known.split(",")
        ):
            return Response(status_code=304, headers=headers)
        response.headers.update(headers)
        return response

    answered.__wrapped__ = handler  # type: ignore[attr-defined]
    return answered


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
