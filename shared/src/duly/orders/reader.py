"""Reads rows of a database for one sweep: as the driver gives them, within limits."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from sqlalchemy import Dialect, Select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from duly.engine.middleware.tracing import child
from duly.orders.view import View

_LAG = (
    "SELECT CASE WHEN pg_is_in_recovery() THEN CASE "
    "WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0 "
    "ELSE extract(epoch FROM now() - pg_last_xact_replay_timestamp()) END END"
)
"""A replica that has replayed all that it received is not behind, however old that is."""


class Reader:
    """One connection to the orders database, for one sweep."""

    def __init__(self, connection: AsyncConnection, limit: timedelta) -> None:
        self._connection, self._limit = connection, limit.total_seconds()
        self.dialect: Dialect = connection.dialect
        self._about = _about(connection)

    async def rows(self, statement: Select[Any], bounds: Mapping[str, Any]) -> list[Any]:
        """Return the rows of a statement with these values bound.

        SQLAlchemy's own rows would take longer than the query.

        Raises:
            TimeoutError: The database is silent.
            sqlalchemy.exc.DBAPIError: It failed.
        """
        compiled = _compiled(statement, self.dialect)
        values = compiled.construct_params(dict(bounds))
        names = compiled.positiontup
        given: Any = values if names is None else tuple(values[name] for name in names)
        _, rows = await self.raw(str(compiled), given)
        return rows

    async def raw(self, statement: str, values: Any = None) -> tuple[list[str], list[Any]]:  # noqa: ANN401 - the driver's own
        """Return the names of the columns and the rows of a statement in the driver's own words.

        Args:
            statement: With the placeholders of the driver.
            values: For these; None: it has none.

        Raises:
            TimeoutError: The database is silent.
            sqlalchemy.exc.DBAPIError: It failed.
        """
        with child("SELECT", "CLIENT", self._about, scope="duly.orders") as span:
            names, rows = await self._fetched(statement, values)
            if span is not None:
                span.set_attribute("db.response.returned_rows", len(rows))
            return names, rows

    async def _fetched(self, statement: str, values: Any) -> tuple[list[str], list[Any]]:  # noqa: ANN401
        async with asyncio.timeout(self._limit):
            result = await self._connection.exec_driver_sql(statement, values)
            cursor: Any = result.cursor
            names = [column[0] for column in cursor.description]
            rows: list[Any] = list(cursor.fetchall())
            result.close()
            return names, rows

    def quoted(self, text: str) -> str:
        """Return SQL without placeholders as the driver is to be given it."""
        return text.replace("%", "%%") if self.dialect.name == "postgresql" else text

    async def lag(self) -> float | None:
        """Return how many seconds a replica is behind; None: it is none, or it cannot be known."""
        if self.dialect.name != "postgresql":
            return None
        _, ((seconds,),) = await self.raw(_LAG)
        return None if seconds is None else max(0.0, round(float(seconds), 3))


def _about(connection: AsyncConnection) -> dict[str, Any]:
    """Return the attributes of a span that reads: where it does, and nothing of the statement."""
    url = connection.engine.url
    about: dict[str, Any] = {
        "db.system.name": connection.dialect.name,
        "db.operation.name": "SELECT",
    }
    if connection.dialect.name != "sqlite":
        known = {
            "db.namespace": url.database,
            "server.address": url.host,
            "server.port": url.port,
        }
        about.update({name: value for name, value in known.items() if value})
    return about


async def divided(
    count: int,
    parts: int,
    smallest: int,
    next_bound: Callable[[Any, int], Awaitable[list[Any]]],
) -> list[Any]:
    """Return the last id of each part but the last.

    Each is looked for from the one before, so that all orders are passed once, in short statements.

    Args:
        count: Pending orders.
        parts: How many parts there are to be at most.
        smallest: Orders that a part has at least.
        next_bound: Gives the row of the id so many orders after an id; None: from the first.
    """
    size = max(-(-count // parts), smallest)
    found: list[Any] = []
    while (len(found) + 1) * size < count:
        rows = await next_bound(found[-1] if found else None, size - 1)
        if not rows:
            break
        found.append(rows[0][0])
    return found


@asynccontextmanager
async def reading(engine: AsyncEngine, view: View) -> AsyncIterator[Reader]:
    """Give a reader of one sweep.

    Without `view.consistent` each statement is a transaction of its own: none is left open between
    two pages. With it all of them read one snapshot, which PostgreSQL ends when the sweep pauses
    for more than ten seconds.
    """
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        if view.consistent:
            repeatable = " ISOLATION LEVEL REPEATABLE READ READ ONLY"
            begin = "BEGIN" + (repeatable if engine.dialect.name == "postgresql" else "")
            await connection.exec_driver_sql(begin)
        yield Reader(connection, view.silence)
        if view.consistent:
            await connection.exec_driver_sql("COMMIT")


def _compiled(statement: Select[Any], dialect: Dialect) -> Any:  # noqa: ANN401 - SQLAlchemy's own
    """Return a statement as the dialect has it, made once."""
    key = statement, dialect.name
    if key not in _made:
        _made[key] = statement.compile(dialect=dialect)
    return _made[key]


_made: dict[tuple[Select[Any], str], Any] = {}
