"""Answers as CSV, for spreadsheets: no cell of which becomes a formula."""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from starlette.responses import Response

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


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
    text = str(value).replace("\0", "")
    plain = isinstance(value, int | float) or not text.lstrip(" ").startswith(_FORMULA)
    return text if plain else f"'{text}"
