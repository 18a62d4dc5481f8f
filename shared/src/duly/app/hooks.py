"""Functions that an application wants called when something failed, as middlewares."""

from collections.abc import Callable

from typing_extensions import override

from duly.engine.middleware import Ended, Middleware, Outcome
from duly.engine.storage.reports import DeadLetter

_FAILURES = {Outcome.RETRIED, Outcome.UNCOUNTED, Outcome.ARCHIVED, Outcome.REVOKED}


class OnFailure(Middleware):
    """Tells a function of each attempt that failed."""

    def __init__(self, function: Callable[[Ended], object]) -> None:
        self._function = function

    @override
    def wants(self, outcome: Outcome) -> bool:
        """Tell whether an attempt that ended so has failed."""
        return outcome in _FAILURES

    @override
    def ended(self, end: Ended) -> None:
        """Tell the function, unless the handler itself asked for this end."""
        if end.error is not None:
            self._function(end)


class OnDeadLetter(Middleware):
    """Tells a function of each task that is given up."""

    def __init__(self, function: Callable[[DeadLetter], object]) -> None:
        self._function = function

    @override
    def dead_lettered(self, letter: DeadLetter) -> None:
        """Tell the function."""
        self._function(letter)
