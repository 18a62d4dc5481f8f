"""A connection to an order service: one request at a time, within a time and a size."""

import asyncio
import http.client
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode, urlsplit

from typing_extensions import override

from duly.engine.middleware.tracing import child, headers_of_current_span
from duly.errors import ConfigError
from duly.runtime import threads
from duly.runtime.authority import trusting
from duly.runtime.order_settings import HttpSourceSettings
from duly.runtime.traceparent import TRACEPARENT, TRACESTATE

URL_KEY: Final = "orders.http.url"
TOKEN_KEY: Final = "orders.http.token"  # noqa: S105 - the name of a setting
CA_KEY: Final = "orders.http.ca_file"
_CHUNK: Final = 64 * 1024


class TooLargeError(Exception):
    """A body is larger than is accepted."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an order service is. Its text holds no secret."""

    secure: bool
    host: str
    port: int | None
    path: str
    query: str

    @override
    def __str__(self) -> str:
        port = f":{self.port}" if self.port else ""
        return f"{'https' if self.secure else 'http'}://{self.host}{port}{self.path}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service answered."""

    status: int
    kind: str
    """The media type, in lower case and without parameters."""
    retry_after: str
    body: bytes


def read_place(url: str) -> Place:
    """Return the place of a URL.

    Raises:
        ConfigError: It is no URL of a service. Nothing of it is quoted.
    """
    example = "such as https://orders.example.com/pending"
    if not url:
        raise ConfigError(URL_KEY, "is empty", remedy=f"name the service, {example}")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigError(URL_KEY, "is not a URL", remedy=example) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or not url.isprintable():
        raise ConfigError(URL_KEY, "is not a URL of http or https", remedy=example)
    if "@" in parts.netloc:
        problem = "holds a user name or a password"
        raise ConfigError(URL_KEY, problem, remedy=f"put the secret into {TOKEN_KEY}")
    return Place(parts.scheme == "https", parts.hostname, port, parts.path or "/", parts.query)


class ServiceConnection:
    """Asks an order service, over one connection that is kept while it works.

    The requests run in threads. What takes too long is given up by closing the socket, which ends
    the thread.

    Args:
        place: The service.
        settings: The authority to trust, and the bounds.
        seconds: How long a request may take, its body included.
        token: Is sent with each request; None: none.

    Raises:
        ConfigError: The authority cannot be read, or the token cannot be sent.
    """

    def __init__(
        self, place: Place, settings: HttpSourceSettings, seconds: float, token: str | None = None
    ) -> None:
        self._place, self._seconds = place, seconds
        self._most = settings.max_page_bytes
        self._context = trusting(CA_KEY, settings.ca_file) if place.secure else None
        self._headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "duly",
        }
        if token is not None:
            self._headers["Authorization"] = f"Bearer {_checked(token)}"
        self._http: http.client.HTTPConnection | None = None

    async def get(self, parameters: Mapping[str, str]) -> Answer:
        """Return the answer to a GET with these parameters.

        Raises:
            TimeoutError: It took too long.
            TooLargeError: The body is larger than a page may be.
            OSError: The service cannot be reached.
            http.client.HTTPException: It does not speak HTTP.
        """
        place = self._place
        about = {
            "http.request.method": "GET",
            "server.address": place.host,
            "server.port": place.port or (443 if place.secure else 80),
            "url.path": place.path,
            "url.scheme": "https" if place.secure else "http",
        }
        try:
            with child("GET", "CLIENT", about, scope="duly.orders") as span:
                # The service belongs to the trace as well; it is told nothing else of it.
                sent = {**self._headers, **_trace_headers()}
                async with asyncio.timeout(self._seconds):
                    answer = await threads.start(self._get, parameters, sent)
                if span is not None:
                    span.set_attribute("http.response.status_code", answer.status)
                return answer
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection, also while a thread uses it. Idempotent."""
        used, self._http = self._http, None
        if used is None:
            return
        if used.sock is not None:
            with suppress(OSError):
                used.sock.shutdown(2)
        with suppress(OSError):
            used.close()

    def _get(self, parameters: Mapping[str, str], headers: Mapping[str, str]) -> Answer:
        ends = time.monotonic() + self._seconds
        place = self._place
        used = self._http = self._http or self._opened()
        query = "&".join(filter(None, (place.query, urlencode(parameters))))
        used.request("GET", f"{place.path}?{query}", headers=dict(headers))
        response = used.getresponse()
        if (response.length or 0) > self._most:
            raise TooLargeError
        body = bytearray()
        while chunk := response.read1(_CHUNK):
            body += chunk
            if len(body) > self._most:
                raise TooLargeError
            if time.monotonic() > ends:
                raise TimeoutError
        response.close()  # `read1` leaves it open at its end, which blocks the connection.
        kind = response.headers.get_content_type()
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            kind = "compressed"
        return Answer(response.status, kind, response.headers.get("Retry-After", ""), bytes(body))

    def _opened(self) -> http.client.HTTPConnection:
        place = self._place
        if place.secure:
            return http.client.HTTPSConnection(
                place.host, place.port, timeout=self._seconds, context=self._context
            )
        return http.client.HTTPConnection(place.host, place.port, timeout=self._seconds)


def _trace_headers() -> dict[str, str]:
    """Return W3C's headers of the current trace, without what else travels with a task."""
    found = headers_of_current_span()
    return {name: found[name] for name in (TRACEPARENT, TRACESTATE) if name in found}


def _checked(token: str) -> str:
    """Return a token that can stand in a header; what refuses others would quote it."""
    if not token or not token.isascii() or not token.isprintable():
        remedy = "remove line breaks and spaces around it"
        raise ConfigError(TOKEN_KEY, "cannot stand in a header", remedy=remedy)
    return token
