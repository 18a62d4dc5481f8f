"""Runs a blocking function in a daemon thread, which never keeps its process from exiting.

asyncio's `to_thread` takes its threads from a pool, for which the interpreter waits at exit
without a limit.
"""

import asyncio
import concurrent.futures
import contextlib
import contextvars
import inspect
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def is_async(function: Callable[..., object]) -> bool:
    """Tell whether a function, or an object that is called like one, is awaited: it needs none."""
    call = getattr(function, "__call__", function)  # noqa: B004 - objects with an async __call__
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def start(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "asyncio.Future[T]":
    """Start the function in a thread of its own; return a future with what it returns or raises.

    The function sees the caller's context variables. Nobody can end it: cancelling the future
    abandons it, and the process may exit while it runs.
    """
    context = contextvars.copy_context()
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def work() -> None:
        done = _end(lambda: context.run(function, *args, **kwargs))
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_hand_over, done, future)

    threading.Thread(target=work, name="blocking function", daemon=True).start()
    return future


async def run(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what the function returns or raises, once it has ended in a thread of its own.

    Unlike `await start(…)`, it may raise GeneratorExit: a task would throw that into its coroutines
    as if they were to be closed, and whoever handles it could await nothing any more.
    """
    done = await start(_end, lambda: function(*args, **kwargs))
    return done.result()


def _end(function: Callable[[], T]) -> "concurrent.futures.Future[T]":
    """Call the function; return what it returned or raised."""
    done = concurrent.futures.Future[T]()
    try:
        done.set_result(function())
    except StopIteration as stopped:
        # A future refuses it; here it means nothing but a bug in the function.
        text = f"the function raised StopIteration: {stopped.value!r}"
        done.set_exception(RuntimeError(text))
    except BaseException as raised:  # noqa: BLE001 - carried over to whoever awaits
        done.set_exception(raised)
    return done


def _hand_over(done: "concurrent.futures.Future[T]", future: "asyncio.Future[T]") -> None:
    if future.done():  # abandoned
        return
    error = done.exception()
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(done.result())
