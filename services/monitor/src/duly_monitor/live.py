"""Live updates: one poll of the inspector per process, sent to every open page by SSE."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import timedelta

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from duly.encodable import encodable

Fragment = Callable[[], Awaitable[str]]
"""Reads the inspector and returns what a page shows of it, as HTML."""

PERIOD = timedelta(seconds=1)
HEARTBEAT = timedelta(seconds=15)
"""A comment this often keeps proxies from closing a quiet stream."""
MAX_CLIENTS = 200


class _Topic:
    """One live region: its newest HTML, and who listens to it."""

    def __init__(self, fragment: Fragment) -> None:
        self.fragment = fragment
        self.html = ""
        self.version = 0
        self.listeners = 0
        self.changed = asyncio.Condition()

    async def publish(self, html: str) -> None:
        """Hand the HTML to the listeners, unless they have it already."""
        if html == self.html:
            return
        async with self.changed:
            self.html = html
            self.version += 1
            self.changed.notify_all()


class Feed:
    """Polls while somebody listens, renders each topic once, and fans it out."""

    def __init__(
        self,
        fragments: Mapping[str, Fragment],
        *,
        broken: Callable[[Exception], str],
        period: timedelta = PERIOD,
        heartbeat: timedelta = HEARTBEAT,
        max_clients: int = MAX_CLIENTS,
    ) -> None:
        self._topics = {name: _Topic(fragment) for name, fragment in fragments.items()}
        self._broken = broken
        self._period = period.total_seconds()
        self._heartbeat = heartbeat.total_seconds()
        self._max_clients = max_clients
        self._wanted = asyncio.Event()
        self._closed = False
        self.unread: Callable[[], None] = lambda: None
        """Counts a connection that ended since its client had read nothing for too long."""
        self.polls = 0
        """Rounds of reading so far; stands still while nobody listens."""

    @property
    def clients(self) -> int:
        """Open streams."""
        return sum(topic.listeners for topic in self._topics.values())

    @property
    def polling(self) -> bool:
        """Whether it reads the inspector, that is whether somebody listened lately."""
        return self._wanted.is_set()

    async def run(self) -> None:
        """Poll until cancelled; run one such task for the life of the process."""
        while True:
            await self._wanted.wait()
            self.polls += 1
            for topic in self._topics.values():
                if topic.listeners:
                    await topic.publish(await self._read(topic))
            await asyncio.sleep(self._period)
            if not self.clients:
                self._wanted.clear()

    async def _read(self, topic: _Topic) -> str:
        """Render a topic, or what is wrong; the next round tries again."""
        try:
            return await topic.fragment()
        except Exception as error:  # noqa: BLE001
            # The edge of the process: one failed reading must not end the updates of all pages.
            return self._broken(error)

    async def close(self) -> None:
        """End every stream, so that a server that stops need not wait for them."""
        self._closed = True
        for topic in self._topics.values():
            async with topic.changed:
                topic.changed.notify_all()

    async def stream(self, request: Request) -> Response:
        """Answer with the topic's HTML, now and whenever it changes."""
        topic = self._topics.get(request.path_params["topic"])
        if topic is None:
            raise HTTPException(404)
        if self._closed or self.clients >= self._max_clients:
            raise HTTPException(
                503, "Too many open pages; reload this one to update it.", {"Retry-After": "30"}
            )
        # Counted here and not once it is read: many that come at once must not all pass.
        fresh = not topic.listeners
        topic.listeners += 1
        return _Stream(self._events(topic, fresh=fresh), ended=lambda: self._left(topic))

    @staticmethod
    def _left(topic: _Topic) -> None:
        topic.listeners -= 1

    async def _events(self, topic: _Topic, *, fresh: bool) -> AsyncIterator[str]:
        if fresh:
            topic.html = ""  # What was read for the last listener may be hours old.
        # Another one listens: the page may have been rendered before the change they have seen.
        seen = topic.version if not topic.html else -1
        self._wanted.set()
        yield "retry: 1000\n\n"
        while not self._closed:
            if await self._news(topic, seen):
                seen = topic.version
                yield _event(topic.html, seen)
            elif not self._closed:
                yield ": keep-alive\n\n"

    async def _news(self, topic: _Topic, seen: int) -> bool:
        """Wait for a newer version; False when a heartbeat is due first, or the feed closed."""
        try:
            async with asyncio.timeout(self._heartbeat), topic.changed:
                await topic.changed.wait_for(lambda: topic.version != seen or self._closed)
        except TimeoutError:
            return False
        return topic.version != seen


class _Stream(StreamingResponse):
    """A stream of events that says when it has ended, even if nobody read it."""

    def __init__(self, events: AsyncIterator[str], *, ended: Callable[[], None]) -> None:
        super().__init__(
            events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
        )
        self._ended = ended

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._ended()


def _event(html: str, version: int) -> str:
    """Return one message of the SSE format."""
    # Bare carriage returns end a line too: text from a payload must not start a field.
    lines = encodable(html.replace("\r", "")).split("\n")
    body = "\n".join(f"data: {line}" for line in lines)
    return f"id: {version}\n{body}\n\n"
