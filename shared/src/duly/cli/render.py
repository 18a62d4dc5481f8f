"""Output for people (tables, times in words) and for programs (JSON)."""

import dataclasses
import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Final

from duly.clock import SystemClock

NOTHING: Final = "-"
_UNITS: Final = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))
_BOUNDLESS: Final = 1_000_000


def one_line(text: str) -> str:
    """Return untrusted text as one line, with control characters escaped."""
    return "".join(
        character if character.isprintable() else _visible(character) for character in text
    )


def block(text: str) -> str:
    """Do the same for text of several lines, such as a traceback."""
    return "\n".join(one_line(line.expandtabs(4)) for line in text.splitlines())


def duration(value: timedelta | None) -> str:
    """Return `4m 12s`, `2d 3h`, `350ms` or `-`: two units at most."""
    if value is None:
        return NOTHING
    seconds = value.total_seconds()
    if abs(seconds) < 1:
        return "0s" if round(seconds * 1000) == 0 else f"{round(seconds * 1000)}ms"
    sign, rest = ("-", -seconds) if seconds < 0 else ("", seconds)
    rest, parts = int(rest), list[str]()
    for unit, size in _UNITS:
        amount, rest = divmod(rest, size)
        if amount or parts:
            parts.append(f"{amount}{unit}" if amount else "")
    return sign + " ".join(part for part in parts[:2] if part)


def size(octets: int | None) -> str:
    """Return `512 B`, `12.3 MiB` or `-`."""
    if octets is None:
        return NOTHING
    amount, unit = float(octets), "B"
    for bigger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:  # noqa: PLR2004
            break
        amount, unit = amount / 1024, bigger
    return f"{octets} B" if unit == "B" else f"{amount:.1f} {unit}"


def ago(instant: datetime | None, now: datetime | None = None) -> str:
    """Return `4m 12s ago`, `in 30s` or `-`."""
    if instant is None:
        return NOTHING
    age = (now or SystemClock().now()) - instant
    return f"in {duration(-age)}" if age < timedelta(0) else f"{duration(age)} ago"


def clock_time(instant: datetime | None) -> str:
    """Return an instant in UTC to the second, or `-`."""
    return NOTHING if instant is None else f"{instant:%Y-%m-%d %H:%M:%S}Z"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Print rows under their columns; `empty` in their place when there are none.

    A column marked by `>` holds numbers, one marked by `~` is folded when the terminal is narrow.
    A pipe has no width: there a row is always one line.
    """
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for column in columns:
        grid.add_column(
            Text(column.lstrip(">~")),
            justify="right" if column.startswith(">") else "left",
            overflow="fold",
            no_wrap=not column.startswith("~"),
        )
    for row in rows:
        grid.add_row(*(Text(one_line(str(cell))) for cell in row))
    if not grid.row_count:
        print(empty)  # noqa: T201 - the command line's output
        return
    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        wide = console.options.update(width=_BOUNDLESS)
        console.width = Measurement.get(console, wide, grid).maximum
    with console.capture() as captured:
        console.print(grid)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))  # noqa: T201


def facts(pairs: Iterable[tuple[str, object]]) -> None:
    """Print `name  value` lines; values of several lines are indented below their name."""
    shown = [(name, str(value)) for name, value in pairs]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        if "\n" in value.strip():
            indented = "\n".join(f"  {line}" for line in block(value).splitlines())
            print(f"{name}\n{indented}")  # noqa: T201
        else:
            print(f"{name:{width}}  {one_line(value.strip())}")  # noqa: T201


def as_json(value: object) -> None:
    """Print JSON: instants as ISO 8601 in UTC, durations in seconds, states by their names."""
    # ASCII only: a control character of whatever kind stays an escape.
    print(json.dumps(plain(value), indent=2, ensure_ascii=True))  # noqa: T201


def compact(value: object) -> str:
    """Return a value as JSON on one line."""
    return json.dumps(plain(value), ensure_ascii=False)


def plain(value: object) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """Return a report as dicts, lists, texts and numbers."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if (names := getattr(value, "__struct_fields__", None)) is not None:  # a msgspec.Struct
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return _scalar(value)


def _scalar(value: object) -> object:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, str | int | float):
        return value
    return str(value)


def _visible(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
