"""Supervision: knows whether each background loop and thread of a process still moves.

A process whose event loop answers may be of no use all the same: its heartbeat's thread has died,
or a loop hangs. Whoever runs such a component registers it here by name, and `/livez` asks.
"""

import asyncio
import math
import random
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import structlog

from duly.clock import Clock, SystemClock
from duly.errors import describe

_FIRST_BACKOFF_SECONDS: Final = 0.1
_LONGEST_BACKOFF_SECONDS: Final = 5.0
_RESTARTS_BEFORE_ALARM: Final = 5
"""Quick ends in a row after which a loop that is restarted counts as failed."""
_WAKES_PER_BOUND: Final = 4
DEFAULT_BOUND: Final = timedelta(seconds=10)


Question = Callable[[], str | None]
"""Answered by a component that watches itself: None while it is well, else the reason."""
Beat = Callable[[], None]
"""Called by a loop that moves."""


def unwatched() -> None:
    """Stand for the beat of a loop that nobody watches."""


@dataclass(frozen=True, slots=True)
class _Restarts:
    """How often in a row a loop that is started again has failed."""

    count: int
    error: str
    well_from: float
    """The loop counts as well again when it still runs at this monotonic time."""


class _Waking:
    """Calls a function in the loop again and again, for the body of a `with`."""

    def __init__(self, wake: Callable[[], None], every: float) -> None:
        self._wake, self._every = wake, every
        # A timer and no task: whoever cancels all tasks of a process would end that.
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        self._again()

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _again(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._every, self._again)
        self._wake()


