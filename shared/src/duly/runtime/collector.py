"""The collector of spans: an OTLP endpoint, asked over HTTP/1.1 on one connection at a time.

It is asked in the event loop. A thread would have to take the interpreter's lock from the handlers
some twenty times for a request, which costs these more than the request itself.
"""

import asyncio
import ssl
from asyncio import StreamReader, StreamWriter
from collections.abc import Mapping
from datetime import timedelta
from typing import Final, Self
from urllib.parse import quote, unquote, urlsplit

import h11

from duly.errors import ConfigError
from duly.runtime.authority import trusting
from duly.runtime.secretfile import SecretFile

HEADERS_KEY: Final = "tracing.headers_file"
_MOST_ANSWER: Final = 65_536
_AGAIN: Final = {408, 429, 500, 502, 503, 504}
_FRAMING: Final = {"connection", "content-length", "expect", "transfer-encoding", "upgrade"}
"""Headers that say where a request ends; they are not for others to give."""


class CollectorError(Exception):
    """The collector did not take spans. `again`: it may take the same ones later."""

    def __init__(self, reason: str, *, again: bool) -> None:
        self.again = again
        super().__init__(reason)


class Collector:
    """Where spans are sent. To be used by one task.

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
        secure = parts.scheme == "https"
        self._host, self._port = parts.hostname or "", parts.port or (443 if secure else 80)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        self._target = quote(path or "/", safe="%/:=&?~#+!$,;'@()*[]")
        self._seconds = timeout.total_seconds()
        self._given = {"Host": parts.netloc, **(headers or {})}
        self._file = SecretFile(HEADERS_KEY, headers_file) if headers_file else None
        self._context = trusting("tracing.ca_file", ca_file) if secure else None
        self._connection: _Connection | None = None
        self._headers()  # finds what is wrong in the file

    async def send(self, body: bytes) -> None:
        """Send one `ExportTraceServiceRequest`.

        Raises:
            CollectorError: It was not taken.
        """
        reused = self._connection is not None
        try:
            async with asyncio.timeout(self._seconds):
                status = await self._post(body)
        except (OSError, h11.ProtocolError, ConfigError, ValueError) as error:
            self.close()
            if not reused or isinstance(error, TimeoutError):
                raise CollectorError(_said_by(error), again=True) from None
            # The collector may have closed a connection that was idle: that is no trouble.
            return await self.send(body)
        except BaseException:
            self.close()  # in the midst of a request it is of no use for another one
            raise
        if status // 100 != 2:  # noqa: PLR2004 - success
            self.close()
            raise CollectorError(f"it answered with status {status}", again=status in _AGAIN)
        return None

    async def _post(self, body: bytes) -> int:
        """Return the status of the answer."""
        given = {
            **self._headers(),
            "Content-Type": "application/x-protobuf",
            "Content-Length": str(len(body)),
        }
        used = self._connection
        if used is None:
            used = await _Connection.open(self._host, self._port, self._context)
            self._connection = used
        headers = {name.lower(): (name, value) for name, value in given.items()}
        request = h11.Request(method="POST", target=self._target, headers=list(headers.values()))
        status = await used.ask(request, body)
        if not used.renew():
            self.close()
        return status

    def close(self) -> None:
        """Close the connection; the next request opens another. Idempotent."""
        used, self._connection = self._connection, None
        if used is not None:
            used.close()

    def _headers(self) -> dict[str, str]:
        if self._file is None:
            return self._given
        return {**self._given, **headers_of(self._file.read())}


class _Connection:
    """One connection, with what h11 knows of it."""

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._http = h11.Connection(h11.CLIENT)

    @classmethod
    async def open(cls, host: str, port: int, context: ssl.SSLContext | None) -> Self:
        return cls(*await asyncio.open_connection(host, port, ssl=context))

    async def ask(self, request: h11.Request, body: bytes) -> int:
        """Return the status of the answer to a request.

        Nothing waits for the body to be gone: who refuses it may answer before that.

        Raises:
            OSError: The connection broke.
            h11.ProtocolError: The other side does not speak HTTP.
        """
        sent = [self._http.send(part) for part in (request, h11.Data(body), h11.EndOfMessage())]
        self._writer.writelines([part for part in sent if part])
        status = size = 0
        while size <= _MOST_ANSWER:
            event = await self._event()
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                size += len(event.data)
            elif isinstance(event, h11.EndOfMessage):
                break
        return status

    async def _event(self) -> h11.Event:
        """Return what the other side has sent next."""
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._reader.read(_MOST_ANSWER))
        if not isinstance(event, h11.Event) or isinstance(event, h11.ConnectionClosed):
            raise ConnectionResetError
        return event

    def renew(self) -> bool:
        """Make the connection ready for another request; tell whether it can be."""
        http = self._http
        if self._writer.transport.get_write_buffer_size():
            return False  # it has been answered before it was sent
        if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
            return False
        http.start_next_cycle()
        return True

    def close(self) -> None:
        self._writer.transport.abort()


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
        if name.strip().lower() in _FRAMING:
            problem = f"line {number} names a header that belongs to the connection"
            raise ConfigError(HEADERS_KEY, problem, remedy="remove the line")
        found[name.strip()] = value.strip()
    return found


def headers_of_variable(text: str) -> dict[str, str]:
    """Return the headers of an `OTEL_EXPORTER_OTLP_HEADERS`: name=value,…; what is none is left."""
    pairs = (part.partition("=") for part in text.split(","))
    found = {name.strip(): unquote(value.strip()) for name, equals, value in pairs if equals}
    return {
        name: value
        for name, value in found.items()
        if _is_header(name, value) and name.lower() not in _FRAMING
    }


def _is_header(name: str, value: str) -> bool:
    return (
        bool(name)
        and name.isascii()
        and name.replace("-", "").replace("_", "").isalnum()
        and value.isascii()
        and value.isprintable()
    )


def _said_by(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    # Others may quote a header.
    return type(error).__name__
