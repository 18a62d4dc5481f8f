"""Every error as an answer: a page for people, problem+json (RFC 9457) for programs."""

import json
from http import HTTPStatus

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from duly.errors import BrokerDownError, IllegalTransitionError, NotFoundError
from duly_monitor.render import Renderer
from duly_monitor.security import harden

_TITLES = {
    400: "That can not be asked",
    401: "Please log in",
    403: "Not allowed",
    404: "Nothing here",
    405: "Not in this way",
    409: "The task has moved on",
    413: "Too much",
    414: "Too long",
    500: "Something broke in the monitor",
    503: "The broker does not answer",
}


class Problems:
    """Turns exceptions and refusals into answers."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._api = f"{renderer.prefix}/api/"

    def answer(self, request: Request, status: int, detail: str) -> Response:
        """Return the page or the document that explains the status."""
        title = _TITLES.get(status) or HTTPStatus(status).phrase
        if request.scope["path"].startswith(self._api):
            problem = {"type": "about:blank", "title": title, "status": status, "detail": detail}
            return Response(
                json.dumps(problem), status_code=status, media_type="application/problem+json"
            )
        return self._renderer.page(
            "problem.html", status=status, code=status, title=title, detail=detail
        )

    async def http(self, request: Request, error: Exception) -> Response:
        """Answer what routing, bounds and permissions raise."""
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for it only
        detail = error.detail
        if error.status_code == HTTPStatus.NOT_FOUND and detail == HTTPStatus.NOT_FOUND.phrase:
            detail = "There is no page at this address."
        response = self.answer(request, error.status_code, detail)
        response.headers.update(error.headers or {})
        return response

    async def duly(self, request: Request, error: Exception) -> Response:
        """Answer what the engine raises."""
        status, detail = 500, "See the log of the monitor."
        match error:
            case NotFoundError():
                status, detail = 404, f"{error}. It may have ended, or somebody deleted it."
            case IllegalTransitionError():
                status, detail = 409, f"{error}. Reload the page to see where it is now."
            case BrokerDownError():
                status, detail = 503, f"{error}. Nothing is lost; this page works again with it."
        response = self.answer(request, status, detail)
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            response.headers["Retry-After"] = "5"
        return response

    async def unexpected(self, request: Request, error: Exception) -> Response:  # noqa: ARG002
        """Answer anything else; the server logs the traceback, the answer does not show it."""
        response = self.answer(request, 500, "The log of the monitor has the details.")
        # This answer is made outside the gate, which hardens all others.
        harden(MutableHeaders(raw=response.raw_headers))
        return response
