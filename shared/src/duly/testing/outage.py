"""A TCP proxy between client and broker that fails on demand, as networks do."""

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Self

from duly.runtime.settings import RedisSettings

HOST = "127.0.0.1"
CHUNK_BYTES = 64 * 1024
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, zero seconds: closing sends RST, not FIN."""


@dataclass(slots=True, eq=False)
class _Pipe:
    """One accepted connection: both ends, and the bytes passed each way."""

    client: asyncio.StreamWriter
    broker: asyncio.StreamWriter
    sent: int = 0
    answered: int = 0
    cut_replies: bool = False

    def reset(self) -> None:
        """Reset both ends at once."""
        for writer in (self.client, self.broker):
            raw: socket.socket | None = writer.get_extra_info("socket")
            if raw is not None:
                with suppress(OSError):
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()


@dataclass(kw_only=True, eq=False)
class Outage:
    """The proxy. Attributes may change at any time, and apply to all connections at once.

    `async with Outage.before(settings) as outage:` gives one; clients connect with
    `outage.settings`.
    """

    target: RedisSettings
    latency_seconds: float = 0.0
    """Added to each piece of data, each way."""
    jitter_seconds: float = 0.0
    """At most so much more, at random; `seed` makes it repeatable."""
    slice_bytes: int = 0
    """Pass on at most so many bytes at once; 0: as they arrive."""
    bytes_per_second: float = 0.0
    """The bandwidth each way; 0: unlimited."""
    cut_after_bytes: int | None = None
    """Reset a connection once so many bytes have passed it, both ways together."""
    seed: int = 1
    port: int = 0
    accepted: int = 0
    """Connections accepted so far."""
    _requests_pass: asyncio.Event = field(default_factory=asyncio.Event)
    _replies_pass: asyncio.Event = field(default_factory=asyncio.Event)
    _refusing: bool = False
    _cut_before_reply: Callable[[bytes], bool] | None = None
    _pipes: set[_Pipe] = field(default_factory=set)
    _reply_lost: asyncio.Event = field(default_factory=asyncio.Event)
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 - jitter, repeatable
        self._idle.set()
        self.heal()

    @classmethod
    @asynccontextmanager
    async def before(cls, target: RedisSettings) -> AsyncIterator[Self]:
        """Listen on a free port for the body of an `async with`; then cut everything."""
        outage = cls(target=target)
        server = await asyncio.start_server(outage._serve, HOST, 0)
        outage.port = server.sockets[0].getsockname()[1]
        try:
            yield outage
        finally:
            server.close()
            outage._refusing = True
            outage.heal_data()
            outage.cut()
            await server.wait_closed()
            await outage._idle.wait()

    @property
    def settings(self) -> RedisSettings:
        """The target's settings, with the address of this proxy."""
        return self.target.model_copy(update={"host": HOST, "port": self.port, "url": None})

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return len(self._pipes)

    def heal(self) -> None:
        """Pass everything at full speed again; connections that were cut stay cut."""
        self.latency_seconds = self.jitter_seconds = self.bytes_per_second = 0.0
        self.slice_bytes, self.cut_after_bytes, self._cut_before_reply = 0, None, None
        self._refusing = False
        self.heal_data()

    def heal_data(self) -> None:
        """End a black hole: pass on the data that it holds."""
        self._requests_pass.set()
        self._replies_pass.set()

    def black_hole(self, *, requests: bool = True, replies: bool = True) -> None:
        """Pass nothing on, one way or both; connections stay open and new ones are accepted."""
        for event, held in ((self._requests_pass, requests), (self._replies_pass, replies)):
            if held:
                event.clear()
            else:
                event.set()

    def refuse(self) -> None:
        """Cut every connection, and reset new ones as soon as they are opened."""
        self._refusing = True
        self.cut()

    def cut(self) -> None:
        """Reset every open connection; new ones are accepted."""
        for pipe in tuple(self._pipes):
            pipe.reset()

    def lose_next_reply(self, request: Callable[[bytes], bool] = lambda _: True) -> asyncio.Event:
        """Pass on the next request that matches, and cut its connection before the reply.

        The broker has executed the request, but the client cannot know. Returns an event that is
        set once it has happened.

        Args:
            request: Called with each piece of request data.
        """
        self._reply_lost.clear()
        self._cut_before_reply = request
        return self._reply_lost

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            answers, broker = await asyncio.open_connection(self.target.host, self.target.port)
        except OSError:
            writer.transport.abort()
            return
        pipe = _Pipe(writer, broker)
        self._pipes.add(pipe)
        self._idle.clear()
        try:
            if self._refusing:
                return
            async with asyncio.TaskGroup() as both:
                both.create_task(self._requests(pipe, reader))
                both.create_task(self._replies(pipe, answers))
        finally:
            pipe.reset()
            self._pipes.discard(pipe)
            if not self._pipes:
                self._idle.set()

    async def _requests(self, pipe: _Pipe, reader: asyncio.StreamReader) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                await self._requests_pass.wait()
                if self._cut_before_reply is not None and self._cut_before_reply(data):
                    self._cut_before_reply, pipe.cut_replies = None, True
                pipe.sent += len(data)
                await self._pass_on(data, pipe.broker, pipe)
        await _close(pipe.broker)

    async def _replies(self, pipe: _Pipe, reader: asyncio.StreamReader) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                await self._replies_pass.wait()
                if pipe.cut_replies:
                    pipe.reset()
                    self._reply_lost.set()
                    return
                pipe.answered += len(data)
                await self._pass_on(data, pipe.client, pipe)
        await _close(pipe.client)

    async def _pass_on(self, data: bytes, writer: asyncio.StreamWriter, pipe: _Pipe) -> None:
        size = self.slice_bytes or len(data)
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            await self._delay(len(piece))
            writer.write(piece)
            await writer.drain()
        if self.cut_after_bytes is not None and pipe.sent + pipe.answered >= self.cut_after_bytes:
            pipe.reset()

    async def _delay(self, size: int) -> None:
        seconds = self.latency_seconds + self._random.uniform(0, self.jitter_seconds)
        if self.bytes_per_second:
            seconds += size / self.bytes_per_second
        if seconds:
            await asyncio.sleep(seconds)


async def _close(writer: asyncio.StreamWriter) -> None:
    """Close cleanly, so that the end of one side reaches the other."""
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
