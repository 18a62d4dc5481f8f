"""The composition root: what the monitor is made of, and its life from start to stop."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.types import ExceptionHandler

from duly.clock import Clock, SystemClock
from duly.engine.inspector import Inspector
from duly.errors import DulyError
from duly.runtime import logs, service
from duly.runtime.settings import Settings
from duly_monitor.live import Feed
from duly_monitor.problems import Problems
from duly_monitor.render import Renderer
from duly_monitor.routes import OPEN_PATHS, Pages, routes
from duly_monitor.security import Gate
from duly_monitor.serving import listen, serve
from duly_monitor.settings import check_access


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code.

    Raises:
        ConfigError: The monitor may not or can not listen where it should.
    """
    logs.configure(settings.log, service="monitor")
    switch, monitor = settings.async_.monitor, settings.monitor
    log = structlog.get_logger("duly.monitor")
    if not switch.enabled:
        log.info("monitor is off (async.monitor.enabled)")
        return 0
    check_access(settings)
    with listen(monitor.host, switch.port) as listener:
        return service.run(lambda stop: _serve(settings, listener, stop))


async def _serve(settings: Settings, listener: socket.socket, stop: asyncio.Event) -> int:
    log = structlog.get_logger("duly.monitor")
    host, port = listener.getsockname()[:2]
    name = f"[{host}]" if ":" in host else host
    address = f"http://{name}:{port}{settings.monitor.prefix}/"
    async with Inspector.connect(settings.redis) as inspector:
        app = build_app(settings, inspector)
        log.info("Monitor started", address=address, access=settings.monitor.access)
        await serve(app, listener, stop, closing=app.state.feed.close)
    log.info("Monitor stopped")
    return 0


def build_app(settings: Settings, inspector: Inspector, clock: Clock | None = None) -> Starlette:
    """Return the monitor over an open inspector.

    `app.state.feed` is the live feed; close it before waiting for open connections to end.

    Raises:
        ConfigError: The access mode does not fit the rest of the settings.
    """
    check_access(settings)
    renderer = Renderer(settings.monitor, clock or SystemClock())
    pages, problems = Pages.over(inspector, renderer), Problems(renderer)

    def down(error: Exception) -> str:
        known = isinstance(error, DulyError)
        detail = str(error) if known else "the log of the monitor has the details"
        return renderer.text("_down.html", detail=detail)

    feed = Feed(pages.fragments(), down=down)
    gate = Middleware(
        Gate, settings=settings.monitor, open_paths=OPEN_PATHS, refuse=problems.answer
    )
    handlers: dict[int | type[Exception], ExceptionHandler] = {
        HTTPException: problems.http,
        DulyError: problems.duly,
        Exception: problems.unexpected,
    }

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with _polling(feed):
            yield

    app = Starlette(
        routes=routes(inspector, renderer, pages, feed),
        middleware=[gate],
        exception_handlers=handlers,
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.feed = feed
    return app


@asynccontextmanager
async def _polling(feed: Feed) -> AsyncIterator[None]:
    """Run the feed's poll for the body, and end it after."""
    async with asyncio.TaskGroup() as group:
        poll = group.create_task(feed.run(), name="live feed")
        try:
            yield
        finally:
            await feed.close()
            poll.cancel()
