"""What a handler of the API declares about itself, and how its answer is encoded."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from starlette.responses import Response

from duly_monitor.api.models import Answer
from duly_monitor.bounds import Query

Handler = TypeVar("Handler", bound=Callable[..., Awaitable[Response]])


@dataclass(frozen=True, slots=True)
class Description:
    """One operation of the API, for its documentation."""

    summary: str
    answer: type[Answer]
    path: type[Query] | None = None
    query: type[Query] | None = None
    errors: tuple[int, ...] = ()


DESCRIPTION = "__duly_description__"


def described(
    summary: str,
    answer: type[Answer],
    *,
    path: type[Query] | None = None,
    query: type[Query] | None = None,
    errors: tuple[int, ...] = (),
) -> Callable[[Handler], Handler]:
    """Attach the description from which OpenAPI is made to a handler."""

    def attach(handler: Handler) -> Handler:
        setattr(handler, DESCRIPTION, Description(summary, answer, path, query, errors))
        return handler

    return attach


def reply(answer: Answer) -> Response:
    """Encode an answer. Escaped ASCII: lone surrogates in payloads can not break it."""
    return Response(json.dumps(answer.model_dump(mode="json")), media_type="application/json")
