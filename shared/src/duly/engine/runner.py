"""Runs attempts: each in a coroutine of its own, and settles what became of it."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from datetime import timedelta
from typing import Any, Literal

import msgspec
import structlog

from duly.clock import Clock
from duly.engine import attempt, settlements, threads
from duly.engine.attempt import Running, UnknownKindError
from duly.engine.broker import JobBroker, Plan
from duly.engine.delivery import Delivery
from duly.engine.drafts import Drafts
from duly.engine.gate import Gate
from duly.engine.middleware import Ended, Hooks, Middleware, Outcome
from duly.engine.processes import HardTimeoutError, Processes, Target
from duly.engine.scripts import Settlement, Success
from duly.engine.settler import Settler
from duly.engine.strangers import Strangers
from duly.errors import HandBack, MalformedTaskError
from duly.task import Outside

_STUCK_AFTER = 5.0
"""Seconds after which a handler that was told to stop and goes on counts as stuck."""
_PRECISE_BELOW = 1.0
"""Timeouts shorter than this many seconds get a timer of their own; longer ones are looked for."""
_CANCEL_AS: dict[str | None, Literal["archived", "dropped", "retry"]] = {
    "archived": "archived",
    "dropped": "dropped",
    "retry": "retry",
}


class Runner:
    """Runs the tasks that the receiver gives it; knows which run now.

    Args:
        jobs: The broker, with a handler for each kind.
        settlers: Where outcomes go, by queue.
        middlewares: Told when attempts begin and end.
        on_retry: Called with (queue, wait) when a task goes to retry.
        on_free: Called when a slot becomes free.
        on_lost: Called with (queue, entry) of a task that other servers have now.
        stopping: Whether the worker drains.
        unknown_grace: How long a task waits for a server that knows its kind.
        clock: For durations.
    """

    def __init__(
        self,
        jobs: JobBroker,
        settlers: Mapping[str, Settler],
        *,
        middlewares: Iterable[Middleware],
        on_retry: Callable[[str, timedelta], None],
        on_free: Callable[[], None],
        on_lost: Callable[[str, bytes], None],
        stopping: Callable[[], bool],
        unknown_grace: timedelta,
        clock: Clock,
    ) -> None:
        self._jobs, self._settlers, self._clock = jobs, settlers, clock
        self._hooks = Hooks(middlewares)
        self._run = self._wrapped if self._hooks.wraps else self._call
        self._on_retry, self._on_free, self._on_lost = on_retry, on_free, on_lost
        self._stopping = stopping
        self.drafts = Drafts(jobs.store, self.running)
        self._outside = Outside(jobs.store.now_ms, drafted=self.drafts.noticed)
        self._processes = Processes(jobs.store.now_ms, clock=clock)
        self._log = structlog.get_logger("duly.engine")
        self._running: dict[Running, None] = {}
        self._monotonic = clock.monotonic
        self._seen_ms, self._instant = jobs.store.now_ms(), clock.monotonic()
        self.gate = Gate(jobs.store, on_aside=on_retry)
        self.strangers = Strangers(
            jobs.store,
            settlers,
            server=jobs.server,
            grace=unknown_grace,
            on_aside=on_retry,
            on_given_up=self._quarantine,
        )

    def __len__(self) -> int:
        """Return how many tasks run now."""
        return len(self._running)

    def __contains__(self, running: Running) -> bool:
        """Tell whether a task still runs."""
        return running in self._running

    def running(self) -> list[Running]:
        """Return what runs now. May be called from any thread."""
        return list(self._running)

    def look_at_clock(self) -> None:
        """Note what time it is, for what begins from now on. One look serves many."""
        self._seen_ms, self._instant = self._jobs.store.now_ms(), self._monotonic()

    def begin(
        self, queue: str, delivery: Delivery, task: asyncio.Task[None]
    ) -> Coroutine[Any, Any, None] | None:
        """Return what runs a task, to be awaited at once.

        None where nothing is to be awaited: it can not be run and is settled as that, or it has
        to ask first and does so in a task of its own.

        Args:
            queue: Where it was read.
            delivery: What was read.
            task: Where it is awaited; what may cancel it.
        """
        now_ms = self._seen_ms
        try:
            running, plan = attempt.start(
                delivery, queue, self._jobs.plans, now_ms=now_ms, started=self._instant
            )
        except UnknownKindError as error:
            self.strangers.put(queue, delivery, error.message)
            return None
        except MalformedTaskError as error:
            self._quarantine(queue, delivery, error.reason)
            return None
        if running.expires_ms and now_ms >= running.expires_ms:
            self._expire(running)
            return None
        running.context.stopping = self._stopping
        running.context.outside = self._outside
        self._running[running] = None
        if plan.limit is None:
            running.task = task
            return self._work(running, plan)
        running.task = asyncio.get_running_loop().create_task(self._ask(running, plan))
        return None

    def stop(self) -> None:
        """Tell handlers in processes that the worker stops; those here ask."""
        self._processes.stop()

    async def close(self) -> None:
        """End the processes; nothing may run any more."""
        await self._processes.close()

    def cancel(self, queue: str, wanted: Mapping[str, str]) -> None:
        """Stop running tasks as operators want: task id → what is to become of it."""
        for running in self.running():
            outcome = wanted.get(running.context.id)
            if running.queue == queue and outcome in _CANCEL_AS:
                running.cancel_as = _CANCEL_AS[outcome]
                self.interrupt(running, Outcome.CANCELLED)

    def interrupt(self, running: Running, why: Outcome) -> None:
        """Cancel a running task for another reason than its timeout."""
        if running.task is not None and running.interrupted is None:
            running.interrupted = why
            self._tell(running.task, running)

    async def watch(self) -> None:
        """Cancel what has run too long: one look at all is cheaper than a timer for each."""
        while True:
            await asyncio.sleep(_PRECISE_BELOW / 4)
            now = self._clock.monotonic()
            for running in self.running():
                if running.timeout and now - running.started >= running.timeout:
                    self._time_out(running)
                if running.told_at and not running.stuck and now - running.told_at > _STUCK_AFTER:
                    running.stuck = True
                    self._log.error(
                        "Handler goes on although it was told to stop",
                        task_id=running.context.id,
                        kind=running.context.kind,
                        queue=running.queue,
                    )

    def _quarantine(self, queue: str, delivery: Delivery, reason: str) -> None:
        store, task_id = self._jobs.store, attempt.task_id_of(delivery) or delivery.entry.decode()
        self._settlers[queue].settle(
            settlements.quarantine(
                delivery, task_id, reason, now_ms=store.now_ms(), server=self._jobs.server
            )
        )
        self._hooks.quarantined(queue, task_id, reason)

    def _expire(self, running: Running) -> None:
        """Archive a task whose deadline had passed before this attempt could begin."""
        now_ms, context = self._jobs.store.now_ms(), running.context
        self._settlers[running.queue].settle(
            settlements.expired(running, now_ms=now_ms, server=self._jobs.server)
        )
        self._log.error(
            "Task archived, its deadline had passed",
            task_id=context.id,
            kind=context.kind,
            queue=running.queue,
        )

    async def _ask(self, running: Running, plan: Plan) -> None:
        """Run a task of a limited kind when its limit allows, else be rid of it."""
        timeout, running.timeout = running.timeout, 0.0
        lets = False
        try:
            lets = plan.limit is None or await self.gate.lets(running, plan.limit)
        except asyncio.CancelledError as error:
            self._hooks.began(running.context)
            self._cancelled(running, error)
        else:
            if not lets:
                self._on_lost(running.queue, running.delivery.entry)
        if lets:
            running.timeout = timeout
            now_ms = self._jobs.store.now_ms()
            attempt.begin_anew(running, now_ms=now_ms, started=self._clock.monotonic())
            await self._work(running, plan)
        else:
            del self._running[running]
            self._on_free()

    async def _work(self, running: Running, plan: Plan) -> None:
        """Run one task to its end, whatever that is."""
        self._hooks.began(running.context)
        alarm: asyncio.TimerHandle | None = None
        if 0 < running.timeout < _PRECISE_BELOW:
            alarm = asyncio.get_running_loop().call_later(running.timeout, self._time_out, running)
        try:
            result = await self._run(plan, running)
        except asyncio.CancelledError as error:
            self._cancelled(running, error)
        except HandBack:
            self._settlers[running.queue].settle(settlements.hand_back(running))
            self._end(running, Outcome.HANDED_BACK)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a handler may raise anything
            self._failed(running, error)
        else:
            self._succeeded(running, result)
        finally:
            if alarm is not None:
                alarm.cancel()
            running.task = None
            del self._running[running]
            self._on_free()

    def _time_out(self, running: Running) -> None:
        if running.task is not None and not running.timed_out:
            running.timed_out = True
            self._tell(running.task, running)

    def _tell(self, task: asyncio.Task[None], running: Running) -> None:
        running.told_at = running.told_at or self._clock.monotonic()
        running.context.cancelled = True
        task.cancel()

    def _succeeded(self, running: Running, result: Any) -> None:  # noqa: ANN401
        context = running.context
        if running.retention_ms or running.flow is not None or context.successors:
            self._keep(running, result)
            return
        message, delivery = running.message, running.delivery
        lock = running.lock if message.labels else ""
        dirty = delivery.retried or context.draft is not None
        self._settlers[running.queue].succeeded(
            delivery.entry, message.task_id, message.task_name, lock, dirty
        )
        self._end(running, Outcome.SUCCEEDED)

    def _keep(self, running: Running, result: Any) -> None:  # noqa: ANN401
        """Settle a success of which something is kept, or after which something comes."""
        settler = self._settlers[running.queue]
        kept: Settlement | None = None
        followed: Success | None = None
        try:
            if running.retention_ms:
                encoded = running.context.draft or b""
                if result is not None:
                    encoded = msgspec.json.encode(result)
                kept = settlements.success(running, encoded)
            if running.flow is not None or running.context.successors:
                followed = settlements.followed(running, kept, now_ms=self._jobs.store.now_ms())
        except Exception as error:  # noqa: BLE001 - results and successors are the handler's
            self._failed(running, error)
            return
        if followed is not None:
            settler.follow(followed)
        elif kept is not None:
            settler.settle(kept)
        self._end(running, Outcome.SUCCEEDED)

    def _failed(self, running: Running, error: BaseException) -> None:
        store = self._jobs.store
        settlement, end = settlements.failure(
            running,
            error,
            now_ms=store.now_ms(),
            seconds=self._seconds(running),
            server=self._jobs.server,
        )
        self._settlers[running.queue].settle(settlement)
        if end.retry_in is not None:
            self._on_retry(running.queue, end.retry_in)
        self._hooks.ended(end)

    def _cancelled(self, running: Running, error: asyncio.CancelledError) -> None:
        """A cancelled handler timed out, or is handed back or lost; else it cancelled itself."""
        if running.interrupted is None:
            self._failed(running, error)
            return
        running.handed_back = running.interrupted is Outcome.HANDED_BACK
        if running.interrupted is Outcome.LOST:
            self._on_lost(running.queue, running.delivery.entry)
        elif running.interrupted is Outcome.CANCELLED:
            settlement = settlements.cancelled(
                running,
                now_ms=self._jobs.store.now_ms(),
                seconds=self._seconds(running),
                server=self._jobs.server,
            )
            self._settlers[running.queue].settle(settlement)
        self._end(running, running.interrupted)

    def _end(self, running: Running, outcome: Outcome) -> None:
        self._hooks.ended(Ended(running.context, outcome, self._seconds(running)))

    def _seconds(self, running: Running) -> float:
        self._instant = self._monotonic()
        return self._instant - running.started

    async def _wrapped(self, plan: Plan, running: Running) -> Any:  # noqa: ANN401
        async with self._hooks.around(running.context):
            return await self._call(plan, running)

    def _call(self, plan: Plan, running: Running) -> Awaitable[Any]:
        """Return what runs the handler. Not a coroutine itself: that would be one more a task."""
        if plan.is_async:
            answer: Awaitable[Any] = plan.handler(running.job, running.context)
            return answer
        if plan.target is None:
            return threads.run(plan.handler, running.job, running.context)
        return self._in_process(plan.target, running)

    async def _in_process(self, target: Target, running: Running) -> Any:  # noqa: ANN401
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
