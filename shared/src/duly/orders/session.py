"""Opens the orders database: which drivers, with which limits, and what to say when it fails."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import URL, event, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from duly.errors import ConfigError, DulyError
from duly.orders.sqlite import Connections, prepare
from duly.runtime.settings import DatabaseSettings

SQLITE, POSTGRESQL = "sqlite+aiosqlite", "postgresql+psycopg"
_SHORT_NAMES = {"sqlite": SQLITE, "postgres": POSTGRESQL, "postgresql": POSTGRESQL}
_REMEDY = f"use {SQLITE}:///file or {POSTGRESQL}://user:password@host/database"
_KEY = "database.url"
LOCK_TIMEOUT = timedelta(seconds=1)
IDLE_TIMEOUT = timedelta(seconds=10)
"""How long a transaction may do nothing before PostgreSQL ends it."""
CONNECT_TIMEOUT = timedelta(seconds=5)
EXCLUSIVE_TIMEOUT = timedelta(minutes=1)
_LOCK_ID = 0x6475_6C79
"""PostgreSQL's advisory lock of whoever changes schema or demo data: "duly" in ASCII."""


class OrdersDownError(DulyError):
    """The orders database at `address` does not answer, or turns us away."""

    def __init__(self, address: str, cause: object) -> None:
        self.address, self.cause = address, cause
        super().__init__(f"the orders database at {address} can not be used: {cause}")


@asynccontextmanager
async def open_engine(
    settings: DatabaseSettings, *, application: str = "duly-worker"
) -> AsyncIterator[AsyncEngine]:
    """Give an engine and close its connections in the end. It connects only when it is used.

    Args:
        settings: The address, the size of the pool, and how long a statement may take.
        application: How PostgreSQL names our sessions, unless the address says otherwise.

    Raises:
        ConfigError: The address is wrong.
    """
    url = database_url(settings)
    if url.drivername == SQLITE:
        _check_file(url)
    connections = Connections()
    arguments = _arguments(url, settings, application)
    if url.drivername == SQLITE:
        arguments["async_creator_fn"] = connections.create
    engine = create_async_engine(
        url,
        connect_args=arguments,
        hide_parameters=True,
        pool_pre_ping=True,
        pool_size=settings.pool_size,
        max_overflow=0,
        pool_timeout=CONNECT_TIMEOUT.total_seconds(),
    )
    if url.drivername == SQLITE:
        event.listen(engine.sync_engine, "connect", prepare)
    try:
        yield engine
    finally:
        await engine.dispose()
        await connections.farewell()


def database_url(settings: DatabaseSettings) -> URL:
    """Return the address with its driver; short names such as `postgresql://` get theirs.

    Raises:
        ConfigError: It is no address, or its driver is not ours.
    """
    try:
        url = make_url(settings.url.get_secret_value())
    except ArgumentError:
        # The message of the original quotes the address, with the password in it.
        raise ConfigError(_KEY, "is not the address of a database", remedy=_REMEDY) from None
    url = url.set(drivername=_SHORT_NAMES.get(url.drivername, url.drivername))
    if url.drivername not in {SQLITE, POSTGRESQL}:
        problem = f"the driver {url.drivername!r} is not supported"
        raise ConfigError(_KEY, problem, remedy=_REMEDY)
    return url


def create_folder(settings: DatabaseSettings) -> None:
    """Create the folder of a SQLite file, if the one that folder is in exists.

    Raises:
        ConfigError: It can not be created, or the address is wrong.
    """
    url = database_url(settings)
    if url.drivername != SQLITE or not url.database:
        return
    folder = Path(url.database).parent
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        problem = f"the folder {folder} can not be created: {error.strerror}"
        raise ConfigError(_KEY, problem, remedy="name a file in another folder") from error


def address(url: URL) -> str:
    """Return where a database is, without who logs in."""
    if url.drivername == SQLITE:
        return str(url.database)
    where = url.host or url.query.get("host") or "the local socket"
    return f"{where}{f':{url.port}' if url.port else ''}/{url.database or ''}"


@contextmanager
def explained(settings: DatabaseSettings) -> Iterator[None]:
    """Turn the failures of the database into one line for the operator.

    Raises:
        ConfigError: The file can not be used, or has no schema.
        OrdersDownError: The server does not answer, or turns us away.
    """
    try:
        yield
    except (IntegrityError, DataError):
        raise  # Our own mistake, not the operator's.
    except (DBAPIError, PoolTimeoutError, OSError) as error:
        raise _explanation(error, database_url(settings)) from error


def _explanation(error: Exception, url: URL) -> DulyError:
    said = error.orig if isinstance(error, DBAPIError) else error
    cause = "; ".join(filter(None, map(str.strip, str(said).splitlines()))) or type(said).__name__
    if "no such table" in cause or 'relation "' in cause:
        remedy = "create it by: python -m duly_worker migrate"
        return ConfigError(_KEY, f"{address(url)} has no orders schema", remedy=remedy)
    if url.drivername == SQLITE and "locked" not in cause:
        remedy = "name a file that this user may read and write"
        return ConfigError(_KEY, f"{address(url)} can not be used: {cause}", remedy=remedy)
    return OrdersDownError(address(url), cause)


@asynccontextmanager
async def exclusive(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Give a transaction that no other `exclusive` one runs beside, in whatever process.

    It waits a minute for its turn, and may take longer than other statements.
    """
    async with engine.connect() as connection, connection.begin():
        if engine.dialect.name == "sqlite":
            # SQLite begins by itself only before rows change; tables have to wait their turn too.
            await connection.exec_driver_sql(f"PRAGMA busy_timeout = {_ms(EXCLUSIVE_TIMEOUT)}")
            await connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            await connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            await connection.exec_driver_sql(f"SET LOCAL lock_timeout = {_ms(EXCLUSIVE_TIMEOUT)}")
            await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK_ID})")
        yield connection


def _check_file(url: URL) -> None:
    if not url.database or url.database == ":memory:":
        remedy = "name a file: every connection would have a database of its own"
        raise ConfigError(_KEY, "a database in memory is not supported", remedy=remedy)
    folder = Path(url.database).parent
    if not folder.is_dir():
        raise ConfigError(_KEY, f"there is no folder {folder}", remedy="create it, or name another")


def _arguments(url: URL, settings: DatabaseSettings, application: str) -> dict[str, Any]:
    """Return what the driver is told on every connection."""
    if url.drivername == SQLITE:
        return {"timeout": settings.statement_timeout.total_seconds()}
    limits = {
        "statement_timeout": settings.statement_timeout,
        "lock_timeout": LOCK_TIMEOUT,
        "idle_in_transaction_session_timeout": IDLE_TIMEOUT,
    }
    options = [f"-c {name}={_ms(limit)}" for name, limit in limits.items()]
    given = url.query.get("options", "")
    options += [given] if isinstance(given, str) else list(given)  # The last one wins.
    return {
        "options": " ".join(options),
        "application_name": url.query.get("application_name", application),
        "connect_timeout": round(CONNECT_TIMEOUT.total_seconds()),
        # Planned for its values each time: a page's plan for any values might read all pages, and
        # poolers that change the session between transactions lose what was prepared.
        "prepare_threshold": None,
    }


def _ms(duration: timedelta) -> int:
    return round(duration / timedelta(milliseconds=1))
