"""Errors that nobody awaits: those of threads, finalizers, callbacks and abandoned asyncio tasks.

Python writes them to standard error in many lines, past the format and the masks of the log. Here
each is a line of the log, with the attempt that it belongs to where that can be known.
"""

import asyncio
import contextvars
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, ParamSpec, TypeVar

import structlog
from typing_extensions import override

P = ParamSpec("P")
T = TypeVar("T")
_LONGEST_NAME: Final = 120


def log_stray_errors() -> None:
    """Log what threads and finalizers raise, unless somebody else has taken care of it.

    Idempotent.
    """
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _of_thread
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _of_finalizer


def _of_thread(found: "threading.ExceptHookArgs") -> None:
    if found.exc_value is None or isinstance(found.exc_value, SystemExit):
        return
    name = found.thread.name if found.thread is not None else ""
    structlog.get_logger("duly.service").error(
        "A thread has ended with an error", thread=name[:_LONGEST_NAME], exc_info=found.exc_value
    )


def _of_finalizer(found: "sys.UnraisableHookArgs") -> None:
    # The object's own representation may be anybody's code, and may be what has just failed.
    structlog.get_logger("duly.service").error(
        "An error that cannot be raised",
        where=f"{found.err_msg or 'in'} {type(found.object).__qualname__}"[:_LONGEST_NAME],
        exc_info=found.exc_value,
    )


def log_in_context(loop: asyncio.AbstractEventLoop, found: dict[str, Any]) -> None:
    """Log an error of a callback or an abandoned task, as asyncio does, in the context of that.

    A handler of exceptions for an event loop. Before Python 3.12 the context cannot be asked for.
    """
    source = found.get("task") or found.get("future") or found.get("handle")
    context_of = getattr(source, "get_context", None)
    context = context_of() if context_of is not None else contextvars.copy_context()
    # A copy: the context may be one that is being run in.
    context.copy().run(loop.default_exception_handler, found)


class ContextThreads(ThreadPoolExecutor):
    """Threads in which a function sees the context variables of whoever has asked for it."""

    @override
    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        context = contextvars.copy_context()
        return super().submit(lambda: context.run(fn, *args, **kwargs))
