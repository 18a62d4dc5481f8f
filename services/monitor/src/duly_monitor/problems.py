"""Every error as an answer: a page for people, problem+json (RFC 9457) for programs."""

import json
import re
from http import HTTPStatus
from typing import Final
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from duly.errors import (
    BrokerDownError,
    BrokerError,
    DuplicateTaskError,
    EnqueueError,
    IllegalTransitionError,
    NotFoundError,
    PayloadTooLargeError,
    QueueFullError,
    TaskIdConflictError,
    UnknownKindError,
)
from duly_monitor.audit import request_id_of
from duly_monitor.incidents import Incidents
from duly_monitor.redaction import mask_text
from duly_monitor.render import Renderer

_TITLES = {
    400: "Bad request",
    401: "Log in required",
    403: "Access denied",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    413: "Request too large",
    414: "Address too long",
    500: "Internal error",
    502: "Broker error",
    503: "Broker unreachable",
}
_KEY: Final = re.compile(r"[a-z][a-z0-9_.]*: ")
_WAIT = "No tasks are lost; this page works again once the broker responds."

_ERRORS: Final[tuple[tuple[type[Exception], int, str], ...]] = (
    (NotFoundError, 404, "It may have ended or been deleted."),
    (UnknownKindError, 404, ""),
    (DuplicateTaskError, 409, "Wait until it has ended, or archive it."),
    (IllegalTransitionError, 409, "Open it again to see its state."),
    (TaskIdConflictError, 409, ""),
    (QueueFullError, 409, ""),
    (PayloadTooLargeError, 413, ""),
    (EnqueueError, 400, ""),
    (BrokerDownError, 503, _WAIT),
)
"""What the engine raises, the special before the general → the status, and what to do."""


class Problems:
    """Turns exceptions and refusals into responses."""

    def __init__(self, renderer: Renderer, incidents: Incidents, *, by_page: bool = False) -> None:
        self._renderer, self._incidents = renderer, incidents
        self._by_page = by_page
        self._api = f"{renderer.prefix}/api/"

    def answer(self, request: Request, status: int, detail: str) -> Response:
        """Return the page or the document that explains the status."""
        title = _TITLES.get(status) or HTTPStatus(status).phrase
        if request.scope["path"].startswith(self._api):
            problem = {
                "type": "about:blank",
                "title": title,
                "status": status,
                "detail": mask_text(detail),
                "request_id": request_id_of(request),
            }
            return Response(
                json.dumps(problem), status_code=status, media_type="application/problem+json"
            )
        return self._renderer.page(
            "problem.html",
            status=status,
            code=status,
            title=title,
            detail=detail,
            request_id=request_id_of(request),
            back=self._back(request),
            login=self._login(request) if status == HTTPStatus.UNAUTHORIZED else "",
        )

    def _login(self, request: Request) -> str:
        """Return where a person logs in, to go on where this was; "": nowhere in this monitor."""
        if not self._by_page:
            return ""
        path, query = str(request.scope["path"]), request.url.query
        wanted = self._back(request) or (f"{path}?{query}" if query else path)
        return f"{self._renderer.prefix}/login?{urlencode({'next': wanted})}"

    def _back(self, request: Request) -> str:
        """Return where a person goes on after a change that failed: what it was to change.

        The page is the answer to a POST: loading it again would send that again.
        """
        path = str(request.scope["path"])
        return path.rpartition("/")[0] if request.method == "POST" else ""

    async def http(self, request: Request, error: Exception) -> Response:
        """Answer what routing, bounds and permissions raise."""
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for it only
        detail = error.detail
        if error.status_code == HTTPStatus.NOT_FOUND and (others := other_methods(request)):
            return self._other_method(request, others)
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            return self._other_method(request, _methods_of(request))
        if error.status_code == HTTPStatus.NOT_FOUND and detail == HTTPStatus.NOT_FOUND.phrase:
            detail = "This page does not exist. Check the address, or start from the queues."
        response = self.answer(request, error.status_code, detail)
        response.headers.update(error.headers or {})
        return response

    async def duly(self, request: Request, error: Exception) -> Response:
        """Answer what the engine raises."""
        found = next((each for each in _ERRORS if isinstance(error, each[0])), None)
        if isinstance(error, NotFoundError) and (others := other_methods(request)):
            return self._other_method(request, others)
        if found is not None:
            status, detail = found[1], f"{_sentence(error)} {found[2]}".rstrip()
        elif isinstance(error, BrokerError):
            status, detail = 502, self._explained(request, error, _sentence(error))
        else:
            status, detail = 500, self._explained(request, error)
        response = self.answer(request, status, detail)
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            response.headers["Retry-After"] = "5"
        return response

    def _other_method(self, request: Request, others: list[str]) -> Response:
        """Answer a request for an address that takes other methods than this."""
        allowed = ", ".join(others)
        response = self.answer(request, 405, f"This address takes {allowed} only.")
        response.headers["Allow"] = allowed
        return response

    async def unexpected(self, request: Request, error: Exception) -> Response:
        """Answer anything else: the traceback is in the log, under the id that the answer shows."""
        return self.answer(request, 500, self._explained(request, error))

    def _explained(self, request: Request, error: Exception, what: str = "") -> str:
        """Log an error; return the text that names it."""
        path = request.scope["path"]
        request_id = request_id_of(request)
        incident = self._incidents.record(
            error, method=request.method, path=path, request_id=request_id
        )
        where = f"incident {incident}, request {request_id}"
        return f"{what} The monitor's log has the details: {where}.".lstrip()


def _methods_of(request: Request) -> list[str]:
    """Return the methods that an address takes: of all routes with the first path that fits."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    paths = [route.path for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    return sorted(
        {each for route in routes if route.path in paths[:1] for each in route.methods or ()}
    )


def other_methods(request: Request) -> list[str]:
    """Return the methods that an address would take, where its method is what does not fit.

    An id may contain slashes: `GET …/tasks/x/run` asks for the task `x/run`. Where that is not
    there, what was meant is the action, which is no GET.
    """
    if request.method not in ("GET", "HEAD"):
        return []
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    matches = [(route, route.matches(request.scope)[0]) for route in routes]
    # An address that has a page and takes a form too is just not there.
    shown = {route.path for route, match in matches if match is Match.FULL}
    others = [route for route, match in matches if match is Match.PARTIAL]
    return sorted(
        {each for route in others if route.path not in shown for each in route.methods or ()}
    )


def _sentence(error: Exception) -> str:
    """Return an error's text as a sentence; a key that it begins with stays as it is written."""
    text = str(error)
    return f"{text}." if _KEY.match(text) else f"{text[:1].upper()}{text[1:]}."
