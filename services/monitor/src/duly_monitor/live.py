"""Live updates: one reading of a page for all who look at it, and only what has changed is sent."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from duly.encodable import encodable
from duly.errors import NotFoundError
from duly_monitor.views import Followed, View

Source = Callable[[Request], Followed]
"""Says which page a request wants to follow, or raises what its page would answer."""

PERIOD = timedelta(seconds=1)
HEARTBEAT = timedelta(seconds=15)
"""A comment this often keeps proxies from closing a quiet stream."""
MAX_CLIENTS = 500
MAX_VIEWS = 64
"""Different pages that are followed at once: each is read once a period."""
LONGEST_PAUSE = timedelta(seconds=15)
"""Between two readings of a page that takes long; else they take a tenth of the time at most."""
SEEN: Final = "_seen"
"""The parameter that names what a page shows already."""
_SHARE: Final = 10
_NOTHING: Final = View({}, (), "")


class _Page:
    """One page that is followed: its newest view, and since which version each part is as it is.

    A reader is no more than the version it has: a slow one misses what came between, and gets the
    newest of all that differs from what it has.
    """

    def __init__(self, followed: Followed) -> None:
        self.followed = followed
        self.token = secrets.token_hex(4)
        self.version = 0
        self.digest = ""
        self.due = 0.0
        self.listeners = 0
        self.changed = asyncio.Condition()
        self._view = _NOTHING
        self._since: dict[str, int] = {}
        self._rows_since = self._frame_since = self._problem_since = 0
        self._problem = ""

    async def publish(self, view: View) -> None:
        """Take the newest view, and wake the readers if it differs."""
        old, following = self._view, self.version + 1
        parts = [name for name, html in view.parts.items() if old.parts.get(name) != html]
        rows, frame = view.rows != old.rows, view.frame != old.frame
        if self.version and not (parts or rows or frame or self._problem):
            return
        self._since = {name: self._since.get(name, 0) for name in view.parts}
        self._since |= dict.fromkeys(parts, following)
        self._rows_since = following if rows else self._rows_since
        self._frame_since = following if frame else self._frame_since
        if self._problem:
            self._problem, self._problem_since = "", following
        self._view, self.digest = view, view.digest
        await self._advance(following)

    async def fail(self, problem: str) -> None:
        """Tell the readers why there is no newer view."""
        if problem != self._problem:
            self._problem, self._problem_since = problem, self.version + 1
            await self._advance(self.version + 1)

    async def _advance(self, version: int) -> None:
        async with self.changed:
            self.version = version
            self.changed.notify_all()

    def seen(self, known: str) -> int:
        """Return which version a reader has that names what it has seen; 0: none of them."""
        token, _, version = known.partition(".")
        if token == self.token and version.isdecimal() and len(version) < len("1" * 12):
            return min(int(version), self.version)
        return self.version if self.digest and known == self.digest else 0

    def news(self, seen: int) -> dict[str, Any]:
        """Return what differs from a version."""
        found: dict[str, Any] = {
            "parts": {name: self._view.parts[name] for name, at in self._since.items() if at > seen}
        }
        if self._rows_since > seen:
            found["rows"] = self._view.rows
        if self._frame_since > seen > 0:
            found["frame"] = True
        if self._problem_since > seen:
            found["problem"] = self._problem
        return found


class Feed:
    """Reads each page that somebody follows once a period, and sends readers what has changed."""

    def __init__(
        self,
        *,
        broken: Callable[[Exception], str],
        admitted: Callable[[Request], bool] = lambda _: True,
        period: timedelta = PERIOD,
        heartbeat: timedelta = HEARTBEAT,
        max_clients: int = MAX_CLIENTS,
    ) -> None:
        self._pages: dict[str, _Page] = {}
        self._broken, self._admitted = broken, admitted
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
        return sum(page.listeners for page in self._pages.values())

    @property
    def polling(self) -> bool:
        """Whether it reads the inspector, that is whether somebody listened lately."""
        return self._wanted.is_set()

    async def run(self) -> None:
        """Poll until cancelled; run one such task for the life of the process."""
        loop = asyncio.get_running_loop()
        while True:
            await self._wanted.wait()
            self.polls += 1
            for page in [*self._pages.values()]:
                if page.listeners and page.due <= loop.time():
                    begun = loop.time()
                    if await self._read(page):
                        took = loop.time() - begun
                        page.due = begun + min(took * _SHARE, LONGEST_PAUSE.total_seconds())
            await asyncio.sleep(self._period)
            self._pages = {name: page for name, page in self._pages.items() if page.listeners}
            if not self._pages:
                self._wanted.clear()

    async def _read(self, page: _Page) -> bool:
        """Read a page, or what is wrong: False, and the next round tries again.

        A reading that fails says nothing of what the next one costs: most have waited in vain.
        """
        try:
            view = await page.followed.read()
        except NotFoundError as error:
            await page.fail(f"{str(error)[:1].upper()}{str(error)[1:]}.")
        except Exception as error:  # noqa: BLE001
            # The edge of the process: one failed reading must not end the updates of all pages.
            await page.fail(self._broken(error))
        else:
            await page.publish(view)
            return True
        return False

    async def close(self) -> None:
        """End every stream, so that a server that stops need not wait for them."""
        self._closed = True
        for page in self._pages.values():
            async with page.changed:
                page.changed.notify_all()

    def follow(self, source: Source) -> Callable[[Request], Awaitable[Response]]:
        """Return the handler that answers with what changes of a page."""

        async def stream(request: Request) -> Response:
            return self._stream(request, source(request))

        return stream

    def _stream(self, request: Request, followed: Followed) -> Response:
        seen = request.query_params.get(SEEN, "")
        page = self._pages.get(followed.address)
        full = page is None and len(self._pages) >= MAX_VIEWS
        if self._closed or full or self.clients >= self._max_clients:
            raise HTTPException(
                503, "Too many open pages; reload this one to update it.", {"Retry-After": "30"}
            )
        if page is None or not (page.listeners or page.seen(seen)):
            # What nobody follows is not read any more: its view is older than a page just loaded.
            page = self._pages[followed.address] = _Page(followed)
        # Counted here and not once it is read: many that come at once must not all pass.
        page.listeners += 1
        self._wanted.set()
        return _Stream(self._events(request, page, seen), ended=lambda: self._left(page))

    @staticmethod
    def _left(page: _Page) -> None:
        page.listeners -= 1

    async def _events(self, request: Request, page: _Page, known: str) -> AsyncIterator[str]:
        yield "retry: 1000\n\n"
        has: int | None = None
        while not self._closed:
            newer = await self._newer(page, has or 0)
            if not self._admitted(request):
                return  # a session may end, or its user be taken away, while somebody reads
            if not newer:
                if not self._closed:
                    yield ": keep-alive\n\n"
                continue
            if has is None:
                has = page.seen(known)
            news, has = page.news(has), page.version
            yield _event(news, f"{page.token}.{has}")

    async def _newer(self, page: _Page, has: int) -> bool:
        """Wait for a newer version; False when a heartbeat is due first, or the feed closed."""
        try:
            async with asyncio.timeout(self._heartbeat), page.changed:
                await page.changed.wait_for(lambda: page.version > has or self._closed)
        except TimeoutError:
            return False
        return page.version > has


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


def _event(news: dict[str, Any], version: str) -> str:
    """Return one message of the SSE format: JSON has no line ends of its own."""
    text = encodable(json.dumps(news, ensure_ascii=False, separators=(",", ":")))
    return f"id: {version}\ndata: {text}\n\n"
