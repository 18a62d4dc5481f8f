"""Opens the orders database: drivers, limits, and errors an operator can act on."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Dialect, event, make_url
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from duly.errors import ConfigError, DulyError
from duly.orders.address import KEY, SQLITE, Address, check_file, read_address
from duly.orders.sqlite import Connections, prepare, prepare_to_read
from duly.orders.unreadable import UnreadableError, without_values
from duly.runtime.settings import DatabaseSettings

LOCK_TIMEOUT = timedelta(seconds=1)
IDLE_TIMEOUT = timedelta(seconds=10)
"""How long a transaction may be idle before PostgreSQL ends it."""
CONNECT_TIMEOUT = timedelta(seconds=5)
EXCLUSIVE_TIMEOUT = timedelta(minutes=1)
_LOCK_PAUSE = timedelta(milliseconds=100)
CREATE = "to create it, run with the same database.url: python -m duly_worker migrate"
OWN_TABLES = "for tables of your own, set orders.source to sql"
ALL_IN_USE = (
    "every connection of this process is in use: look for statements that wait (pg_stat_activity), "
    "or raise database.pool_size"
)
_DETAILS = re.compile(r"^(?:DETAIL|CONTEXT): .*?(?=^HINT: |\Z)", re.DOTALL | re.MULTILINE)
"""Of one line or more, which may quote values."""
_LOCK_ID = 0x6475_6C79
"""PostgreSQL's advisory lock for changes of schema and demo data: "duly" in ASCII."""


class OrdersDownError(DulyError):
    """The orders database at `address` does not answer, or refuses the connection."""

    def __init__(self, address: str, cause: object) -> None:
        self.address, self.cause = address, cause
        super().__init__(f"the orders database at {address} cannot be used: {cause}")


@asynccontextmanager
async def open_engine(
    settings: DatabaseSettings,
    *,
    application: str = "duly-worker",
    read_only: bool = False,
    key: str = KEY,
) -> AsyncIterator[AsyncEngine]:
    """Give an engine, and close its connections afterwards. It connects when it is first used.

    Args:
        settings: The address, the size of the pool, and how long a statement may take.
        application: The name of the sessions in PostgreSQL, unless the address sets one.
        read_only: Whether the database refuses every change.
        key: The setting that holds the address, for errors.

    Raises:
        ConfigError: The address is wrong.
    """
    address = read_address(settings, key)
    check_file(address, key)
    url = make_url(address.url)
    connections = Connections()
    arguments = _arguments(url, settings, application, read_only=read_only)
    if address.is_sqlite:
        arguments["async_creator_fn"] = connections.create
    engine = create_async_engine(
        url,
        connect_args=arguments,
        hide_parameters=True,
        pool_pre_ping=True,
        pool_size=settings.pool_size,
        max_overflow=0,
        pool_timeout=_patience(settings).total_seconds(),
    )
    if address.is_sqlite:
        event.listen(engine.sync_engine, "connect", prepare_to_read if read_only else prepare)
    elif settings.url_file is not None:
        event.listen(engine.sync_engine, "do_connect", _log_in_anew(settings, arguments, key))
    try:
        yield engine
    finally:
        await engine.dispose()
        await connections.join_threads()


def _log_in_anew(
    settings: DatabaseSettings, arguments: dict[str, Any], key: str
) -> Callable[..., None]:
    """Return what puts the address that the file holds now in the place of the first one."""

    def renew(dialect: Dialect, _: object, __: object, parameters: dict[str, Any]) -> None:
        with suppress(ConfigError):  # The file is being replaced: the last address may still do.
            url = make_url(read_address(settings, key).url)
            parameters.update(dialect.create_connect_args(url)[1])
            parameters.update(arguments)

    return renew


def create_folder(settings: DatabaseSettings) -> None:
    """Create the folder of a SQLite file, provided that its parent exists. Idempotent.

    Raises:
        ConfigError: It cannot be created, or the address is wrong.
    """
    address = read_address(settings)
    if not address.is_sqlite:
        return
    folder = Path(address.place).parent
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        problem = f"the folder {folder} cannot be created: {error.strerror}"
        raise ConfigError(KEY, problem, remedy="name a file in another folder") from error


@contextmanager
def explained(settings: DatabaseSettings, key: str = KEY) -> Iterator[None]:
    """Turn failures of the database into one line for the operator.

    Args:
        settings: They hold the address.
        key: The setting that does.

    Raises:
        ConfigError: The file cannot be used, has no schema, or has tables that are not ours.
        OrdersDownError: The server does not answer, or refuses the connection.
        UnreadableError: A value cannot be read.
    """
    try:
        yield
    except UnreadableError as error:
        raise error.at(str(read_address(settings, key))) from None
    except (IntegrityError, DataError):
        raise  # A defect of this program, not of its configuration.
    except (DBAPIError, PoolTimeoutError, OSError) as error:
        raise _explanation(error, read_address(settings, key), key) from error


