"""Runs a handler that is no coroutine: in a thread of its own, which keeps its slot to the end.

A thread cannot be cancelled. asyncio's `to_thread` abandons it when its caller is cancelled, so
that the slot is free while the handler still runs; and at exit it waits for it without a limit.
"""

import asyncio
import concurrent.futures
import contextlib
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from duly.errors import describe
from duly.runtime import threads
from duly.runtime.attemptlog import ATTEMPT

_LOOK_SECONDS = 0.25
"""How often a function that was cancelled is asked whether its worker has ended."""
P = ParamSpec("P")
T = TypeVar("T")


async def run(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what the function returns, or raise what it raises.

    It sees the caller's context variables.

    Cancelling waits for the function to end and is raised then. The thread is a daemon: it does
    not keep the process from exiting once the drain budget is spent.
    """

    def end() -> "concurrent.futures.Future[T]":
        # Its end as a value: asyncio does not carry every exception, and GeneratorExit it would
        # throw into every coroutine up to the task's own.
        done = concurrent.futures.Future[T]()
        try:
            done.set_result(function(*args, **kwargs))
        except StopIteration as stopped:
            # A coroutine cannot raise it; it means nothing here but a bug in the handler.
            done.set_exception(RuntimeError(f"the handler raised {describe(stopped)}"))
        except BaseException as raised:  # noqa: BLE001 - carried over to whoever awaits
            done.set_exception(raised)
        return done

    ended = threads.start(end)
    try:
        done = await asyncio.shield(ended)
    except asyncio.CancelledError:
        # However often it is cancelled, by its timeout, an operator and the end of the drain: the
        # slot is the function's. Only a worker that has ended leaves it.
        while not (ended.done() or _is_over()):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({ended}, timeout=_LOOK_SECONDS)
        raise  # whatever the function ended with, the cancellation is what counts
    return done.result()


def _is_over() -> bool:
    attempt = ATTEMPT.get()
    return attempt is not None and attempt.outside.over()
