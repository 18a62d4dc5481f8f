"""The relay of an outbox inside a worker: in a thread of its own, watched like every loop.

SQLAlchemy is loaded only where `outbox.url` is set.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import structlog
from prometheus_client import CollectorRegistry

from duly.errors import ConfigError
from duly.extras import require
from duly.runtime import threads
from duly.runtime.settings import Settings
from duly.runtime.supervision import Supervisor

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from duly.integrations.outbox import Outbox

LOOP: Final = "outbox relay"
_ASYNC_DRIVERS: Final = {
    "sqlite+aiosqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgresql+asyncpg": "postgresql+psycopg",
}
_LONGEST_STEP: Final = timedelta(seconds=20)
"""A statement, or one queue's tasks with the confirmation of the broker; both have timeouts."""
_GRACE_SECONDS: Final = 5.0
_NETWORK: Final[dict[str, Any]] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""Of libpq: a database that has vanished is an error within ten seconds, and not a thread that
stands still."""


@asynccontextmanager
async def relaying(
    settings: Settings, registry: CollectorRegistry, supervisor: Supervisor
) -> AsyncIterator[None]:
    """Run a relay for the body of an `async with`, if `outbox.url` names a database.

    Outages of the broker and of the database are waited out. A relay that ends is started again;
    one that ends at each start, or stands still, fails `/livez`.

    Args:
        settings: The section `outbox`, the broker and the queues.
        registry: Where it exports its metrics.
        supervisor: Watches it.

    Raises:
        ConfigError: The address is wrong.
        MissingExtraError: SQLAlchemy is not installed.
    """
    found = settings.outbox
    if found.url is None:
        yield
        return
    require("the relay of the outbox", "sqlalchemy")
    from duly.integrations.relay import Relay, RelayOptions

    stop = threading.Event()
    options = RelayOptions(batch=found.batch, every=found.every, retention=found.retention)
    with open_engine(found.url.get_secret_value()) as engine:
        relay = Relay(
            outbox_named(found.table),
            engine,
            settings.redis,
            settings.queues,
            options=options,
            registry=registry,
        )

        def beat() -> None:
            supervisor.beat(LOOP, rest=_LONGEST_STEP)

        async def work() -> None:
            beat()
            await threads.run(relay.run, stop, beat)

        task = supervisor.start(LOOP, work)
        structlog.get_logger("duly.outbox").info("Outbox relay started", table=found.table)
        try:
            yield
        finally:
            stop.set()
            if await _has_ended(task):
                relay.close()


async def _has_ended(task: asyncio.Task[None]) -> bool:
    """Wait for the end of its round; whoever comes next repeats one that does not end."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_GRACE_SECONDS):
            await asyncio.shield(task)
    return task.done() or not task.cancel()


@contextmanager
def open_engine(url: str) -> "Iterator[Engine]":
    """Open the database of an outbox for the body of a `with`.

    Args:
        url: As SQLAlchemy writes it; an asynchronous driver is replaced by the plain one.

    Raises:
        ConfigError: It is no address, or its driver is not installed.
    """
    from sqlalchemy import create_engine, make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
        driver = _ASYNC_DRIVERS.get(parsed.drivername, parsed.drivername)
        network = _NETWORK if driver == "postgresql+psycopg" else {}
        engine = create_engine(
            parsed.set(drivername=driver), pool_pre_ping=True, connect_args=network
        )
    except (ArgumentError, ModuleNotFoundError):
        # The error of SQLAlchemy quotes the address, which may hold a password.
        raise ConfigError(
            "outbox.url",
            "is no address of a database, or its driver is not installed",
            remedy="write sqlite:///shop.db or postgresql://user@host/name",
        ) from None
    try:
        yield engine
    finally:
        engine.dispose()


def outbox_named(table: str) -> "Outbox":
    """Return the outbox of a table: its name, or schema.name."""
    from duly.integrations.outbox import Outbox

    schema, _, name = table.rpartition(".")
    return Outbox(name=name, schema=schema or None)
