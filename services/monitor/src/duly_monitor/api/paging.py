"""Pages of lists that are read whole: in the order of a key, from a cursor on.

A cursor stands for the key of the last item of a page, so that what comes and goes meanwhile moves
nothing: the next page begins behind that key, whether or not something still has it. Cursors have
the order of their keys: each text of hexadecimal digits is a place in each such list.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from duly_monitor.bounds import PartQuery

Item = TypeVar("Item")
Key = tuple[int | str, ...]
"""What a list is ordered by; no two items have the same."""
_OFFSET: Final = 2**63
_PREFIX_BYTES: Final = 200
"""Of a key; longer ones have the order of their digests, so that a cursor fits into an address."""


@dataclass(frozen=True, slots=True)
class Part(Generic[Item]):
    """A page of a list."""

    items: list[Item]
    next_cursor: str | None
    """None: this is the last."""


def part_of(items: Iterable[Item], query: PartQuery, key: Callable[[Item], Key]) -> Part[Item]:
    """Return the page of a list that is asked for, in the order of its keys."""
    places = [(_place(key(item)), item) for item in items]
    ordered = sorted(places, key=lambda place: place[0])
    if query.cursor is not None:
        ordered = [place for place in ordered if place[0] > query.cursor]
    page = ordered[: query.limit]
    more = len(ordered) > query.limit
    return Part([item for _, item in page], page[-1][0] if more else None)


def _place(key: Key) -> str:
    """Return a key as hexadecimal digits that have its order."""
    encoded = b"\0".join(
        part.encode("utf-8", "surrogatepass")
        if isinstance(part, str)
        else max(0, min(part + _OFFSET, 2**64 - 1)).to_bytes(8, "big")
        for part in key
    )
    text = encoded[:_PREFIX_BYTES].hex()
    return text if len(encoded) <= _PREFIX_BYTES else text + hashlib.sha256(encoded).hexdigest()
