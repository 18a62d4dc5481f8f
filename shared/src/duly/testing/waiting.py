"""Waits for conditions with a deadline, instead of sleeping for a guessed time."""

import asyncio
import inspect
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

T = TypeVar("T")
Seconds = timedelta | float
POLL_SECONDS = 0.007
PATIENCE_SECONDS = 60.0
"""More than a passing test ever needs, and enough for a machine that stalls."""


class NotInTimeError(AssertionError):
    """A condition did not come true before its deadline."""

    def __init__(self, what: str, timeout: float, last: object) -> None:
        self.what, self.timeout, self.last = what, timeout, last
        super().__init__(f"{what}: not true within {timeout:g} s; last seen: {last!r}")


def _seconds(timeout: Seconds) -> float:
    return timeout.total_seconds() if isinstance(timeout, timedelta) else timeout


def _name(condition: object, what: str) -> str:
    return what or getattr(condition, "__qualname__", repr(condition))


async def until(
    condition: Callable[[], T | Awaitable[T]],
    *,
    timeout: Seconds = PATIENCE_SECONDS,  # noqa: ASYNC109 - its error shows what was seen
    what: str = "",
) -> T:
    """Return the condition's first true answer; it is asked every few milliseconds.

    Args:
        condition: A plain or an asynchronous function of no arguments.
        timeout: A timedelta, or seconds.
        what: The name of the condition in the error.

    Raises:
        NotInTimeError: It was never true; the error shows its last answer.
    """
    seconds = _seconds(timeout)
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        value: T = await answer if inspect.isawaitable(answer) else answer
        if value:
            return value
        if time.monotonic() >= deadline:
            raise NotInTimeError(_name(condition, what), seconds, value)
        await asyncio.sleep(POLL_SECONDS)


def wait_until(
    condition: Callable[[], T], *, timeout: Seconds = PATIENCE_SECONDS, what: str = ""
) -> T:
    """The blocking form of `until`, for code without an event loop.

    Raises:
        NotInTimeError: It was never true; the error shows its last answer.
    """
    seconds = _seconds(timeout)
    deadline = time.monotonic() + seconds
    never = threading.Event()
    while not (value := condition()):
        if time.monotonic() >= deadline:
            raise NotInTimeError(_name(condition, what), seconds, value)
        never.wait(POLL_SECONDS)
    return value
