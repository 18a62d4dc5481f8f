"""Runs attempts, each in a coroutine of its own, and cancels those whose time is over."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR
from typing import Any

import structlog

from duly.clock import Clock
from duly.engine.middleware import Hooks, Outcome
from duly.engine.middleware.barrier import log_failure
from duly.engine.worker import attempt, threads
from duly.engine.worker.attempt import RunningAttempt
from duly.engine.worker.holdings import Holdings
from duly.engine.worker.limiter import Limiter
from duly.engine.worker.outcomes import Outcomes
from duly.engine.worker.partial_results import PartialResults
from duly.engine.worker.processes.pool import HardTimeoutError, Processes, Target
from duly.engine.worker.received import Received
from duly.engine.worker.taskiq_broker import HandlerSpec, JobBroker
from duly.engine.worker.unknown_kinds import UnknownKinds
from duly.errors import BrokerError, MalformedTaskError, describe
from duly.runtime.attemptlog import ATTEMPT
from duly.runtime.returned import result_of
from duly.runtime.supervision import Beat, unwatched
from duly.task import Outside

_SUSPENDABLE = CO_COROUTINE | CO_GENERATOR | CO_ASYNC_GENERATOR
_STUCK_AFTER = 5.0
"""Seconds after its cancellation at which a handler that still runs counts as stuck."""
_PRECISE_BELOW = 1.0
"""Timeouts shorter than this many seconds get a timer of their own; longer ones are looked for."""


class Runner:
    """Runs the tasks that the receiver gives it; knows which run now.

    Args:
        jobs: The broker, with a handler for each kind.
        outcomes: Records how tasks end.
        holdings: Knows when a slot is freed, and which tasks others own.
        limiter: Admits tasks of limited kinds.
        unknown_kinds: Takes tasks of kinds that have no handler here.
        hooks: Called when attempts begin, and around handlers.
        stopping: Whether the worker drains.
        clock: For durations.
    """

    def __init__(
        self,
        jobs: JobBroker,
        outcomes: Outcomes,
        holdings: Holdings,
        limiter: Limiter,
        unknown_kinds: UnknownKinds,
        *,
        hooks: Hooks,
        stopping: Callable[[], bool],
        clock: Clock,
    ) -> None:
        self._jobs, self._outcomes, self._holdings = jobs, outcomes, holdings
        self._limiter, self._unknown_kinds = limiter, unknown_kinds
        self._hooks, self._stopping, self._clock = hooks, stopping, clock
        self._run = self._wrapped if hooks.wraps else self._call
        self.partial_results = PartialResults(jobs.store, self.running)
        self._outside = Outside(
            jobs.store.now_ms,
            partial_result_written=self.partial_results.noticed,
            over=lambda: self._over,
        )
        self._over = False
        self._processes = Processes(jobs.store.now_ms, clock=clock, broker=jobs.told_to_processes)
        self._log = structlog.get_logger("duly.engine")
        self._running: dict[RunningAttempt, None] = {}
        self._seen_ms = jobs.store.now_ms()

    def __len__(self) -> int:
        """Return how many tasks run now."""
        return len(self._running)

    def __contains__(self, running: RunningAttempt) -> bool:
        """Tell whether a task still runs."""
        return running in self._running

    def running(self) -> list[RunningAttempt]:
        """Return what runs now. May be called from any thread."""
        return list(self._running)

    def look_at_clock(self) -> None:
        """Note what time it is, for what begins from now on. One look serves many."""
        self._seen_ms, self._outcomes.instant = self._jobs.store.now_ms(), self._clock.monotonic()

    def begin(
        self, received: Received, task: asyncio.Task[None]
    ) -> Coroutine[Any, Any, None] | None:
        """Return what runs a task, to be awaited at once. Never raises.

        None where nothing is to be awaited: the task cannot be run and is settled as that, or it
        has to ask for a permit first and does so in an asyncio task of its own.

        Args:
            received: What was read.
            task: Where it is awaited; what may cancel it.
        """
        ready = self._ready(received)
        if ready is None:
            return None
        running, spec = ready
        running.context.stopping = self._stopping
        running.context.outside = self._outside
        self._running[running] = None
        if spec.limit is None:
            running.task = task
            return self._work(running, spec)
        running.task = asyncio.get_running_loop().create_task(self._ask(running, spec))
        return None

    def _ready(self, received: Received) -> tuple[RunningAttempt, HandlerSpec] | None:
        """Return an attempt and how to run it; None: the task cannot run here, and is settled."""
        message, now_ms = received.message, self._seen_ms
        spec = self._jobs.handlers.get(message.task_name) if message is not None else None
        if message is None:
            self._outcomes.quarantined(received, received.problem)
        elif spec is None:
            self._unknown_kinds.put(received, message)
        else:
            try:
                running = attempt.start(
                    received, message, spec, now_ms=now_ms, started=self._outcomes.instant
                )
            except MalformedTaskError as error:
                self._outcomes.quarantined(received, error.reason, known=True)
            except BaseException as error:  # noqa: BLE001 - a message is foreign data
                name = describe(error).partition(":")[0]
                log_failure(self._log, "Task could not be prepared", error, queue=received.queue)
                self._outcomes.quarantined(
                    received, f"it could not be prepared: {name}", known=True
                )
            else:
                if not running.expires_ms or now_ms < running.expires_ms:
                    return running, spec
                self._outcomes.expired(received, running)
        return None

    def stop(self) -> None:
        """Tell handlers in processes that the worker stops; those here ask."""
        self._processes.stop()

    async def close(self) -> None:
        """End the processes; nothing may run any more."""
        await self._processes.close()

    def cancel(self, queue: str, wanted: Mapping[str, str]) -> None:
        """Cancel running tasks as operators want: task id → what is to become of it."""
        for running in self.running():
            wish = attempt.cancel_as(wanted.get(running.message.task_id))
            if running.queue == queue and wish is not None:
                running.cancel_as = wish
                self.interrupt(running, Outcome.CANCELLED)

    def interrupt(self, running: RunningAttempt, why: Outcome) -> None:
        """Cancel a running task for another reason than its timeout."""
        if running.task is not None and running.interrupted is None:
            running.interrupted = why
            self._cancel(running.task, running)

    async def watch(self, beat: Beat = unwatched) -> None:
        """Cancel what has run too long: one look at all is cheaper than a timer for each."""
        try:
            while True:
                beat()
                await asyncio.sleep(_PRECISE_BELOW / 4)
                self._look_at_running(self._clock.monotonic())
        except asyncio.CancelledError:
            self._over = True
            raise

    def _look_at_running(self, now: float) -> None:
        for running in self.running():
            if running.timeout and now - running.started >= running.timeout:
                self._time_out(running)
            since = running.cancelled_at
            if since and not running.stuck and now - since > _STUCK_AFTER:
                running.stuck = True
                self._log.error(
                    "Handler ignores cancellation",
                    task_id=running.context.id,
                    kind=running.context.kind,
                    queue=running.queue,
                )

    async def _ask(self, running: RunningAttempt, spec: HandlerSpec) -> None:
        """Run a task of a limited kind if its limit allows that now; else it is not ours."""
        timeout, running.timeout = running.timeout, 0.0
        admitted = False
        try:
            admitted = spec.limit is None or await self._limiter.acquire(running, spec.limit)
        except BrokerError:
            # It gives its slot to others. A permit that it may have got is returned once settled.
            self._outcomes.unlimited(running)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the task gets an outcome
            self._hooks.began(running.context)
            self._outcomes.raised(running, error)
        else:
            if not admitted:
                self._holdings.lose(running.queue, [running.delivery.stream_id])
        if admitted:
            running.timeout = timeout
            now_ms = self._jobs.store.now_ms()
            attempt.begin_anew(running, now_ms=now_ms, started=self._clock.monotonic())
            with contextlib.suppress(GeneratorExit):  # see TaskReuse: it is settled by then
                await self._work(running, spec)
        else:
            del self._running[running]
            self._holdings.slot_freed()

    async def _work(self, running: RunningAttempt, spec: HandlerSpec) -> None:
        """Run one task to its end, whatever that is. Raises nothing."""
        running.token = False  # This start spends it, whatever comes.
        token = ATTEMPT.set(running.context)
        self._hooks.began(running.context)
        alarm: asyncio.TimerHandle | None = None
        if 0 < running.timeout < _PRECISE_BELOW:
            alarm = asyncio.get_running_loop().call_later(running.timeout, self._time_out, running)
        try:
            result = await self._run(spec, running)
            if result is not None:
                result = await result_of(result)
        except BaseException as error:  # noqa: BLE001 - a handler may raise anything
            self._outcomes.raised(running, error)
            _let_go(error)
        else:
            self._outcomes.succeeded(running, result)
        finally:
            if alarm is not None:
                alarm.cancel()
            running.task = None
            del self._running[running]
            self._holdings.slot_freed()
            # What is left in the context keeps the next one from sharing this asyncio task. A
            # coroutine that is closed from elsewhere has another context.
            with contextlib.suppress(ValueError):
                ATTEMPT.reset(token)

    def _time_out(self, running: RunningAttempt) -> None:
        if running.task is not None and not running.timed_out:
            running.timed_out = running.context.timed_out = True
            self._cancel(running.task, running)

    def _cancel(self, task: asyncio.Task[None], running: RunningAttempt) -> None:
        running.cancelled_at = running.cancelled_at or self._clock.monotonic()
        running.context.cancelled = True
        task.cancel()

    async def _wrapped(self, spec: HandlerSpec, running: RunningAttempt) -> Any:  # noqa: ANN401
        async with self._hooks.around(running.context):
            return await result_of(await self._call(spec, running))

    def _call(self, spec: HandlerSpec, running: RunningAttempt) -> Awaitable[Any]:
        """Return what runs the handler. Not a coroutine itself: that would be one more a task."""
        if spec.is_async:
            answer: Awaitable[Any] = spec.handler(running.job, running.context)
            return answer
        if spec.target is None:
            return threads.run(spec.handler, running.job, running.context)
        return self._in_process(spec.target, running)

    async def _in_process(self, target: Target, running: RunningAttempt) -> Any:  # noqa: ANN401
        try:
            return await self._processes.run(
                target,
                running.job,
                running.context,
                timeout_s=running.timeout,
                keeps=running.retention_ms > 0,
                timed_out=lambda: running.timed_out and running.interrupted is None,
            )
        except HardTimeoutError:
            running.timed_out = True
            raise


def _let_go(error: BaseException) -> None:
    """Clear the frames that an error has passed through on its way.

    Errors and the frames that raised them refer to each other. Until the next collection of cycles
    they would keep all that the handler had, and that may be all memory.

    An error that is raised again, as a connection's is to all who use it, has passed through frames
    of others, which have caught it and go on. Until Python 3.13, to clear one that is suspended
    closes it, as if its task were over; nobody has called it, and by that it is known.
    """
    with contextlib.suppress(BaseException):  # its `__traceback__` may be foreign code
        passed = error.__traceback__
        while passed is not None:
            frame, passed = passed.tb_frame, passed.tb_next
            if frame.f_back is not None or not frame.f_code.co_flags & _SUSPENDABLE:
                with contextlib.suppress(RuntimeError):  # it runs
                    frame.clear()
