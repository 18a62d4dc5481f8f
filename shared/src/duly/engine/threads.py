"""Runs a handler that is no coroutine: in a thread of its own, which keeps its slot to the end.

A thread can not be cancelled. asyncio's `to_thread` lets go of it when its caller is cancelled, so
that the slot is free while the handler still runs; and at exit it waits for it without a limit.
"""

import asyncio
import concurrent.futures
import contextlib
import contextvars
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def run(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what the function returns, or raise what it raises. It sees our context variables.

    Cancelling waits for the function to end and is raised then. The thread is a daemon: it does
    not keep the process from exiting once the drain budget is spent.
    """
    context = contextvars.copy_context()
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def work() -> None:
        done = concurrent.futures.Future[T]()
        try:
            done.set_result(context.run(function, *args, **kwargs))
        except StopIteration as stopped:
            # asyncio refuses it in a future; it means nothing here but a bug in the handler.
            done.set_exception(RuntimeError(f"the handler raised StopIteration: {stopped}"))
        except BaseException as raised:  # noqa: BLE001 - carried over to whoever awaits
            done.set_exception(raised)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_hand_over, done, future)

    threading.Thread(target=work, name="handler", daemon=True).start()
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if not future.done():
            await asyncio.wait({future})
        future.exception()  # whatever it ended with, the cancelling is what counts
        raise


def _hand_over(done: "concurrent.futures.Future[T]", future: "asyncio.Future[T]") -> None:
    error = done.exception()
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(done.result())
