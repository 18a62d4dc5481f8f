"""What wraps the running of a task: one concern a file.

A middleware is told when an attempt begins and how it ended. Both hooks are plain functions on
the hot path: they count, time and log, they do not wait. What has to wait, or to be there while
the handler runs, is put around it.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from datetime import timedelta
from enum import StrEnum

import msgspec
import structlog

from duly.engine.reports import DeadLetter
from duly.task import TaskContext


class Outcome(StrEnum):
    """How an attempt ended, and what became of the task by it."""

    SUCCEEDED = "succeeded"
    RETRIED = "retried"
    EXCUSED = "excused"
    """It failed, and its kind's policy does not count that; the task is retried."""
    ARCHIVED = "archived"
    REVOKED = "revoked"
    CANCELLED = "cancelled"
    """An operator had it stopped; the task is archived, retried or deleted as they asked."""
    QUARANTINED = "quarantined"
    HANDED_BACK = "handed_back"
    """The worker stopped before the end; the task waits again, this attempt is not counted."""
    LOST = "lost"
    """The worker had lost its lease: another server runs the task, this outcome was dropped."""


class Ended(msgspec.Struct, eq=False):
    """The end of one attempt. To be read only; one is made for every attempt."""

    context: TaskContext
    outcome: Outcome
    seconds: float
    """How long it ran."""
    error: BaseException | None = None
    retry_in: timedelta | None = None


class Middleware:
    """The base: every hook once, doing nothing."""

    def began(self, context: TaskContext) -> None:
        """An attempt is about to run."""

    def around(self, context: TaskContext) -> AbstractAsyncContextManager[object]:  # noqa: ARG002
        """Return what the handler runs inside: a session, a context variable.

        Entered in the order of the middlewares, left in the opposite one. What it raises is the
        attempt's error; what it swallows has not happened. Costs nothing where nobody defines it.
        """
        return nullcontext()

    def ended(self, end: Ended) -> None:
        """An attempt has ended; its slot is free already."""

    def wants(self, outcome: Outcome) -> bool:  # noqa: ARG002
        """Tell whether `ended` is to be called for an outcome. Asked once, when the worker begins.

        A no to success costs nothing for all the tasks that succeed.
        """
        return True

    def quarantined(self, queue: str, task_id: str, reason: str) -> None:
        """An entry was not run at all: malformed, or of a kind without a handler."""

    def dead_lettered(self, letter: DeadLetter) -> None:
        """A task has been archived by failure or quarantined, whoever found that out.

        Called once the broker has it so: where the attempt ended, or, for the crash that was one
        too many, where it was noticed, in some worker or scheduler.
        """


class Hooks:
    """Calls the hooks of several middlewares, in their order.

    Only those that do something: calling the base's empty ones costs as much. An error in one is
    logged and no more: the task goes on, and its slot is freed.
    """

    def __init__(self, middlewares: Iterable[Middleware]) -> None:
        given = tuple(middlewares)
        self._began = [m.began for m in given if type(m).began is not Middleware.began]
        ended = [m for m in given if type(m).ended is not Middleware.ended]
        self._ended = {outcome: [m.ended for m in ended if m.wants(outcome)] for outcome in Outcome}
        self._succeeded = self._ended[Outcome.SUCCEEDED]
        self._around = [m.around for m in given if type(m).around is not Middleware.around]
        self._quarantined = [m.quarantined for m in given]
        self._dead_lettered = [m.dead_lettered for m in given]
        self._log = structlog.get_logger("duly.engine")

    @property
    def wraps(self) -> bool:
        """Whether any of them puts something around handlers."""
        return bool(self._around)

    @asynccontextmanager
    async def around(self, context: TaskContext) -> AsyncIterator[None]:
        """What handlers run inside. Unlike the others it lets errors through."""
        async with AsyncExitStack() as stack:
            for hook in self._around:
                await stack.enter_async_context(hook(context))
            yield

    def began(self, context: TaskContext) -> None:
        """An attempt is about to run."""
        for hook in self._began:
            try:
                hook(context)
            except Exception:  # noqa: BLE001
                self._log.exception("Middleware failed", hook=hook.__qualname__)

    def ended(self, end: Ended) -> None:
        """An attempt has ended."""
        # The hash of an enumeration's member is Python code, so most go past the dictionary.
        hooks = self._succeeded if end.outcome is Outcome.SUCCEEDED else self._ended[end.outcome]
        for hook in hooks:
            try:
                hook(end)
            except Exception:  # noqa: BLE001
                self._log.exception("Middleware failed", hook=hook.__qualname__)

    def quarantined(self, queue: str, task_id: str, reason: str) -> None:
        """An entry was not run at all."""
        for hook in self._quarantined:
            try:
                hook(queue, task_id, reason)
            except Exception:  # noqa: BLE001
                self._log.exception("Middleware failed", hook=hook.__qualname__)

    def dead_lettered(self, letter: DeadLetter) -> None:
        """A task has been given up."""
        for hook in self._dead_lettered:
            try:
                hook(letter)
            except Exception:  # noqa: BLE001
                self._log.exception("Middleware failed", hook=hook.__qualname__)
