"""What wraps the running of a task: one concern a file.

A middleware is told when an attempt begins and how it ended. Both hooks are plain functions on
the hot path: they count, time and log, they do not wait. What has to wait, or to be there while
the handler runs, is put around it.
"""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from datetime import timedelta
from enum import StrEnum
from typing import Any, ClassVar, Final, TypeVar

import msgspec
import structlog

from duly.engine.middleware.barrier import log_failure
from duly.engine.storage.reports import DeadLetter
from duly.runtime.returned import is_generator
from duly.runtime.threads import is_async
from duly.task import TaskContext

H = TypeVar("H", bound=Callable[..., Any])
_HOOKS: Final = ("began", "ended", "wants", "settled", "quarantined", "dead_lettered")
"""Which are called, and neither awaited nor entered."""


class Outcome(StrEnum):
    """How an attempt ended, and what became of the task by it."""

    SUCCEEDED = "succeeded"
    RETRIED = "retried"
    UNCOUNTED = "uncounted"
    """It failed, and its kind's policy does not count that; the task is retried."""
    ARCHIVED = "archived"
    REVOKED = "revoked"
    CANCELLED = "cancelled"
    """An operator had it stopped; the task is archived, retried or deleted as they asked."""
    QUARANTINED = "quarantined"
    REQUEUED = "requeued"
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

    encloses: ClassVar[bool] = False
    """Whether its `began` comes before and its `ended` after those of all that enclose nothing.

    For what the others' lines and counts belong to, such as the span of an attempt.
    """

    def began(self, context: TaskContext) -> None:
        """An attempt is about to start.

        Args:
            context: What the handler is given.
        """

    def around(self, context: TaskContext) -> AbstractAsyncContextManager[object]:  # noqa: ARG002
        """Return what the handler runs inside, such as a session or a context variable.

        Entered in the order of the middlewares and left in reverse order. An error that it raises
        is the error of the attempt; an error that it swallows did not happen. It costs nothing
        unless a middleware defines it.
        """
        return nullcontext()

    def ended(self, end: Ended) -> None:
        """An attempt has ended, and its slot is free."""

    def wants(self, outcome: Outcome) -> bool:  # noqa: ARG002
        """Tell whether `ended` is called for an outcome. Asked once, when the worker starts.

        A middleware that declines successes costs nothing for tasks that succeed.
        """
        return True

    def settled(self, queue: str, task_ids: Iterable[str]) -> None:
        """The broker has the outcomes of tasks. Called once for all that were written together.

        Args:
            queue: Where they ran.
            task_ids: Their ids.
        """

    def quarantined(self, queue: str, task_id: str, reason: str) -> None:
        """An entry was not run at all: it is malformed, or no worker knows its kind.

        Args:
            queue: The queue that it was read from.
            task_id: The id that it claims, else its stream id.
            reason: Why, in a sentence that quotes nothing of the entry.
        """

    def dead_lettered(self, letter: DeadLetter) -> None:
        """A task has been archived after a failure, or quarantined.

        Called once the broker has stored that: by the worker whose attempt ended; after the one
        crash too many, by the worker or scheduler that noticed it; of a member of a group that was
        not merged, by the worker that gave it up.

        Args:
            letter: The task, and why it was given up.
        """


def checked(hook: H, name: str) -> H:
    """Return a hook if calling it runs it.

    Raises:
        TypeError: It would have to be awaited, or yields.
    """
    if is_async(hook) or is_generator(hook):
        raise TypeError(f"{name}: a hook is a plain function; this one would never run")
    return hook


def check_hooks(middleware: Middleware) -> None:
    """Return if every hook of a middleware can be called as what it is.

    Raises:
        TypeError: It is no middleware, or one of its hooks would have to be awaited, or yields.
    """
    if isinstance(middleware, type):
        name = middleware.__name__
        raise TypeError(f"{name} is a class: add an object of it, such as {name}()")
    if not isinstance(middleware, Middleware):
        raise TypeError(f"{middleware!r} is no middleware: derive its class from Middleware")
    for name in _HOOKS:
        checked(getattr(middleware, name), f"{type(middleware).__name__}.{name}")
    around = middleware.around
    if is_async(around) or is_generator(around):
        place = f"{type(middleware).__name__}.around"
        raise TypeError(f"{place} returns no context manager: decorate it by @asynccontextmanager")


class Hooks:
    """Calls the hooks of several middlewares, in their order, but for those that enclose others.

    Only those that do something: calling the base's empty ones costs as much. An error in one is
    logged and no more: the task goes on, and its slot is freed.
    """

    def __init__(self, middlewares: Iterable[Middleware]) -> None:
        given = tuple(middlewares)
        for each in given:
            check_hooks(each)
        inside = [m for m in given if not m.encloses]
        outside = [m for m in given if m.encloses]
        began = [*outside, *inside]
        self._began = [m.began for m in began if type(m).began is not Middleware.began]
        # The outermost begins first and ends last.
        ended = [*inside, *reversed(outside)]
        ended = [m for m in ended if type(m).ended is not Middleware.ended]
        self._ended = {outcome: [m.ended for m in ended if m.wants(outcome)] for outcome in Outcome}
        self._succeeded = self._ended[Outcome.SUCCEEDED]
        self._around = [m.around for m in given if type(m).around is not Middleware.around]
        self._settled = [m.settled for m in given if type(m).settled is not Middleware.settled]
        self._quarantined = [m.quarantined for m in given]
        self._dead_lettered = [m.dead_lettered for m in given]
        self._log = structlog.get_logger("duly.engine")

    @property
    def wraps(self) -> bool:
        """Whether any of them puts something around handlers."""
        return bool(self._around)

    @property
    def waits_for_broker(self) -> bool:
        """Whether any of them is to be told that the broker has an outcome."""
        return bool(self._settled)

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
            except BaseException as error:  # noqa: BLE001
                self._failed(hook, error)

    def ended(self, end: Ended) -> None:
        """An attempt has ended."""
        # The hash of an enumeration's member is Python code, so most go past the dictionary.
        hooks = self._succeeded if end.outcome is Outcome.SUCCEEDED else self._ended[end.outcome]
        for hook in hooks:
            try:
                hook(end)
            except BaseException as error:  # noqa: BLE001
                self._failed(hook, error)

    def settled(self, queue: str, task_ids: Iterable[str]) -> None:
        """The broker has the outcomes of tasks."""
        for hook in self._settled:
            try:
                hook(queue, task_ids)
            except BaseException as error:  # noqa: BLE001
                self._failed(hook, error)

    def quarantined(self, queue: str, task_id: str, reason: str) -> None:
        """An entry was not run at all."""
        for hook in self._quarantined:
            try:
                hook(queue, task_id, reason)
            except BaseException as error:  # noqa: BLE001
                self._failed(hook, error)

    def dead_lettered(self, letter: DeadLetter) -> None:
        """A task has been given up."""
        for hook in self._dead_lettered:
            try:
                hook(letter)
            except BaseException as error:  # noqa: BLE001
                self._failed(hook, error)

    def _failed(self, hook: Callable[..., None], error: BaseException) -> None:
        """Log that a hook raised: whatever it was, the task and the worker go on."""
        name = getattr(hook, "__qualname__", type(hook).__name__)
        log_failure(self._log, "Middleware failed", error, hook=name)
