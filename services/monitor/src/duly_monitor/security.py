"""Access to the monitor: who gets in, which requests may change something, security headers.

The gate stands before the routes and denies by default; the permission of each route is checked
again where it is declared (`audit`), so that a route without one cannot exist.
"""

import re
import secrets
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from duly.runtime.monitor_settings import MonitorSettings
from duly_monitor.audit import Act, Audit
from duly_monitor.authentication import Authentication, Refusal
from duly_monitor.peers import Proxies, same_place
from duly_monitor.permissions import NOBODY, Identity, identify
from duly_monitor.settings import CALLBACK, is_loopback

Refuse = Callable[[Request, int, str], Response]
"""Makes the response to a request that is denied, of a status and a reason."""
Failed = Callable[[Request, Exception], Awaitable[Response]]
"""Makes the response to a request whose handling raised."""

MAX_BODY_BYTES = 16_384
MAX_API_BODY_BYTES = 1_048_576
"""Of the API: a batch of tasks with their payloads."""
MAX_QUERY_BYTES = 2_048
MAX_API_QUERY_BYTES = 16_384
"""Of the API: the longest search, each character of which may take twelve bytes."""
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: that would make browsers send `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}

LOG_IN: Final = "/login"
LOG_OUT: Final = "/logout"
START: Final = "/login/start"
CLOSED = (
    "Access to this monitor is disabled (monitor.access is 'closed'). To allow it from this "
    "machine only, set monitor.access to local. To allow it with a password, set monitor.access "
    "to basic, and monitor.username and monitor.password (DULY_MONITOR__ACCESS and so on). Then "
    "restart the monitor."
)
MACHINES_ONLY: Final = "This monitor serves probes and metrics only (monitor.ui is false)."
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
_PROBES: Final = ("/livez", "/readyz")
NOT_LOCAL = (
    "This monitor accepts connections only from its own machine, at localhost or a loopback "
    "address (monitor.access is 'local')."
)


def harden(headers: MutableHeaders) -> None:
    """Add the security headers that a response does not set itself."""
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
    headers.setdefault("Cache-Control", "no-store")


class Gate:
    """ASGI middleware: access, origin of changes, sizes, headers of every response, errors."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: MonitorSettings,
        authentication: Authentication,
        open_paths: tuple[str, ...],
        refuse: Refuse,
        failed: Failed,
        audit: Audit,
    ) -> None:
        self._app, self._refuse, self._failed, self._audit = app, refuse, failed, audit
        self._ui = settings.ui
        self._access, self._authentication = settings.access, authentication
        proxy, at = settings.proxy, settings.prefix
        self._proxies = Proxies(proxy.networks, (proxy.user_header, proxy.groups_header))
        self._callback = f"{at}{CALLBACK}"
        self._api, self._static = f"{at}/api/", f"{at}/static/"
        self._log_in = f"{at}{LOG_IN}"
        self._ways_in = {self._log_in, f"{at}{START}", self._callback}
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on to the routes, or answer it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        started = False
        scope = self._proxies.resolved(scope)
        request = Request(scope, receive)
        request_id = scope["duly.request_id"] = _request_id(request)

        async def hardened(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                harden(headers)
            await send(message)

        found = self._admitted(request)
        if isinstance(found, Refusal):
            await self._write_down(request, found)
            await self._denied(request, found)(scope, receive, hardened)
            return
        identify(request, found)
        try:
            await self._app(scope, _bounded(receive, self._most(request)), hardened)
        except Exception as error:
            # The edge of the process. Where nothing was sent yet, a page can still say so.
            if started:
                raise
            response = await self._failed(request, error)
            await response(scope, receive, hardened)

    def _denied(self, request: Request, refusal: Refusal) -> Response:
        """Return the answer to a request that is denied: for people, the way to log in."""
        path = request.scope["path"]
        if not self._ui:
            return PlainTextResponse(f"{refusal.detail}\n", refusal.status)
        if (
            refusal.status == 401  # noqa: PLR2004 - the status that asks for a log-in
            and not refusal.tried
            and self._authentication.by_page
            and request.method in SAFE_METHODS
            and "text/html" in request.headers.get("accept", "")
            and not path.startswith(self._api)
        ):
            query = request.scope.get("query_string", b"").decode("latin-1")
            wanted = f"{path}?{query}" if query else path
            return RedirectResponse(f"{self._log_in}?next={quote(wanted, safe='')}", 303)
        response = self._refuse(request, refusal.status, refusal.detail)
        response.headers.update(refusal.headers)
        return response

    async def _write_down(self, request: Request, refusal: Refusal) -> None:
        """Record a failed log-in, and what somebody tried to change in vain."""
        path = request.scope["path"]
        if refusal.tried:
            target = f"user={refusal.user}" if refusal.user else path
            act = Act("log_in", target=target, detail=refusal.detail)
            await self._audit.record(request, act, "refused")
        elif request.method not in SAFE_METHODS:
            act = Act(request.method.lower(), target=path, detail=refusal.detail)
            await self._audit.record(request, act, "refused")

    def _admitted(self, request: Request) -> Identity | Refusal:
        """Return who sent a request that may go on, or why it may not."""
        most = self._most(request)
        # The codes of some identity providers have some thousand characters.
        long = most == MAX_API_BODY_BYTES or request.scope["path"] == self._callback
        of_query = MAX_API_QUERY_BYTES if long else MAX_QUERY_BYTES
        refusal = _oversized(request, most, of_query)
        if refusal is not None:
            return refusal
        if not self._ui and request.scope["path"] not in (*_PROBES, *self._open_paths):
            return Refusal(404, MACHINES_ONLY)
        found = self._identity(request)
        if isinstance(found, Refusal):
            return found
        return self._cross_site(request) or found

    def _most(self, request: Request) -> int:
        """Return the bytes that the body of a request may have."""
        of_api = request.scope["path"].startswith(self._api)
        return MAX_API_BODY_BYTES if of_api else MAX_BODY_BYTES

    def _identity(self, request: Request) -> Identity | Refusal:
        """Return who sent a request, or why the access mode does not allow it."""
        # Not request.url: that is built from the Host header, which the client writes.
        path = request.scope["path"]
        if path in _PROBES or path.startswith(self._static):
            return NOBODY  # They reveal nothing, and kubelets have no password.
        if self._access == "local" and not _is_local(request):
            return Refusal(403, NOT_LOCAL)
        logs_in = self._authentication.by_page and path in self._ways_in
        if path in self._open_paths or logs_in:
            return NOBODY
        if self._access == "closed":
            return Refusal(403, CLOSED)
        return self._authentication.identity(request)

    def _cross_site(self, request: Request) -> Refusal | None:
        """Deny changes that another site makes a browser send."""
        if request.method in SAFE_METHODS or self._is_own(request):
            return None
        return Refusal(
            403, "Cross-site request blocked: it did not come from a page of this monitor."
        )

    def _is_own(self, request: Request) -> bool:
        headers: Headers = request.headers
        fetch_site = headers.get("sec-fetch-site")
        if fetch_site is not None:
            return fetch_site in ("same-origin", "none")
        origin = headers.get("origin")
        if origin is not None:
            scheme = request.scope.get("scheme", "")
            return same_place(_place_of(origin), headers.get("host", ""), scheme)
        # Every browser sends one of the two with a form: this is a script, and those use the API.
        return str(request.scope["path"]).startswith(self._api)


def _request_id(request: Request) -> str:
    """Return the id that a named proxy gave a request, or a new one."""
    given = request.headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)


def _place_of(origin: str) -> str:
    """Return host and port of an Origin, in small letters; "" where it is none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _is_local(request: Request) -> bool:
    """Tell whether peer and Host are this machine; the latter stops DNS rebinding."""
    peer = request.client.host if request.client else ""
    if request.scope.get("duly.claims_proxy"):
        return False  # passed on by something that is not named: its sender may be anywhere
    host = request.headers.get("host", "")
    name = host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]
    return is_loopback(peer) and is_loopback(name)


def _oversized(request: Request, most: int, most_of_query: int) -> Refusal | None:
    length = request.headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()) or int(length[:20]) > most:
        return Refusal(413, _too_large(most))
    if len(request.scope.get("query_string", b"")) > most_of_query:
        return Refusal(414, f"The query string is limited to {most_of_query:,} bytes.")
    return None


def _bounded(receive: Receive, most: int) -> Receive:
    """Stop reading a body of unknown length once it is too long."""
    total = 0

    async def bounded() -> Message:
        nonlocal total
        message = await receive()
        if message["type"] == "http.request":
            total += len(message.get("body", b""))
            if total > most:
                raise HTTPException(413, _too_large(most))
        return message

    return bounded


def _too_large(most: int) -> str:
    return f"The body of a request is limited to {most:,} bytes."
