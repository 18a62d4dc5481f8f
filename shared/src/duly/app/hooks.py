"""Functions that an application wants called when something failed, as middlewares."""

import inspect
from collections.abc import Callable
from typing import Any

from typing_extensions import override

from duly.app.signatures import name_of
from duly.engine.middleware import Ended, Middleware, Outcome, checked
from duly.engine.storage.reports import DeadLetter

_FAILURES = {Outcome.RETRIED, Outcome.UNCOUNTED, Outcome.ARCHIVED, Outcome.REVOKED}


class OnFailure(Middleware):
    """Tells a function of each attempt that failed.

    Raises:
        TypeError: It would have to be awaited, or yields.
    """

    def __init__(self, function: Callable[[Ended], None]) -> None:
        self._function = checked(function, name_of(function))

    @override
    def wants(self, outcome: Outcome) -> bool:
        """Tell whether an attempt that ended so has failed."""
        return outcome in _FAILURES

    @override
    def ended(self, end: Ended) -> None:
        """Tell the function, unless the handler itself asked for this end."""
        if end.error is not None:
            _call(self._function, end)


class OnDeadLetter(Middleware):
    """Tells a function of each task that is given up.

    Raises:
        TypeError: It would have to be awaited, or yields.
    """

    def __init__(self, function: Callable[[DeadLetter], None]) -> None:
        self._function = checked(function, name_of(function))

    @override
    def dead_lettered(self, letter: DeadLetter) -> None:
        """Tell the function."""
        _call(self._function, letter)


def _call(function: Callable[[Any], object], told: object) -> None:
    """Call a hook; a decorator may hide that it is a coroutine function, which never runs."""
    returned = function(told)
    if inspect.iscoroutine(returned):
        returned.close()
        raise TypeError("it returned a coroutine, which nothing awaits: a hook is a plain function")
