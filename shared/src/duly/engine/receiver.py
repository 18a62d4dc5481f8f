"""Runs tasks: reads as many as there are free slots, one coroutine each, and settles them.

taskiq's `Receiver` is the place to plug this in; its own loop prefetches, acknowledges one by one
and loses what it does not understand, so `listen` is replaced whole.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import msgspec
import structlog
from taskiq.receiver import Receiver
from typing_extensions import override

from duly.clock import Clock, SystemClock
from duly.engine import attempt
from duly.engine.attempt import Running
from duly.engine.broker import JobBroker, Plan
from duly.engine.codec import decode
from duly.engine.middleware import Ended, Hooks, Middleware, Outcome
from duly.engine.scripts import Settlement
from duly.engine.settler import Settler
from duly.engine.source import Source
from duly.engine.store import Delivery
from duly.errors import BrokerError, MalformedTaskError

_SETTLE_BUDGET = 5.0
"""Seconds that a stopping worker waits for the broker to take the last outcomes."""
_PRECISE_BELOW = 1.0
"""Timeouts shorter than this many seconds get a timer of their own; longer ones are looked for."""
_BACKLOG_LIMIT = 5_000
"""Outcomes not written yet at which no more tasks are read."""


class JobReceiver(Receiver):
    """Runs the tasks of the broker's queues, at most `concurrency` at once.

    Args:
        broker: Where tasks come from, with a handler for each kind.
        concurrency: Slots. A task holds one from its start until its handler has returned.
        drain: How long running tasks may go on after the stop; then they are handed back.
        strict: Ask the queues in their order rather than by weight.
        middlewares: Told when attempts begin and end.
        on_retry: Called with (queue, wait) when a task goes to retry, so that somebody moves it.
        leased: Whether this server's lease stands, so far as it knows; without, it takes nothing.
        clock: For durations.
    """

    def __init__(
        self,
        broker: JobBroker,
        *,
        concurrency: int,
        drain: timedelta = timedelta(seconds=25),
        strict: bool = False,
        middlewares: Iterable[Middleware] = (),
        on_retry: Callable[[str, timedelta], None] = lambda *_: None,
        leased: Callable[[], bool] = lambda: True,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(broker, max_async_tasks=concurrency, run_startup=False)
        self.jobs = broker
        self.concurrency = concurrency
        self.paused: set[str] = set()
        self.stopping = False
        self._on_retry = on_retry
        self._drain = drain.total_seconds()
        self._hooks = Hooks(middlewares)
        self._clock = clock or SystemClock()
        self._log = structlog.get_logger("duly.engine")
        self._running: dict[bytes, Running] = {}
        self._held: set[bytes] = set()
        self._waiting: deque[tuple[str, Delivery]] = deque()
        self._room = asyncio.Event()
        self._room.set()
        self._down = False
        self._settlers = {
            queue: Settler(
                broker.store,
                queue,
                on_written=self._held.difference_update,
                on_refused=self._refused,
                on_error=self._broker_failed,
            )
            for queue in broker.queues
        }
        self._source = Source(
            broker.store,
            broker.queues,
            server=broker.server,
            strict=strict,
            paused=self.paused.__contains__,
            held=lambda: frozenset(self._held),
            leased=leased,
        )

    def running(self) -> list[Running]:
        """Return what runs now. May be called from any thread."""
        return list(self._running.values())

    @override
    async def listen(self, finish_event: asyncio.Event) -> None:
        """Run tasks until the event is set, then drain.

        Draining: reading stops at once; what has not started is handed back; running tasks go on
        for the drain budget and are then cancelled and handed back with their attempts unchanged.
        """
        async with asyncio.TaskGroup() as group:
            settling = [group.create_task(settler.run()) for settler in self._settlers.values()]
            reading = group.create_task(self._read())
            timeouts = group.create_task(self._watch_timeouts())
            await finish_event.wait()
            self.stopping = True
            await self._stop_reading(reading)
            await self._finish_running()
            await self._write_rest(settling)
            timeouts.cancel()
        await self._source.close()

    def lose_lease(self, queue: str) -> None:
        """Abort what runs of a queue: other servers have these tasks now."""
        self._source.lose()
        for running in self.running():
            if running.queue == queue:
                self._cancel(running, Outcome.LOST)

    async def pause(self, queue: str) -> None:
        """Take no tasks of a queue from now on, also not by the read that waits."""
        if queue not in self.paused:
            self.paused.add(queue)
            with contextlib.suppress(BrokerError):
                await self._source.interrupt()

    def resume(self, queue: str) -> None:
        """Take tasks of a queue again."""
        self.paused.discard(queue)

    async def _read(self) -> None:
        """Fetch and launch tasks until told to stop."""
        pause = 0.05
        while not self.stopping:
            await self._room.wait()
            self._launch_waiting()
            free = self.concurrency - len(self._running) - len(self._waiting)
            if free <= 0 or self._backlog() > _BACKLOG_LIMIT:
                self._room.clear()
                if self._backlog() > _BACKLOG_LIMIT:
                    await asyncio.sleep(0.01)
                    self._room.set()
                continue
            try:
                found = await self._source.next(free)
            except BrokerError as error:
                self._broker_failed(error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 1.0)
                continue
            pause = 0.05
            self._broker_answered()
            self._waiting.extend(found)
            self._held.update(delivery.entry for _, delivery in found)
            if not self.stopping:
                self._launch_waiting()

    def _backlog(self) -> int:
        return sum(settler.backlog for settler in self._settlers.values())

    def _launch_waiting(self) -> None:
        now_ms = self.jobs.store.now_ms()
        while self._waiting and len(self._running) < self.concurrency and not self.stopping:
            queue, delivery = self._waiting.popleft()
            self._launch(queue, delivery, now_ms)

    def _launch(self, queue: str, delivery: Delivery, now_ms: int) -> None:
        """Start one task, or quarantine what can not be run."""
        try:
            running, plan = attempt.start(
                delivery,
                queue,
                self.jobs.plans,
                now_ms=now_ms,
                started=self._clock.monotonic(),
            )
        except MalformedTaskError as error:
            self._quarantine(queue, delivery, error.reason)
            return
        running.context.stopping = self._is_stopping
        self._running[delivery.entry] = running
        running.task = self._loop().create_task(self._work(running, plan))

    @staticmethod
    def _loop() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def _is_stopping(self) -> bool:
        return self.stopping

    def _quarantine(self, queue: str, delivery: Delivery, reason: str) -> None:
        store, task_id = self.jobs.store, _task_id(delivery) or delivery.entry.decode()
        self._settlers[queue].settle(
            attempt.quarantine(
                delivery, task_id, reason, now_ms=store.now_ms(), server=self.jobs.server
            )
        )
        self._hooks.quarantined(queue, task_id, reason)

    async def _work(self, running: Running, plan: Plan) -> None:
        """Run one task to its end, whatever that is."""
        self._hooks.began(running.context)
        alarm: asyncio.TimerHandle | None = None
        if 0 < running.timeout < _PRECISE_BELOW:
            alarm = self._loop().call_later(running.timeout, self._time_out, running)
        try:
            if plan.is_async:
                result = await plan.handler(running.job, running.context)
            else:
                result = await asyncio.to_thread(plan.handler, running.job, running.context)
        except asyncio.CancelledError as error:
            self._cancelled(running, error)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a handler may raise anything
            self._failed(running, error)
        else:
            self._succeeded(running, result)
        finally:
            if alarm is not None:
                alarm.cancel()
            del self._running[running.delivery.entry]
            self._room.set()

    async def _watch_timeouts(self) -> None:
        """Cancel what has run too long: one look at all is cheaper than a timer for each."""
        while True:
            await asyncio.sleep(_PRECISE_BELOW / 4)
            now = self._clock.monotonic()
            for running in self.running():
                if running.timeout and now - running.started >= running.timeout:
                    self._time_out(running)

    def _time_out(self, running: Running) -> None:
        if running.task is not None and not running.timed_out:
            running.timed_out = True
            running.task.cancel()

    def _cancel(self, running: Running, why: Outcome) -> None:
        if running.task is not None and running.interrupted is None:
            running.interrupted = why
            running.task.cancel()

    def _succeeded(self, running: Running, result: Any) -> None:  # noqa: ANN401
        settler = self._settlers[running.queue]
        kept: Settlement | None = None
        if running.retention_ms:
            try:
                encoded = msgspec.json.encode(result) if result is not None else b""
                kept = attempt.success(running, encoded)
            except (TypeError, ValueError, msgspec.MsgspecError) as error:
                self._failed(running, error)
                return
        if kept is not None:
            settler.settle(kept)
        else:
            message = running.message
            settler.succeeded(
                running.delivery.entry,
                message.task_id,
                message.task_name,
                running.lock,
                dirty=running.dirty,
            )
        self._hooks.ended(Ended(running.context, Outcome.SUCCEEDED, self._seconds(running)))

    def _failed(self, running: Running, error: BaseException) -> None:
        store = self.jobs.store
        settlement, end = attempt.failure(
            running,
            error,
            now_ms=store.now_ms(),
            seconds=self._seconds(running),
            server=self.jobs.server,
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
            self._held.discard(running.delivery.entry)
        self._hooks.ended(Ended(running.context, running.interrupted, self._seconds(running)))

    def _seconds(self, running: Running) -> float:
        return self._clock.monotonic() - running.started

    async def _stop_reading(self, reading: asyncio.Task[None]) -> None:
        """End the read; hand back what it brought and what waited for a slot."""
        self._room.set()
        with contextlib.suppress(BrokerError):
            await self._source.interrupt()
        _, pending = await asyncio.wait({reading}, timeout=0.5)
        if pending:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading
        waiting, self._waiting = list(self._waiting), deque()
        await self._hand_back([(queue, delivery) for queue, delivery in waiting])
        # An answer may have been under way when the read was cancelled.
        with contextlib.suppress(BrokerError):
            await self._hand_back(await self._source.recover())

    async def _finish_running(self) -> None:
        """Let running tasks end within the budget; cancel the rest and hand them back."""
        tasks = [running.task for running in self.running() if running.task is not None]
        if tasks:
            self._log.info("Waiting for running tasks", running=len(tasks), budget=self._drain)
            await asyncio.wait(tasks, timeout=self._drain)
        late = self.running()
        for running in late:
            self._cancel(running, Outcome.HANDED_BACK)
        tasks = [running.task for running in late if running.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)
        # What ended on its own just now is settled; what ignored the cancelling ends with us.
        still = self._running
        await self._hand_back(
            [
                (running.queue, running.delivery)
                for running in late
                if running.handed_back or running.delivery.entry in still
            ]
        )

    async def _hand_back(self, tasks: list[tuple[str, Delivery]]) -> None:
        """Put tasks back unchanged; where the broker is away, the lease runs out instead."""
        for queue in self.jobs.queues:
            held = [
                (delivery.entry, _task_id(delivery)) for name, delivery in tasks if name == queue
            ]
            if held:
                try:
                    await self.jobs.store.requeue(queue, held)
                except BrokerError as error:
                    self._broker_failed(error)
                else:
                    self._held.difference_update(entry for entry, _ in held)
                    self._log.info("Tasks handed back", queue=queue, tasks=len(held))

    async def _write_rest(self, settling: list[asyncio.Task[None]]) -> None:
        """Write the outcomes that are left, for as long as that makes sense."""
        for settler in self._settlers.values():
            settler.close()
        _, pending = await asyncio.wait(settling, timeout=_SETTLE_BUDGET)
        if pending:
            self._log.error("Outcomes not written: the broker is away", tasks=len(self._held))
        for task in pending:
            task.cancel()

    def _refused(self, entries: list[bytes]) -> None:
        self._log.warning("Outcomes refused: the lease had run out", tasks=len(entries))

    def _broker_failed(self, error: BrokerError) -> None:
        if not self._down:
            self._down = True
            self._log.error("Broker away, trying on", error=str(error))

    def _broker_answered(self) -> None:
        if self._down:
            self._down = False
            self._log.info("Broker back", broker=self.jobs.store.connection.address)


def _task_id(delivery: Delivery) -> str:
    try:
        return decode(delivery.data or b"").task_id
    except MalformedTaskError:
        return ""
