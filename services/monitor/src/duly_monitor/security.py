"""Who may come in, from where a change may come, and what every answer tells the browser.

The gate stands before the routes and lets nothing through by default; the permission of each
route is checked again where it is declared, so that a route without one can not exist.
"""

import base64
import binascii
import hmac
from collections.abc import Awaitable, Callable
from enum import StrEnum
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from duly.runtime.settings import MonitorSettings
from duly_monitor.settings import is_loopback

Endpoint = Callable[[Request], Awaitable[Response]]
Refuse = Callable[[Request, int, str], Response]
"""Makes the answer to a request that is not let in: status and reason."""

MAX_BODY_BYTES = 16_384
MAX_QUERY_BYTES = 2_048
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

CLOSED = (
    "This monitor is closed. To open it on this machine only, set monitor.access to local; "
    "to open it with a password, set monitor.access to basic, monitor.username and "
    "monitor.password (DULY_MONITOR__ACCESS and so on), and start it again."
)
NOT_LOCAL = (
    "monitor.access is 'local': this monitor answers only to browsers on its own machine, "
    "under localhost or a loopback address."
)


class Permission(StrEnum):
    """What a route demands."""

    VIEW = "view"
    OPERATE = "operate"


def harden(headers: MutableHeaders) -> None:
    """Add the security headers to an answer that does not have its own."""
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
    headers.setdefault("Cache-Control", "no-store")


def permitted(permission: Permission, endpoint: Endpoint) -> Endpoint:
    """Wrap a handler so that it runs only for requests that hold the permission."""

    async def guarded(request: Request) -> Response:
        if permission not in request.scope.get("duly.permissions", frozenset()):
            raise HTTPException(403, f"this needs the permission {permission.value}")
        return await endpoint(request)

    # The description of the API reads what a handler declares about itself.
    guarded.__wrapped__ = endpoint  # type: ignore[attr-defined]
    return guarded


class Gate:
    """ASGI middleware: access, the origin of changes, sizes, and the headers of every answer."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: MonitorSettings,
        open_paths: tuple[str, ...],
        refuse: Refuse,
    ) -> None:
        self._app, self._refuse = app, refuse
        self._access = settings.access
        self._api = f"{settings.prefix}/api/"
        self._static = f"{settings.prefix}/static/"
        self._open_paths = open_paths
        password = settings.password.get_secret_value() if settings.password else ""
        self._credentials = (settings.username.encode(), password.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through to the routes, or answer it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                harden(MutableHeaders(scope=message))
            await send(message)

        request = Request(scope)
        refusal = self._refusal(request)
        if refusal is not None:
            response = self._refuse(request, *refusal)
            if refusal[0] == 401:  # noqa: PLR2004 - the status that asks for a log-in
                response.headers["WWW-Authenticate"] = 'Basic realm="duly", charset="UTF-8"'
            await response(scope, receive, hardened)
            return
        scope["duly.permissions"] = frozenset(Permission)
        await self._app(scope, _bounded(receive), hardened)

    def _refusal(self, request: Request) -> tuple[int, str] | None:
        """Return the status and reason with which the request is turned away, if it is."""
        return _oversized(request) or self._stranger(request) or self._foreign(request)

    def _stranger(self, request: Request) -> tuple[int, str] | None:
        """Turn away whom the access mode does not let in."""
        # Not request.url: that is built from the Host header, which the client writes.
        path = request.scope["path"]
        if path in ("/livez", "/readyz") or path.startswith(self._static):
            return None  # They tell nothing, and kubelets have no password.
        if self._access == "local":
            return None if _is_local(request) else (403, NOT_LOCAL)
        if path in self._open_paths:
            return None
        if self._access == "basic":
            return None if self._knows_password(request) else (401, "Please log in.")
        return 403, CLOSED

    def _knows_password(self, request: Request) -> bool:
        scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            given = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError):
            return False
        username, _, password = given.partition(b":")
        # Both are always compared, so that time does not tell which one was wrong.
        same_user = hmac.compare_digest(username, self._credentials[0])
        same_password = hmac.compare_digest(password, self._credentials[1])
        return same_user and same_password

    def _foreign(self, request: Request) -> tuple[int, str] | None:
        """Turn away changes that another site makes a browser send."""
        if request.method in SAFE_METHODS:
            return None
        return (
            None
            if self._is_own(request.headers, request.scope["path"])
            else (
                403,
                "This change did not come from a page of this monitor.",
            )
        )

    def _is_own(self, headers: Headers, path: str) -> bool:
        fetch_site = headers.get("sec-fetch-site")
        if fetch_site is not None:
            return fetch_site in ("same-origin", "none")
        origin = headers.get("origin")
        if origin is not None:
            return urlsplit(origin).netloc.lower() == headers.get("host", "").lower() != ""
        # Every browser sends one of the two with a form: this is a script, and those use the API.
        return path.startswith(self._api)


def _is_local(request: Request) -> bool:
    """Tell whether peer and Host are this machine; the latter stops DNS rebinding."""
    peer = request.client.host if request.client else ""
    host = request.headers.get("host", "")
    name = host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]
    return is_loopback(peer) and is_loopback(name)


def _oversized(request: Request) -> tuple[int, str] | None:
    length = request.headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()) or int(length[:20]) > MAX_BODY_BYTES:
        return 413, f"A request may have a body of at most {MAX_BODY_BYTES:,} bytes."
    if len(request.scope.get("query_string", b"")) > MAX_QUERY_BYTES:
        return 414, f"A query may have at most {MAX_QUERY_BYTES:,} bytes."
    return None


def _bounded(receive: Receive) -> Receive:
    """Stop reading a body that comes without a length once it is too long."""
    total = 0

    async def bounded() -> Message:
        nonlocal total
        message = await receive()
        if message["type"] == "http.request":
            total += len(message.get("body", b""))
            if total > MAX_BODY_BYTES:
                raise HTTPException(413, "the body is too large")
        return message

    return bounded
