"""Runs calls to the broker side by side: one connection takes them together, in their order."""

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

from duly.errors import DulyError

AT_ONCE = 100
"""As many as callers are to hand over at once."""
Answer = TypeVar("Answer")


async def concurrently(calls: Iterable[Awaitable[Answer]]) -> list[Answer | DulyError]:
    """Begin calls in their order and wait for all; return their answers in the same order.

    Where one fails as duly's calls do, its error is returned in place of its answer: the others
    are not given up. Anything else that is raised cancels them.
    """
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_end(call)) for call in calls]
    return [task.result() for task in tasks]


async def _end(call: Awaitable[Answer]) -> Answer | DulyError:
    try:
        return await call
    except DulyError as error:
        return error
