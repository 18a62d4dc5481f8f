"""Values of a database that cannot be read: of which order and column, and nothing of the value."""

import re
from datetime import UTC, date, datetime
from typing import Any, Final, Self

from duly.errors import DulyError

NOT_UTF_8: Final = "Could not decode to UTF-8"
"""What SQLite's driver says of bytes in a column of texts."""
_NO_TIME: Final = "it is no time of the years 1 to 9999"
_ITS_COLUMN: Final = re.compile(rf"{NOT_UTF_8} column '(\w+)'")
_QUOTED: Final = re.compile(r":? b?(['\"]).*\1", re.DOTALL)


class UnreadableError(DulyError):
    """A value in the orders database cannot be read. It is not quoted.

    Args:
        column: Where it is.
        problem: What is wrong with it.
        order_id: The order that it belongs to; None: not known.
        place: The database; empty: not known.
    """

    def __init__(
        self, column: str, problem: str, order_id: object = None, *, place: str = ""
    ) -> None:
        self.column, self.problem, self.order_id = column, problem, order_id
        # An id may be any text, and the error is one line.
        of_order = "" if order_id is None else f" of order {repr(str(order_id))[1:-1]}"
        at_place = f" in the orders database at {place}" if place else ""
        self.told = f"{column}{of_order}{at_place} cannot be read: {problem}"
        super().__init__(f"{self.told}; correct that row")

    def renamed(self, column: str) -> Self:
        """Return the same with another name of the column."""
        return type(self)(column, self.problem, self.order_id)

    def at(self, place: str) -> Self:
        """Return the same with the place of the database."""
        return type(self)(self.column, self.problem, self.order_id, place=place)


def without_values(said: str) -> str:
    """Return what a driver says of a value, without the value."""
    return _QUOTED.sub("", said)


def not_utf_8(said: str) -> UnreadableError | None:
    """Return the error for what SQLite's driver says; None: it says something else."""
    if NOT_UTF_8 not in said:
        return None
    column = _ITS_COLUMN.search(said)
    return UnreadableError(column[1] if column else "a text", "it is not UTF-8")


def unreadable_value(cursor: Any) -> UnreadableError | None:  # noqa: ANN401 - the driver's own
    """Return the error for the first value that psycopg cannot read of the rows that it has.

    The id of the order is the first value of its row.

    Args:
        cursor: Of psycopg, after it failed.

    Returns:
        None: There are no rows, so that something else was wrong.
    """
    from psycopg.adapt import Transformer

    result = cursor.pgresult
    if result is None or not result.ntuples:
        return None
    transformer = Transformer(cursor)
    loaders = [
        transformer.get_loader(result.ftype(place), result.fformat(place))
        for place in range(result.nfields)
    ]
    for row in range(result.ntuples):
        order_id = None
        for place, loader in enumerate(loaders):
            value = result.get_value(row, place)
            try:
                read = None if value is None else loader.load(value)
            except Exception as error:  # noqa: BLE001 - whatever the driver's reader raises
                column = cursor.description[place].name
                return UnreadableError(column, without_values(_said(error)), order_id)
            order_id = read if place == 0 else order_id
    return None


def _said(error: Exception) -> str:
    return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)


def instant_of(value: Any) -> datetime:  # noqa: ANN401 - as a driver gives it
    """Return an instant in UTC; a time that says no zone is in UTC already.

    Args:
        value: A time, a date, or the text of one.

    Raises:
        ValueError: It is no time. The error does not quote it.
    """
    given = value if isinstance(value, datetime) else _converted(value)
    try:
        return given.replace(tzinfo=UTC) if given.tzinfo is None else given.astimezone(UTC)
    except OverflowError:
        raise ValueError(_NO_TIME) from None


def _converted(value: Any) -> datetime:  # noqa: ANN401 - as a driver gives it
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):  # Its text would quote the value.
        raise ValueError(_NO_TIME) from None
