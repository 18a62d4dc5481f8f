"""Runs coroutines without an event loop: what they await are replies, and whoever runs them waits.

All that enqueues is written once, as coroutines over a connection. On a connection that blocks
they give way at one point only: between a command and its reply. So they run by plain calls, and
a caller that has other work meanwhile may let a command travel while it does that.
"""

from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")
_UNKNOWN: Any = object()


@coroutine
def turn() -> Generator[None]:
    """Give way once: the command has been sent, the reply has not been read."""
    yield


def finished(work: Coroutine[Any, None, T]) -> T:
    """Run a coroutine to its end and return what it returns.

    It must await nothing but `turn`: anything else needs a loop, and would be awaited in vain.
    """
    send = work.send
    try:
        while True:
            send(None)
    except StopIteration as end:
        return cast("T", end.value)


class Begun(Generic[T]):
    """A coroutine that has run up to its first reply."""

    def __init__(self, work: Coroutine[Any, None, T]) -> None:
        self._work, self._error = work, cast("BaseException | None", None)
        self._result: T = _UNKNOWN
        try:
            work.send(None)
        except StopIteration as end:
            self._result = end.value
        except Exception as error:  # noqa: BLE001 - raised where the result is wanted
            self._error = error

    def result(self) -> T:
        """Run it to its end and return what it returns, or raise what it raised."""
        if self._error is not None:
            raise self._error
        if self._result is _UNKNOWN:
            self._result = finished(self._work)
        return self._result
