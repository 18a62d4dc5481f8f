"""The collector of spans: an OTLP endpoint, asked over HTTP/1.1 on one connection at a time."""

import http.client
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Final
from urllib.parse import unquote, urlsplit

from duly.errors import ConfigError
from duly.runtime.secretfile import SecretFile

HEADERS_KEY: Final = "tracing.headers_file"
_MOST_ANSWER: Final = 65_536
_AGAIN: Final = {408, 429, 500, 502, 503, 504}


class CollectorError(Exception):
    """The collector did not take spans. `again`: it may take the same ones later."""

    def __init__(self, reason: str, *, again: bool) -> None:
        self.again = again
        super().__init__(reason)


class Collector:
    """Where spans are sent. To be used by one thread.

    Args:
        url: The whole address, with its path.
        timeout: Of one request.
        headers: Sent with each.
        headers_file: With more of them, read again for each; None: there is none.
        ca_file: Of the authority to trust; None: those of the machine.

    Raises:
        ConfigError: A file cannot be read, or a header of it cannot be sent.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: timedelta,
        headers: Mapping[str, str] | None = None,
        headers_file: str | None = None,
        ca_file: str | None = None,
    ) -> None:
        parts = urlsplit(url)
        self._secure, self._host, self._port = parts.scheme == "https", parts.hostname, parts.port
        self._path = parts.path + (f"?{parts.query}" if parts.query else "")
        self._seconds, self._given = timeout.total_seconds(), dict(headers or {})
        self._file = SecretFile(HEADERS_KEY, headers_file) if headers_file else None
        self._context = _trusting(ca_file) if self._secure else None
        self._http: http.client.HTTPConnection | None = None
        self._headers()  # finds what is wrong in the file

    def send(self, body: bytes) -> None:
        """Send one `ExportTraceServiceRequest`.

        Raises:
            CollectorError: It was not taken.
        """
        reused = self._http is not None
        try:
            status = self._post(body)
        except (OSError, http.client.HTTPException, ConfigError, ValueError) as error:
            self.close()
            if not reused or isinstance(error, TimeoutError):
                raise CollectorError(_said_by(error), again=True) from None
            # The collector may have closed a connection that was idle: that is no trouble.
            return self.send(body)
        if status // 100 != 2:  # noqa: PLR2004 - success
            self.close()
            raise CollectorError(f"it answered with status {status}", again=status in _AGAIN)

        return None

    def _post(self, body: bytes) -> int:
        """Return the status of the answer."""
        headers = {**self._headers(), "Content-Type": "application/x-protobuf"}
        used = self._http = self._http or self._opened()
        with _within(self._seconds, used):
            used.request("POST", self._path, body=body, headers=headers)
            response = used.getresponse()
            if len(response.read(_MOST_ANSWER + 1)) > _MOST_ANSWER or response.will_close:
                self.close()
            return response.status

    def close(self) -> None:
        """Close the connection; the next request opens another. Idempotent."""
        used, self._http = self._http, None
        if used is not None:
            with suppress(OSError):
                used.close()

    def _headers(self) -> dict[str, str]:
        if self._file is None:
            return self._given
        return {**self._given, **headers_of(self._file.read())}

    def _opened(self) -> http.client.HTTPConnection:
        if self._secure:
            return http.client.HTTPSConnection(
                self._host or "", self._port, timeout=self._seconds, context=self._context
            )
        return http.client.HTTPConnection(self._host or "", self._port, timeout=self._seconds)


@contextmanager
def _within(seconds: float, used: http.client.HTTPConnection) -> Iterator[None]:
    """Bound a whole request: the timeout of a socket bounds each read, and starts anew with it.

    Raises:
        TimeoutError: The time is over.
    """
    over = threading.Event()

    def cut() -> None:
        over.set()
        with suppress(OSError, AttributeError):  # not connected yet, or closed already
            used.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (OSError, http.client.HTTPException, ValueError):
        if not over.is_set():
            raise
    finally:
        timer.cancel()
    if over.is_set():
        message = f"no answer within {seconds:g} s"
        raise TimeoutError(message)


def headers_of(text: str) -> dict[str, str]:
    """Return the headers in lines `name: value`.

    Raises:
        ConfigError: A line is none. It is not quoted: it may be a secret.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        name, colon, value = line.partition(":")
        if not colon or not _is_header(name.strip(), value.strip()):
            remedy = "write name: value, for example Authorization: Bearer …"
            raise ConfigError(HEADERS_KEY, f"line {number} is no header", remedy=remedy)
        found[name.strip()] = value.strip()
    return found


def headers_of_variable(text: str) -> dict[str, str]:
    """Return the headers of an `OTEL_EXPORTER_OTLP_HEADERS`: name=value,…; what is none is left."""
    pairs = (part.partition("=") for part in text.split(","))
    found = {name.strip(): unquote(value.strip()) for name, equals, value in pairs if equals}
    return {name: value for name, value in found.items() if _is_header(name, value)}


def _is_header(name: str, value: str) -> bool:
    return (
        bool(name)
        and name.isascii()
        and name.replace("-", "").replace("_", "").isalnum()
        and value.isascii()
        and value.isprintable()
    )


def _trusting(ca_file: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        key = "tracing.ca_file"
        raise ConfigError(key, f"cannot be read: {error}", remedy="name a PEM file") from error


def _said_by(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    # Others may quote a header.
    return type(error).__name__
