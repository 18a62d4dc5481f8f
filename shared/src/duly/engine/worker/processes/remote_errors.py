"""Errors on their way from a child process to its worker: described there, made anew here."""

import sys
import traceback
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from typing_extensions import override

from duly.encodable import encodable
from duly.engine.worker.processes.messages import OUTCOME_SIGNALS, Raised
from duly.errors import Retry, describe

_NAME_LIMIT, _ERROR_LIMIT, _TRACEBACK_LIMIT = 200, 2_000, 16_000
_FRAMES: Final = 30
_OWN_FRAMES: Final = {"duly.engine.worker.processes.child"}
_LONGEST_MS: Final = 10**14
"""Three thousand years: a timedelta holds it, and nobody waits so long."""


class RemoteError(Exception):
    """What a handler raised in its process.

    Each is of a subclass with the name of the original, and a subclass of the original too where
    this process knows it: policies look at the class. It has the message only, no attributes.
    """

    @override
    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class _Traceback(Exception):  # noqa: N818 - no error: the text of one
    """The cause of what is raised here for a handler: where it was raised there."""


def traceback_of(error: BaseException) -> str | None:
    """Return the traceback from the process where an error was raised; None: from this one."""
    return str(error.__cause__) if isinstance(error.__cause__, _Traceback) else None


def raised(error: BaseException, number: int) -> Raised:
    """Describe what a handler raised, however hostile its class. Never raises.

    Args:
        error: What was raised. The frames of this package are left out of its traceback.
        number: Of the task in its process.
    """
    try:
        return _raised(error, number)
    except BaseException:  # noqa: BLE001 - a metaclass or a property may do anything
        return Raised(number, "", "Exception", "its class cannot be described", "")


def _raised(error: BaseException, number: int) -> Raised:
    text = describe(error, _NAME_LIMIT + _ERROR_LIMIT)
    name, _, message = text.partition(": ")
    after: Any = error.after if isinstance(error, Retry) else None
    return Raised(
        number=number,
        module=encodable(type(error).__module__),
        error=name[:_NAME_LIMIT],
        message=message[:_ERROR_LIMIT],
        traceback=encodable(_formatted(error)[-_TRACEBACK_LIMIT:]),
        signal=next((key for key, kind in OUTCOME_SIGNALS.items() if isinstance(error, kind)), ""),
        after_ms=_milliseconds(after) if isinstance(after, timedelta) else None,
        after_raw=after if isinstance(after, int | float) else None,
    )


def made_anew(raised: Raised) -> BaseException:
    """Return the error to raise here for one that was raised in a child. Never raises."""
    error: BaseException
    if raised.signal == "retry":
        after = None if raised.after_ms is None else timedelta(milliseconds=raised.after_ms)
        # As the handler gave it: whoever settles the attempt says what is wrong with it.
        error = Retry(raised.message, after=raised.after_raw or after)  # type: ignore[arg-type]
    elif raised.signal in OUTCOME_SIGNALS:
        error = OUTCOME_SIGNALS[raised.signal](raised.message)
    else:
        error = _remote(raised)
    error.__cause__ = _Traceback(raised.traceback)
    return error


def _formatted(error: BaseException) -> str:
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_globals.get("__name__") in _OWN_FRAMES:
        frames = frames.tb_next
    try:
        return "".join(traceback.format_exception(type(error), error, frames, limit=-_FRAMES))
    except BaseException:  # noqa: BLE001 - the class is the handler's, and may do anything
        return ""


def _milliseconds(after: timedelta) -> int:
    return min(round(after.total_seconds() * 1000), _LONGEST_MS)


def _remote(raised: Raised) -> Exception:
    name = raised.error.replace("\0", "?")
    try:
        original = getattr(sys.modules.get(raised.module), raised.error, None)
        bases: tuple[type, ...] = (RemoteError,)
        # asyncio's futures refuse StopIteration.
        if isinstance(original, type) and issubclass(original, Exception):
            known = not issubclass(original, StopIteration)
            bases = (RemoteError, original) if known else (RemoteError,)
        return _made(type(name, bases, {}), raised.message)
    except BaseException:  # noqa: BLE001 - the original is made otherwise, by somebody's code
        return _made(type(name, (RemoteError,), {}), raised.message)


def _made(kind: type, message: str) -> Exception:
    # Not by its constructor, which may want what did not travel.
    make: Callable[..., Exception] = kind.__new__
    error = make(kind, message)
    error.args = (message,)
    return error
