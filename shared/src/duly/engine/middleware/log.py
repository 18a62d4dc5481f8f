"""Logs what an operator has to know of tasks. Never a payload, a header or a stranger's bytes."""

import logging
from typing import Final

import structlog
from typing_extensions import override

from duly.engine.middleware import Ended, Middleware, Outcome
from duly.errors import describe
from duly.runtime.loglevels import LogLevels

_LOGGER: Final = "duly.engine"


class LogTasks(Middleware):
    """One line for each attempt that did not succeed; successes too with `debug`.

    Args:
        debug: Whether successes are logged, where no file may change that.
        levels: Of the log. Where a file may change them, successes are logged while it says so.
    """

    def __init__(self, *, debug: bool = False, levels: LogLevels | None = None) -> None:
        self._levels = levels if levels is not None and levels.may_change else None
        self._debug = debug or self._levels is not None
        self._log = structlog.get_logger(_LOGGER)

    @override
    def wants(self, outcome: Outcome) -> bool:
        """Leave successes out, unless they are to be logged."""
        return self._debug or outcome is not Outcome.SUCCEEDED

    @override
    def ended(self, end: Ended) -> None:
        """Log the end of an attempt, as loudly as it deserves."""
        if end.outcome is Outcome.SUCCEEDED and self._is_silent():
            return
        facts = {
            "task_id": end.context.id,
            "kind": end.context.kind,
            "queue": end.context.queue,
            "attempt": end.context.attempt,
            "duration": round(end.seconds, 3),
        }
        if end.error is not None:
            facts["error"] = describe(end.error, 500)
        match end.outcome:
            case Outcome.SUCCEEDED:
                self._log.debug("Task succeeded", **facts)
            case Outcome.RETRIED:
                wait = end.retry_in.total_seconds() if end.retry_in else 0
                facts |= {"of": end.context.max_attempts, "retry_in": round(wait, 3)}
                self._log.warning("Task failed, will be retried", **facts)
            case Outcome.ARCHIVED:
                self._log.error("Task archived", **facts)
            case Outcome.LOST:
                self._log.warning("Task outcome refused: its lease was lost", **facts)
            case _:
                self._log.info(f"Task {end.outcome.value.replace('_', ' ')}", **facts)

    def _is_silent(self) -> bool:
        """Tell whether the line of a success would be dropped: it is made for every task."""
        return self._levels is not None and self._levels.of(_LOGGER) > logging.DEBUG

    @override
    def quarantined(self, queue: str, task_id: str, reason: str) -> None:
        """Log why an entry was quarantined."""
        self._log.error("Task quarantined", queue=queue, task_id=task_id[:256], reason=reason)
