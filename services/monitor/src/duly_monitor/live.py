"""Live updates: one poll of the inspector per process, handed on to every open page by SSE."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import timedelta

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from duly.errors import BrokerDownError

Fragment = Callable[[], Awaitable[str]]
"""Reads the inspector and returns what a page shows of it, as HTML."""

PERIOD = timedelta(seconds=1)
HEARTBEAT = timedelta(seconds=15)
"""A comment this often keeps proxies from closing a quiet stream."""
MAX_CLIENTS = 200

_log = structlog.get_logger("duly.monitor")


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
        down: Callable[[Exception], str],
        period: timedelta = PERIOD,
        heartbeat: timedelta = HEARTBEAT,
        max_clients: int = MAX_CLIENTS,
    ) -> None:
        self._topics = {name: _Topic(fragment) for name, fragment in fragments.items()}
        self._down = down
        self._period = period.total_seconds()
        self._heartbeat = heartbeat.total_seconds()
        self._max_clients = max_clients
        self._wanted = asyncio.Event()
        self._closed = False
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
            for name, topic in self._topics.items():
                if topic.listeners:
                    await topic.publish(await self._read(name, topic))
            await asyncio.sleep(self._period)
            if not self.clients:
                self._wanted.clear()

    async def _read(self, name: str, topic: _Topic) -> str:
        """Render a topic; a broker that is away is shown, and asked again in the next round."""
        try:
            return await topic.fragment()
        except BrokerDownError as error:
            return self._down(error)
        except Exception as error:  # noqa: BLE001
            # The edge of the process: one bad reading must not end the updates of all pages.
            _log.exception("Live update failed", topic=name)
            return self._down(error)

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
                503, "too many open pages; this one updates when reloaded", {"Retry-After": "30"}
            )
        return StreamingResponse(
            self._events(topic),
            media_type="text/event-stream",
            headers={"X-Accel-Buffering": "no"},
        )

    async def _events(self, topic: _Topic) -> AsyncIterator[str]:
        if not topic.listeners:
            topic.html = ""  # What was read for the last listener may be hours old.
        # Another one listens: the page may have been rendered before the change they have seen.
        seen = topic.version if not topic.html else -1
        topic.listeners += 1
        self._wanted.set()
        try:
            yield "retry: 1000\n\n"
            while not self._closed:
                if await self._news(topic, seen):
                    seen = topic.version
                    yield _event(topic.html, seen)
                elif not self._closed:
                    yield ": still here\n\n"
        finally:
            topic.listeners -= 1

    async def _news(self, topic: _Topic, seen: int) -> bool:
        """Wait for a newer version; False when a heartbeat is due first, or the feed closed."""
        try:
            async with asyncio.timeout(self._heartbeat), topic.changed:
                await topic.changed.wait_for(lambda: topic.version != seen or self._closed)
        except TimeoutError:
            return False
        return topic.version != seen


def _event(html: str, version: int) -> str:
    """Return one message of the SSE format."""
    # Bare carriage returns end a line too: text from a payload must not start a field.
    lines = html.replace("\r", "").encode("utf-8", "replace").decode().split("\n")
    body = "\n".join(f"data: {line}" for line in lines)
    return f"id: {version}\n{body}\n\n"
