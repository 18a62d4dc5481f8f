"""Reads rows of a database for one sweep: as the driver gives them, within limits."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final, Self
from uuid import UUID

from sqlalchemy import Dialect, Select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from duly.engine.middleware.tracing import child
from duly.orders.packing import packing, unpacked
from duly.orders.unreadable import UnreadableError, not_utf_8, unreadable_value
from duly.orders.view import View
from duly.runtime.packed import Kind, PackedRows

_LAG = (
    "SELECT CASE WHEN pg_is_in_recovery() THEN CASE "
    "WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0 "
    "ELSE extract(epoch FROM now() - pg_last_xact_replay_timestamp()) END END"
)
"""A replica that has replayed all that it received is not behind, however old that is."""
_KINDS: Final[dict[int, Kind]] = {
    **dict.fromkeys((20, 21, 23), int),  # bigint, smallint, integer
    **dict.fromkeys((25, 1043), str),  # text, varchar
    2950: UUID,
}
"""By PostgreSQL's numbers of types: those of which the text is what a line holds."""


class Reader:
    """One connection to the orders database, for one sweep.

    Args:
        connection: Of the engine.
        limit: How long a statement may go without an answer.
        driver: Runs statements in the place of the connection.
    """

    def __init__(
        self, connection: AsyncConnection, limit: timedelta, driver: "Psycopg | None" = None
    ) -> None:
        self._connection, self._limit = connection, limit.total_seconds()
        self._driver = driver
        self.dialect: Dialect = connection.dialect
        self._about = _about(connection)
        self._packs = True

    async def kinds(self, statement: str, values: Any) -> tuple[Kind, ...]:  # noqa: ANN401 - as of `raw`
        """Return those of the columns of a statement, if its rows may be packed: else none."""
        if self._driver is None:
            return ()
        await self.raw(f"SELECT * FROM ({statement}) AS page LIMIT 0", values)  # noqa: S608 - of the settings
        kinds = [_KINDS.get(code) for code in self._driver.types()]
        return tuple(kind for kind in kinds if kind) if all(kinds) else ()

    async def page(
        self,
        statement: str,
        values: Any,  # noqa: ANN401 - as of `raw`
        size: int,
        kinds: Sequence[Kind] = (),
    ) -> tuple[Sequence[Any], bool]:
        """Return the rows of a page, and whether there is another one.

        Args:
            statement: In the words of the driver, ordered, and limited to one row more than a page.
            values: For its placeholders.
            size: Rows of a page.
            kinds: Those of the columns, if the rows may be packed; they are where no text holds a
                separator or is missing.

        Raises:
            TimeoutError: The database is silent.
            sqlalchemy.exc.DBAPIError: It failed.
        """
        if kinds and self._packs:
            packed = await self._packed(statement, values, tuple(kinds))
            if packed is not None and not packed[0]:
                return [], False
            if packed is not None and (page := unpacked(packed, size, kinds)) is not None:
                return page
            self._packs = False  # Other pages would hardly be different.
        _, rows = await self.raw(statement, values)
        more = len(rows) > size
        del rows[size:]
        return rows, more

    async def _packed(
        self,
        statement: str,
        values: Any,  # noqa: ANN401 - as of `raw`
        kinds: tuple[Kind, ...],
    ) -> Sequence[Any] | None:
        """Return the only row of a packed page; None: it holds what is no text."""
        try:
            _, (packed,) = await self.raw(packing(self.dialect.name, statement, kinds), values)
        except UnreadableError:
            return None
        return tuple(packed)

    async def rows(self, statement: Select[Any], bounds: Mapping[str, Any]) -> list[Any]:
        """Return the rows of a statement with these values bound.

        SQLAlchemy's own rows would take longer than the query.

        Raises:
            TimeoutError: The database is silent.
            sqlalchemy.exc.DBAPIError: It failed.
        """
        _, rows = await self.raw(*self.written(statement, bounds))
        return rows

    def written(self, statement: Select[Any], bounds: Mapping[str, Any]) -> tuple[str, Any]:
        """Return a statement and the values for it in the words of the driver."""
        compiled = _compiled(statement, self.dialect)
        values = compiled.construct_params(dict(bounds))
        names = compiled.positiontup
        return str(compiled), (values if names is None else tuple(values[name] for name in names))

    async def raw(self, statement: str, values: Any = None) -> tuple[list[str], list[Any]]:  # noqa: ANN401 - the driver's own
        """Return the names of the columns and the rows of a statement in the driver's own words.

        Args:
            statement: With the placeholders of the driver.
            values: For these; None: it has none.

        Raises:
            TimeoutError: The database is silent.
            UnreadableError: It answers with a value that cannot be read.
            sqlalchemy.exc.DBAPIError: It failed.
        """
        with child("SELECT", "CLIENT", self._about, scope="duly.orders") as span:
            names, rows = await self._fetched(statement, values)
            if span is not None:
                span.set_attribute("db.response.returned_rows", len(rows))
            return names, rows

    async def _fetched(self, statement: str, values: Any) -> tuple[list[str], list[Any]]:  # noqa: ANN401
        async with asyncio.timeout(self._limit):
            if self._driver is not None:
                return await self._driver.read(statement, values)
            try:
                result = await self._connection.exec_driver_sql(statement, values)
            except DBAPIError as error:
                if (found := not_utf_8(str(error.orig))) is not None:
                    raise found from None
                raise
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


