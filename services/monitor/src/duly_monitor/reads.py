"""Reads many things side by side: one connection takes the calls together."""

from collections.abc import Awaitable, Sequence
from typing import TypeVar

from duly.engine.storage.concurrent import AT_ONCE, concurrently
from duly.errors import DulyError

Answer = TypeVar("Answer")


async def read_all(calls: Sequence[Awaitable[Answer]]) -> list[Answer]:
    """Return the answers in the order of the calls, of which a hundred are under way at once.

    Raises:
        DulyError: The first that one of them failed with; the others have ended then.
    """
    found: list[Answer] = []
    failed: list[DulyError] = []
    for start in range(0, len(calls), AT_ONCE):
        for answer in await concurrently(calls[start : start + AT_ONCE]):
            (failed if isinstance(answer, DulyError) else found).append(answer)  # type: ignore[arg-type]
    if failed:
        raise failed[0]
    return found