@contextmanager
def down(settings: DatabaseSettings, key: str = KEY) -> Iterator[None]:
    """Turn failures to read tables of a shop's own into one line for the operator.

    Raises:
        OrdersDownError: The database failed.
    """
    try:
        yield
    except (DBAPIError, PoolTimeoutError, OSError) as error:
        raise OrdersDownError(str(read_address(settings, key)), said_by(error)) from error


def refuses(error: DBAPIError) -> bool:
    """Return whether the database understood a statement, and can or will not run it."""
    state = str(getattr(error.orig, "sqlstate", None) or "")
    if state:
        return state.startswith("42")  # Syntax, names, types and rights.
    return "no such" in str(error.orig) or "syntax error" in str(error.orig)


def _explanation(error: Exception, address: Address, key: str) -> DulyError:
    cause = said_by(error)
    if "no such table" in cause or ('relation "' in cause and "does not exist" in cause):
        return ConfigError(key, f"{address} has no orders schema", remedy=CREATE)
    if "no such column" in cause or ("column " in cause and "does not exist" in cause):
        problem = f"{address} has tables of the same names that are not ours: {cause}"
        return ConfigError(key, problem, remedy=OWN_TABLES)
    if address.is_sqlite and "locked" not in cause and not isinstance(error, TimeoutError):
        remedy = "name a file that this user may read and write"
        return ConfigError(key, f"{address} cannot be used: {cause}", remedy=remedy)
    return OrdersDownError(str(address), cause)


def said_by(error: Exception) -> str:
    """Return in one line what a driver says is wrong. It quotes no values."""
    if isinstance(error, PoolTimeoutError):
        return ALL_IN_USE
    said = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(said, TimeoutError) and not str(said):
        return "no answer in time"
    text = _DETAILS.sub("", str(said))
    lines = (without_values(text) if isinstance(error, DataError) else text).splitlines()
    # Where in the statement it was is a caret under the next line, which means nothing in one.
    told = [line for line in map(str.strip, lines) if line and not line.startswith(("LINE ", "^"))]
    return "; ".join(told) or type(said).__name__


@asynccontextmanager
async def exclusive(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Give a transaction that excludes every other `exclusive` one, in any process.

    It waits up to a minute for the others. The limits on statements and pauses do not apply to it.

    Raises:
        sqlalchemy.exc.DBAPIError: The database failed, or SQLite was locked for a minute.
        OrdersDownError: Another process had PostgreSQL's lock for a minute.
    """
    async with engine.connect() as connection, connection.begin():
        if engine.dialect.name == "sqlite":
            # By itself SQLite begins only before rows change; changes of tables must wait as well.
            await connection.exec_driver_sql(f"PRAGMA busy_timeout = {_ms(EXCLUSIVE_TIMEOUT)}")
            await connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            await _lock(connection)
            await connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            await connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
            await connection.exec_driver_sql(f"SET LOCAL lock_timeout = {_ms(EXCLUSIVE_TIMEOUT)}")
        yield connection


async def _lock(connection: AsyncConnection) -> None:
    """Take PostgreSQL's advisory lock until the end of the transaction.

    It asks again and again: a statement that waits for it would hold a snapshot, which an index
    that is built concurrently waits for in turn.
    """
    question = f"SELECT pg_try_advisory_xact_lock({_LOCK_ID})"
    try:
        async with asyncio.timeout(EXCLUSIVE_TIMEOUT.total_seconds()):
            while not (await connection.exec_driver_sql(question)).scalar():  # noqa: ASYNC110 - of another process
                await asyncio.sleep(_LOCK_PAUSE.total_seconds())
    except TimeoutError:
        place = connection.engine.url.host or "the local socket"
        raise OrdersDownError(place, "another process migrates or seeds it") from None


def _patience(settings: DatabaseSettings) -> timedelta:
    """Return how long a connection may take: where statements are to be quick, no longer."""
    return min(CONNECT_TIMEOUT, max(settings.statement_timeout, timedelta(seconds=2)))


def _arguments(
    url: URL, settings: DatabaseSettings, application: str, *, read_only: bool
) -> dict[str, Any]:
    """Return the driver's options for every connection."""
    if url.drivername == SQLITE:
        return {"timeout": settings.statement_timeout.total_seconds()}
    limits = {
        "statement_timeout": settings.statement_timeout,
        "lock_timeout": LOCK_TIMEOUT,
        "idle_in_transaction_session_timeout": IDLE_TIMEOUT,
    }
    options = [f"-c {name}={_ms(limit)}" for name, limit in limits.items()]
    if read_only:
        options.append("-c default_transaction_read_only=on")
    given = url.query.get("options", "")
    options += [given] if isinstance(given, str) else list(given)  # The last one wins.
    return {
        "options": " ".join(options),
        "application_name": url.query.get("application_name", application),
        "connect_timeout": round(_patience(settings).total_seconds()),
        # Planned for its values each time: a page's plan for any values might read all pages, and
        # poolers that change the session between transactions lose what was prepared.
        "prepare_threshold": None,
    }


def _ms(duration: timedelta) -> int:
    return round(duration / timedelta(milliseconds=1))
