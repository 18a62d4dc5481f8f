"""The composition root: what the monitor is made of, and its life from start to stop."""

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ExceptionHandler

from duly.clock import Clock, SystemClock
from duly.engine.enqueue.client import Client
from duly.engine.inspection.inspector import Inspector
from duly.errors import BrokerDownError, DulyError
from duly.runtime import logs, service
from duly.runtime.monitor_settings import MonitorSettings
from duly.runtime.secretfile import SecretFile
from duly.runtime.settings import Settings
from duly.runtime.supervision import Supervisor
from duly_monitor.api.routes import api_routes
from duly_monitor.audit import Audit
from duly_monitor.authentication import Authentication
from duly_monitor.bulk import BulkRunner
from duly_monitor.guarded import Guarded
from duly_monitor.incidents import Incidents
from duly_monitor.links import Links
from duly_monitor.live import Feed
from duly_monitor.pages.login import LoginPages
from duly_monitor.pages.oidc import OidcPages
from duly_monitor.problems import Problems
from duly_monitor.render import Renderer
from duly_monitor.routes import OPEN_PATHS, Pages, routes
from duly_monitor.security import Gate
from duly_monitor.serving import listen, serve
from duly_monitor.sessions import Sessions, key_of_password
from duly_monitor.settings import (
    Passwords,
    check_access,
    client_secret_of,
    session_keys_of,
)


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code.

    Raises:
        ConfigError: Access is misconfigured, or the address cannot be listened on.
    """
    logs.configure(settings.log, service="monitor")
    switch, monitor = settings.async_.monitor, settings.monitor
    log = structlog.get_logger("duly.monitor")
    if not switch.enabled:
        log.info("Monitor disabled (async.monitor.enabled is false)")
        return 0
    check_access(settings)
    with listen(monitor.host, switch.port) as listener:
        return service.run(lambda stop: _serve(settings, listener, stop))


async def _serve(settings: Settings, listener: socket.socket, stop: asyncio.Event) -> int:
    log = structlog.get_logger("duly.monitor")
    host, port = listener.getsockname()[:2]
    name = f"[{host}]" if ":" in host else host
    address = f"http://{name}:{port}{settings.monitor.prefix}/"
    async with (
        Inspector.connect(settings.redis) as inspector,
        Client.connect(settings.redis, settings.queues) as client,
    ):
        app = build_app(settings, inspector, client)
        log.info("Monitor started", address=address, access=settings.monitor.access)
        feed = app.state.feed
        await serve(app, listener, stop, closing=feed.close, unread=feed.unread)
    log.info("Monitor stopped")
    return 0


def build_app(
    settings: Settings, inspector: Inspector, client: Client, clock: Clock | None = None
) -> Starlette:
    """Return the monitor over an open inspector, and a client for what it enqueues.

    `app.state.feed` is the live feed; close it before waiting for open connections to end.

    Raises:
        ConfigError: The access mode does not fit the rest of the settings.
    """
    check_access(settings)
    clock = clock or SystemClock()
    renderer = Renderer(settings.monitor, clock)
    audit = Audit(inspector.audit, settings.monitor.audit, clock)
    incidents = Incidents()

    def changed() -> None:
        inspector.overview.forget()
        pages.forget()

    runner = BulkRunner(inspector, changed)
    links = Links(settings.monitor.links)
    pages = Pages.over(inspector, renderer, client=client, runner=runner, links=links)
    problems = Problems(renderer, incidents, by_page=settings.monitor.access in ("basic", "oidc"))
    to = Guarded(audit, changed)

    def broken(error: Exception) -> str:
        known = isinstance(error, BrokerDownError)
        incident = "" if known else incidents.record(error, path="live")
        detail = str(error) if isinstance(error, DulyError) else ""
        return renderer.text("_down.html", down=known, detail=detail, incident=incident)

    sessions, authentication = _access(settings.monitor, clock)
    login = _login(settings.monitor, authentication, sessions, renderer, clock)
    feed = Feed(broken=broken, admitted=authentication.still_views)
    supervisor = Supervisor(asked={"log": logs.ended})
    gate = Middleware(
        Gate,
        settings=settings.monitor,
        authentication=authentication,
        open_paths=OPEN_PATHS,
        refuse=problems.answer,
        failed=problems.unexpected,
        audit=audit,
    )
    handlers: dict[int | type[Exception], ExceptionHandler] = {
        HTTPException: problems.http,
        DulyError: problems.duly,
    }

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with _polling(feed, supervisor), runner.running():
            yield

    app = Starlette(
        routes=routes(
            inspector,
            renderer,
            pages,
            feed,
            api=api_routes(renderer, inspector, client, runner, to),
            to=to,
            login=login,
            live=supervisor.liveness,
        ),
        # Not the best level: it takes three times as long for a twentieth less.
        middleware=[gate, Middleware(GZipMiddleware, minimum_size=1024, compresslevel=6)],
        exception_handlers=handlers,
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.feed = feed
    return app


def _login(
    settings: MonitorSettings,
    authentication: Authentication,
    sessions: Sessions,
    renderer: Renderer,
    clock: Clock,
) -> LoginPages | OidcPages | None:
    """Return the pages by which people log in; None: they log in by none."""
    if settings.access == "oidc":
        # Only now: httpx and cryptography take 13 MB, which the other modes do not need.
        from duly_monitor.oidc.provider import Provider

        provider = Provider(settings.oidc, clock)
        return OidcPages(authentication, sessions, renderer, provider, settings.oidc.redirect_url)
    return LoginPages(authentication, sessions, renderer) if authentication.by_page else None


def _access(settings: MonitorSettings, clock: Clock) -> tuple[Sessions, Authentication]:
    """Return what signs sessions, and what finds out who asks."""
    passwords = Passwords(settings)
    sessions = Sessions(
        _session_keys(settings, passwords),
        age=settings.session.age,
        path=settings.prefix,
        clock=clock,
    )
    return sessions, Authentication(settings, sessions, passwords, clock)


def _session_keys(settings: MonitorSettings, passwords: Passwords) -> Callable[[], Sequence[str]]:
    """Return what reads the keys that sign sessions: every replica has the same."""
    if given := (session_keys_of(settings) or "").split():
        path = settings.session.keys_file
        file = SecretFile("monitor.session.keys_file", path) if path else None
        return lambda: (file.read().split() if file else []) or given
    if settings.access == "basic":
        return lambda: [key_of_password("\0".join(passwords.all()))]
    if settings.access == "oidc":
        secret, path = client_secret_of(settings), settings.oidc.client_secret_file
        file = SecretFile("monitor.oidc.client_secret_file", path) if path else None
        return lambda: [key_of_password(file.read() if file else secret)]
    keys = [secrets.token_hex(32)]
    return lambda: keys


@asynccontextmanager
async def _polling(feed: Feed, supervisor: Supervisor) -> AsyncIterator[None]:
    """Run the feed's poll for the body, and end it afterwards."""
    poll = supervisor.start("live feed", feed.run)
    try:
        yield
    finally:
        await feed.close()
        poll.cancel()
        await asyncio.wait({poll})