class Supervisor:
    """Watches the components of one process. `liveness` and `beat` may be called by any thread.

    Args:
        bound: How long a component may go without a beat; the lease, in a worker.
        stopping: Whether the process stops, so that everything may end.
        asked: Components that watch themselves, by name; see `ask`.
        clock: Measures the bound, by its monotonic time.
    """

    def __init__(
        self,
        *,
        bound: timedelta = DEFAULT_BOUND,
        stopping: Callable[[], bool] = lambda: False,
        asked: Mapping[str, Question] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.bound, self._stopping = bound, stopping
        self._clock = clock or SystemClock()
        self._beats: dict[str, tuple[float, float]] = {}
        """Name → when the component moved last, and when it has to move again."""
        self._ends: dict[str, str] = {}
        """Name → why a watched task ended."""
        self._restarts: dict[str, _Restarts] = {}
        self._questions = dict(asked or {})
        self._log = structlog.get_logger("duly.service")

    def beat(self, name: str, *, rest: timedelta = timedelta(0)) -> None:
        """Note that a component moved, and that it moves again within `rest` plus the bound."""
        now = self._clock.monotonic()
        self._beats[name] = now, now + rest.total_seconds() + self.bound.total_seconds()

    def forget(self, name: str) -> None:
        """Watch a component no longer: its end was wanted. Idempotent."""
        self._beats.pop(name, None)
        self._ends.pop(name, None)
        self._restarts.pop(name, None)
        self._questions.pop(name, None)

    def ask(self, name: str, question: Question) -> None:
        """Ask a component that watches itself: None while it is well, else the reason in a line.

        Args:
            name: The component's.
            question: Called by whoever calls `liveness`, in its thread.
        """
        self._questions[name] = question

    def watch(self, name: str, task: "asyncio.Task[Any]") -> None:
        """Watch a task that runs until it is cancelled or the process stops.

        Its end counts as a failure unless somebody has cancelled it.
        """
        task.add_done_callback(lambda done: self._ended(name, done))

    def start(
        self, name: str, work: Callable[[], Coroutine[Any, Any, None]]
    ) -> "asyncio.Task[None]":
        """Run `work` in a task until it returns, and start it again whenever it raises.

        Each failure is logged, and followed by a growing, jittered pause of five seconds at most.
        After five failures in a row `liveness` fails, until one run lasts longer than the bound.
        Cancelling the returned task ends it.
        """
        task = asyncio.get_running_loop().create_task(self._keep(name, work), name=name)
        task.add_done_callback(lambda _: self.forget(name))
        return task

    def start_beating(
        self,
        name: str,
        work: Callable[[Beat], Coroutine[Any, Any, None]],
        *,
        wake: Callable[[], None] = lambda: None,
        rest: timedelta = timedelta(0),
    ) -> "asyncio.Task[None]":
        """Do as `start`, with work that also has to move: it beats whenever it does.

        Args:
            name: The loop's.
            work: Called with what it has to call, a fraction of a µs each time.
            wake: Called in the loop four times within the bound, so that work which waits for
                something to do moves all the same.
            rest: How long one of its steps may take, such as a call to the broker, in addition to
                the bound.
        """
        every = self.bound.total_seconds() / _WAKES_PER_BOUND
        allowed = every + self.bound.total_seconds() + rest.total_seconds()
        beats, monotonic = self._beats, self._clock.monotonic

        def beat() -> None:
            now = monotonic()
            beats[name] = now, now + allowed

        async def moving() -> None:
            beat()
            with _Waking(wake, every):
                await work(beat)

        return self.start(name, moving)

    def liveness(self) -> str | None:
        """Return None while every component moves, else one line: which does not, and why."""
        if self._stopping():
            return None
        now = self._clock.monotonic()
        for name, reason in self._ends.copy().items():
            return f"loop {name!r} ended: {reason}"
        for name, restarts in self._restarts.copy().items():
            if restarts.count >= _RESTARTS_BEFORE_ALARM and now < restarts.well_from:
                return f"loop {name!r} ended {restarts.count} times: {restarts.error}"
        for name, (moved_at, due) in self._beats.copy().items():
            if now > due:
                return f"loop {name!r} has not moved for {now - moved_at:.0f} s"
        answers = (question() for question in self._questions.copy().values())
        return next((answer for answer in answers if answer is not None), None)

    async def _keep(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        count, error_name, bound = 0, "", self.bound.total_seconds()
        while True:
            began = self._clock.monotonic()
            self._restarts[name] = _Restarts(count, error_name, well_from=began + bound)
            try:
                await work()
            except BaseException as error:
                if ends_the_loop(error):
                    raise
                lasted = self._clock.monotonic() - began
                count, error_name = (1 if lasted > bound else count + 1), _name_of(error)
                self._restarts[name] = _Restarts(count, error_name, well_from=math.inf)
                self._log.error("Background loop ended, restarting", loop=name, exc_info=error)
            else:
                return
            await asyncio.sleep(_backoff_seconds(count))

    def _ended(self, name: str, task: "asyncio.Task[Any]") -> None:
        self.forget(name)
        wanted = task.cancelled() and task.cancelling() > 0
        if wanted or self._stopping():
            return
        error = None if task.cancelled() else task.exception()
        reason = _name_of(error) if error else "cancelled" if task.cancelled() else "returned"
        self._ends[name] = reason
        self._log.error("Background loop ended", loop=name, reason=reason, exc_info=error)


def ends_the_loop(error: BaseException) -> bool:
    """Tell whether an error is the wanted end of the loop in which it was caught.

    A loop ends when somebody cancels its task, or closes its coroutine. A CancelledError that
    foreign code raises by itself ends nothing, nor does its SystemExit or KeyboardInterrupt.
    """
    return is_cancelled(error) or isinstance(error, GeneratorExit)


def is_cancelled(error: BaseException) -> bool:
    """Tell whether an error was raised because somebody cancels the running task."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling() > 0)


def _name_of(error: BaseException) -> str:
    """Return the name of its class: its text may quote what is not for everybody's eyes."""
    return describe(error).partition(":")[0]


def _backoff_seconds(failures: int) -> float:
    ceiling = min(_LONGEST_BACKOFF_SECONDS, _FIRST_BACKOFF_SECONDS * 2.0 ** min(failures - 1, 10))
    return ceiling * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