def last_id(orders: Sequence[Any]) -> Any:  # noqa: ANN401 - as the driver gives it
    """Return the id of the last order of a page, after which the next one begins."""
    return (orders.last() if isinstance(orders, PackedRows) else orders[-1])[0]


def written_ids(dialect: str, ids: Sequence[int | str]) -> str:
    """Return ids as one text: an array of PostgreSQL, or one of JSON for SQLite's `json_each`.

    The drivers would take five times as long for a list.
    """
    if dialect != "postgresql":
        return json.dumps(ids)
    if not isinstance(ids[0], str):
        return f"{{{str(ids)[1:-1]}}}"
    quoted = [str(each).replace("\\", r"\\").replace('"', r"\"") for each in ids]
    return '{"' + '","'.join(quoted) + '"}'


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


class Psycopg:
    """Runs statements on a connection of the engine by its driver alone.

    SQLAlchemy would take as much CPU again as the driver does for a whole page.
    """

    def __init__(self, connection: AsyncConnection, cursor: Any) -> None:  # noqa: ANN401 - the driver's own
        self._connection, self._cursor = connection, cursor
        self._error: Any = connection.dialect.loaded_dbapi.Error

    @classmethod
    async def of(cls, connection: AsyncConnection) -> Self:
        """Return that of a connection."""
        pooled = await connection.get_raw_connection()
        driver: Any = pooled.driver_connection
        return cls(connection, driver.cursor())

    async def read(self, statement: str, values: Any) -> tuple[list[str], list[Any]]:  # noqa: ANN401 - as of `Reader.raw`
        """Return the names of the columns and the rows of a statement; see `Reader.raw`."""
        try:
            await self._cursor.execute(statement, () if values is None else values)
            rows = await self._cursor.fetchall()
        except (self._error, UnicodeDecodeError) as error:
            if self._cursor.connection.broken:
                await self._connection.invalidate(error)
            if (found := unreadable_value(self._cursor)) is not None:
                raise found from None
            given: Any = DBAPIError.instance(
                statement, None, error, self._error, hide_parameters=True
            )
            raise given from error
        except BaseException:
            # The answer to what was given up, for a stop or at the limit, may still come.
            await self._connection.invalidate()
            raise
        return [column.name for column in self._cursor.description], rows

    def types(self) -> list[int]:
        """Return PostgreSQL's numbers of the types of the columns that were read last."""
        return [column.type_code for column in self._cursor.description]


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
        driver = await Psycopg.of(connection) if engine.dialect.name == "postgresql" else None
        yield Reader(connection, view.silence, driver)
        if view.consistent:
            await connection.exec_driver_sql("COMMIT")


def _compiled(statement: Select[Any], dialect: Dialect) -> Any:  # noqa: ANN401 - SQLAlchemy's own
    """Return a statement as the dialect has it, made once."""
    key = statement, dialect.name
    if key not in _made:
        _made[key] = statement.compile(dialect=dialect)
    return _made[key]


_made: dict[tuple[Select[Any], str], Any] = {}
