"""Pages of lists that are read whole: in the order of a key, from a cursor on.

A cursor is the key of the last item of a page, so that what comes and goes meanwhile moves nothing:
the next page begins behind that key, whether or not something still has it.
"""

import base64
import binascii
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from duly_monitor.bounds import PartQuery, invalid_cursor

Item = TypeVar("Item")
Key = tuple[int | str, ...]
"""What a list is ordered by; no two items have the same."""


@dataclass(frozen=True, slots=True)
class Part(Generic[Item]):
    """A page of a list."""

    items: list[Item]
    next_cursor: str | None
    """None: this is the last."""


def part_of(items: Iterable[Item], query: PartQuery, key: Callable[[Item], Key]) -> Part[Item]:
    """Return the page of a list that is asked for, in the order of its keys.

    Raises:
        HTTPException: 400, when the cursor is none of such a list.
    """
    ordered = sorted(items, key=key)
    if query.cursor is not None:
        after = _read(query.cursor)
        try:
            ordered = [item for item in ordered if key(item) > after]
        except TypeError as error:
            raise invalid_cursor() from error
    page = ordered[: query.limit]
    more = len(ordered) > query.limit
    return Part(page, _written(key(page[-1])) if more else None)


def _written(key: Key) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def _read(cursor: str) -> Key:
    padded = cursor.encode("utf-8", "replace") + b"=" * (-len(cursor) % 4)
    try:
        found = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise invalid_cursor() from error
    if not isinstance(found, list) or not all(type(part) in (int, str) for part in found):
        raise invalid_cursor()
    return tuple(found)
