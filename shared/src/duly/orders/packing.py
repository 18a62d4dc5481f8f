"""Statements that give the rows of another one as one text, for `runtime.packed`."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

from duly.runtime.packed import AFTER_FIELD, AFTER_ROW, Kind, PackedRows

_FIELDS: Final = "abcd"


@lru_cache(maxsize=16)
def packing(dialect: str, statement: str, kinds: tuple[Kind, ...]) -> str:
    """Return a statement whose only row has the number of rows of another one, and their text.

    With PostgreSQL, the number of values that each column has, and whether a text is empty, stand
    between. With SQLite that would cost as much as the text; a row with a NULL is missing there.

    Args:
        dialect: "postgresql" or "sqlite".
        statement: Gives the rows; in the words of the driver.
        kinds: One for each column.
    """
    names = _FIELDS[: len(kinds)]
    page = f"WITH page ({', '.join(names)}) AS ({statement}) "
    if dialect == "sqlite":
        separators = [f" || '{separator}' || " for separator in AFTER_FIELD[: len(kinds) - 1]]
        row = "".join(map("".join, zip(names, [*separators, ""], strict=True)))
        return f"{page}SELECT count(*), group_concat({row}, '{AFTER_ROW}') FROM page"  # noqa: S608 - of constants
    fields = [f"{name}::text" for name in names]
    for place, separator in enumerate(AFTER_FIELD[: len(kinds) - 1]):
        fields[place] += f" || chr({ord(separator)})"
    counts = ", ".join(f"count({name})" for name in names)
    empty = [f"{name} = ''" for name, kind in zip(names, kinds, strict=True) if kind is str]
    return (
        f"{page}SELECT count(*), {counts}, bool_or({' OR '.join(empty) or 'false'}), "  # noqa: S608 - of constants
        f"string_agg({' || '.join(fields)}, chr({ord(AFTER_ROW)})) FROM page"
    )


def unpacked(
    packed: Sequence[Any], size: int, kinds: Sequence[Kind]
) -> tuple[PackedRows, bool] | None:
    """Return the page in a row of `packing`, and whether there is another one.

    Args:
        packed: The row.
        size: Rows of a page at most; the statement gives one more if there is another page.
        kinds: One for each column.

    Returns:
        None: The text is not all of it.
    """
    count, *known, text = packed
    if not isinstance(text, str) or not set(known[:-1]) <= {count}:
        return None
    has_empty = known[-1] if known else _has_empty(text, len(kinds))
    more = count > size
    text = text.rpartition(AFTER_ROW)[0] if more else text
    try:
        return PackedRows(text, count - more, kinds, has_empty=has_empty), more
    except ValueError:
        return None


def _has_empty(text: str, columns: int) -> bool:
    """Return whether a field may be empty: two separators, or one and an end, meet."""
    separators = (*AFTER_FIELD[: columns - 1], AFTER_ROW)
    meet = (f"{one}{other}" for one, other in pairwise(separators))
    ends = text.startswith(AFTER_FIELD[0]) or text.endswith(separators[-2])
    return ends or f"{AFTER_ROW}{AFTER_FIELD[0]}" in text or any(map(text.__contains__, meet))
