"""Answers as CSV, for spreadsheets: no cell of which becomes a formula."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from starlette.responses import Response

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
TASK_COLUMNS: Final = (
    *("id", "queue", "kind", "state", "attempts", "crashes", "enqueued_at", "due_at", "ended_at"),
    *("error", "started_at", "duration_seconds", "server"),
)
"""Of every table of tasks."""


@dataclass(frozen=True, slots=True)
class Table:
    """How an answer becomes a table."""

    name: str
    """Of the file, without its ending."""
    rows: str
    """The field of the answer that holds its list."""
    columns: tuple[str, ...]
    """Attributes of what the list holds."""


def csv_reply(name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Response:
    """Return rows as a file to keep, called `name`.csv."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([cell(value) for value in row])
    return Response(
        text.getvalue().encode("utf-8", "replace"),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}.csv"'},
    )


def cell(value: object) -> str:
    """Return the text of a cell; one that a spreadsheet would compute begins with an apostrophe."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat()
    text = _words(value).replace("\0", "")
    plain = isinstance(value, int | float) or not text.lstrip(" ").startswith(_FORMULA)
    return text if plain else f"'{text}"


def _words(value: object) -> str:
    """Return a value as text: the items of a list, and the pairs of a map, as words."""
    if isinstance(value, Mapping):
        return " ".join(f"{name}={item}" for name, item in value.items())
    if isinstance(value, list):
        return " ".join(str(getattr(item, "id", item)) for item in value)
    return str(value)
