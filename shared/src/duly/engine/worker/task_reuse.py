"""Runs many coroutines in as few asyncio tasks as they need.

Making an asyncio task, and having the loop step it, takes longer than a short handler runs. What
never waits needs none of its own: here one task runs coroutine after coroutine for as long as none
of them waits. One that does keeps the task to its end, and the next coroutine begins in another.
So each has a task that it shares with nobody who runs at the same time, as `asyncio.timeout` and
task groups need it, and context variables that nobody before it has set.
"""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from duly.engine.middleware.barrier import log_failure

SLICE = 0.005
"""Seconds after which whatever else is ready in the loop runs."""


class TaskReuse:
    """Runs what it is given, one turn after the other. Belongs to one loop.

    Args:
        take: Given the task to run it in, returns the next coroutine, None when there is none for
            now. The coroutines must raise nothing.
        monotonic: Seconds on a clock that never goes back; not the loop's, which stands still
            during a turn.
        on_turn: Called when a turn begins, before the first is taken.
        slice_seconds: How long a turn may last before another one goes on.
    """

    def __init__(
        self,
        take: Callable[[asyncio.Task[None]], Coroutine[Any, Any, None] | None],
        *,
        monotonic: Callable[[], float],
        on_turn: Callable[[], None] = lambda: None,
        slice_seconds: float = SLICE,
    ) -> None:
        self._take, self._on_turn, self._slice = take, on_turn, slice_seconds
        self._monotonic = monotonic
        self._next: asyncio.Task[None] | None = None
        self._number = 0

    def go_on(self) -> None:
        """Take what there is to take in the loop's next turn."""
        if self._next is None:
            # Not by the loop's factory (see `contained`): what it takes raises nothing.
            self._next = asyncio.Task(self._turn(), loop=asyncio.get_running_loop())

    async def _turn(self) -> None:
        """Run one after the other until one has waited, or has left traces in this task."""
        task, self._next = self._next, None
        if task is None:
            return
        try:
            await self._run_in(task)
        except asyncio.CancelledError:
            raise
        except GeneratorExit:
            # Either this coroutine is closed, or a handler awaited a future that ended so: that
            # closes each coroutine down from here, which settles the task, and arrives here.
            return
        except BaseException as error:  # noqa: BLE001 - logged, with its traceback
            # Not to be expected of what `take` returns; what comes after it runs all the same.
            log_failure(structlog.get_logger("duly.engine"), "Task ended unexpectedly", error)
            self.go_on()

    async def _run_in(self, task: asyncio.Task[None]) -> None:
        self._number = number = self._number + 1
        self._on_turn()
        ends = self._monotonic() + self._slice
        clean = contextvars.copy_context()
        while (work := self._take(task)) is not None:
            # Before it begins: if it waits, another turn is to take what comes after it.
            if self._next is None:
                self.go_on()
            await work
            if (
                self._number != number
                or task.cancelling()
                or self._monotonic() > ends
                or contextvars.copy_context() != clean
            ):
                return
