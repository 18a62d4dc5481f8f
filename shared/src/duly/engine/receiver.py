"""Takes tasks: reads as many as there are free slots, has them run, and drains in the end.

taskiq's `Receiver` is the place to plug this in; its own loop prefetches, acknowledges one by one
and loses what it does not understand, so `listen` is replaced whole.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import structlog
from taskiq.receiver import Receiver
from typing_extensions import override

from duly.clock import Clock, SystemClock
from duly.engine.attempt import Running, task_id_of
from duly.engine.broker import JobBroker
from duly.engine.delivery import Delivery
from duly.engine.middleware import Hooks, Middleware, Outcome
from duly.engine.runner import Runner
from duly.engine.settler import Settler
from duly.engine.source import LONGEST_BLOCK_MS, Source
from duly.engine.turns import Turns
from duly.errors import BrokerError

_SETTLE_BUDGET = 5.0
"""Seconds that a stopping worker waits for the broker to take the last outcomes."""
_GIVE_BACK_BUDGET = 1.0
"""Seconds that it waits for permits to be given back."""
_BACKLOG_LIMIT = 5_000
"""Outcomes not written yet at which no more tasks are read."""


class JobReceiver(Receiver):
    """Runs the tasks of the broker's queues, at most `concurrency` at once.

    Args:
        broker: Where tasks come from, with a handler for each kind.
        concurrency: Slots. A task holds one from its start until its handler has returned.
        most: Queue name → slots that its tasks may hold at once; a queue not named: all of them.
        block_ms: Longest wait of one read; well within the lease, so that the broker gives no
            task to a server that is frozen and taken for dead.
        drain: How long running tasks may go on after the stop; then they are handed back.
        strict: Ask the queues in their order rather than by weight.
        middlewares: Told when attempts begin and end.
        on_retry: Called with (queue, wait) when a task goes to retry, so that somebody moves it.
        on_posted: Called with the queue in whose outbox successors lie.
        leased: Whether this server's lease stands, so far as it knows; without, it takes nothing.
        unknown_grace: How long a task waits for a server that knows its kind.
        clock: For durations.
    """

    def __init__(
        self,
        broker: JobBroker,
        *,
        concurrency: int,
        most: Mapping[str, int] | None = None,
        block_ms: int = LONGEST_BLOCK_MS,
        drain: timedelta = timedelta(seconds=25),
        strict: bool = False,
        middlewares: Iterable[Middleware] = (),
        on_retry: Callable[[str, timedelta], None] = lambda *_: None,
        on_posted: Callable[[str], None] = lambda _: None,
        leased: Callable[[], bool] = lambda: True,
        unknown_grace: timedelta = timedelta(0),
        clock: Clock | None = None,
    ) -> None:
        super().__init__(broker, max_async_tasks=concurrency, run_startup=False)
        self.jobs = broker
        self.concurrency = concurrency
        self._most = dict(most or {})
        self.paused: set[str] = set()
        self.is_quiet = False
        self.stopping = False
        self._clock = clock or SystemClock()
        self._drain = drain.total_seconds()
        self._log = structlog.get_logger("duly.engine")
        # By queue: two queues may give entries the same id, in the same millisecond.
        self._held: dict[str, set[bytes]] = {queue: set() for queue in broker.queues}
        self._waiting: deque[tuple[str, Delivery]] = deque()
        self._room = asyncio.Event()
        self._room.set()
        self._down = False
        middlewares = tuple(middlewares)
        hooks = Hooks(middlewares)
        self._settlers = {
            queue: Settler(
                broker.store,
                queue,
                on_written=partial(self._let_go, queue),
                on_refused=self._refused,
                on_posted=partial(on_posted, queue),
                on_left_out=partial(self._left_out, queue),
                on_error=self.broker_failed,
                on_dead=hooks.dead_lettered,
            )
            for queue in broker.queues
        }
        self._runner = Runner(
            broker,
            self._settlers,
            middlewares=middlewares,
            on_retry=on_retry,
            on_free=self._freed if self._most else self._room.set,
            on_lost=self._lose,
            stopping=self._is_stopping,
            unknown_grace=unknown_grace,
            clock=self._clock,
        )
        self._turns = Turns(
            self._begin_next, monotonic=self._clock.monotonic, on_turn=self._runner.look_at_clock
        )
        self._source = Source(
            broker.store,
            broker.queues,
            server=broker.server,
            strict=strict,
            block_ms=block_ms,
            paused=self._is_closed,
            room=self._room_of if self._most else None,
            held=lambda queue: frozenset(self._held[queue]),
            leased=leased,
        )

    def running(self) -> list[Running]:
        """Return what runs now. May be called from any thread."""
        return self._runner.running()

    @override
    async def listen(self, finish_event: asyncio.Event) -> None:
        """Run tasks until the event is set, then drain.

        Draining: reading stops at once; what has not started is handed back; running tasks go on
        for the drain budget and are then cancelled and handed back with their attempts unchanged.
        """
        async with asyncio.TaskGroup() as group:
            settling = [group.create_task(settler.run()) for settler in self._settlers.values()]
            reading = group.create_task(self._read())
            strangers = group.create_task(self._runner.strangers.run())
            timeouts = group.create_task(self._runner.watch())
            drafting = group.create_task(self._runner.drafts.run())
            await finish_event.wait()
            self.stopping = True
            self._runner.stop()
            await self._stop_reading(reading)
            await self._finish_running()
            strangers.cancel()
            await self._hand_back(self._runner.strangers.take())
            await self._write_rest(settling)
            await self._runner.close()
            timeouts.cancel()
            drafting.cancel()
        await self._source.close()

    def lose_lease(self, queue: str) -> None:
        """Abort what runs of a queue: other servers have these tasks now."""
        self._source.lose()
        for running in self.running():
            if running.queue == queue:
                self._runner.interrupt(running, Outcome.LOST)
        # What waits for a slot would run twice; what is still ours is read again.
        self._held[queue].difference_update(
            delivery.entry for name, delivery in self._waiting if name == queue
        )
        self._waiting = deque(item for item in self._waiting if item[0] != queue)

    def cancel(self, queue: str, wanted: Mapping[str, str]) -> None:
        """Stop running tasks as operators want: task id → what is to become of it."""
        self._runner.cancel(queue, wanted)

    def pause(self, queue: str) -> None:
        """Take no tasks of a queue from now on, also not by the read that waits."""
        if queue not in self.paused:
            self.paused.add(queue)
            self._source.end_wait()

    def resume(self, queue: str) -> None:
        """Take tasks of a queue again."""
        if queue in self.paused:
            self.paused.discard(queue)
            self._source.look_again()

    def quiet(self) -> None:
        """Take no tasks of any queue from now on, also not by the read that waits."""
        self.is_quiet = True
        self._source.end_wait()

    def wake(self) -> None:
        """Undo `quiet`."""
        self.is_quiet = False
        self._source.look_again()

    def _is_closed(self, queue: str) -> bool:
        return self.is_quiet or queue in self.paused

    async def _read(self) -> None:
        """Fetch and launch tasks until told to stop."""
        pause = 0.05
        while not self.stopping:
            await self._room.wait()
            self._launch_waiting()
            free = self.concurrency - len(self._runner) - len(self._waiting)
            if free <= 0 or self._backlog() > _BACKLOG_LIMIT:
                self._room.clear()
                if self._backlog() > _BACKLOG_LIMIT:
                    await asyncio.sleep(0.01)
                    self._room.set()
                continue
            try:
                found = await self._source.next(free)
            except BrokerError as error:
                self.broker_failed(error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 1.0)
                continue
            pause = 0.05
            self.broker_answered()
            self._waiting.extend(found)
            held = self._held
            for queue, delivery in found:
                held[queue].add(delivery.entry)
            if found and not self.stopping:
                self._launch_waiting()
                # They begin before the next read is sent: that is a system call.
                await asyncio.sleep(0)

    def _room_of(self, queue: str) -> int:
        """Return how many more tasks of a queue may be taken."""
        running = sum(running.queue == queue for running in self.running())
        waiting = sum(name == queue for name, _ in self._waiting)
        return self._most.get(queue, self.concurrency) - running - waiting

    def _freed(self) -> None:
        self._room.set()
        self._source.look_again()

    def _backlog(self) -> int:
        return len(self._runner.strangers) + sum(
            settler.backlog for settler in self._settlers.values()
        )

    def _launch_waiting(self) -> None:
        if self._waiting:
            self._turns.go_on()

    def _begin_next(self, task: asyncio.Task[None]) -> Coroutine[Any, Any, None] | None:
        """Return what runs the next task that waits for a slot, when there are both."""
        while self._waiting and len(self._runner) < self.concurrency and not self.stopping:
            queue, delivery = self._waiting.popleft()
            work = self._runner.begin(queue, delivery, task)
            if work is not None:
                return work
            # It holds no slot here, or frees it by itself: there may be room for another.
            self._room.set()
        return None

    def _is_stopping(self) -> bool:
        return self.stopping

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
            self._runner.interrupt(running, Outcome.HANDED_BACK)
        tasks = [running.task for running in late if running.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)
        # What ended on its own just now is settled; what ignored the cancelling ends with us.
        await self._hand_back(
            [
                (running.queue, running.delivery)
                for running in late
                if running.handed_back or running in self._runner
            ]
        )

    async def _hand_back(self, tasks: list[tuple[str, Delivery]]) -> None:
        """Put tasks back unchanged; where the broker is away, the lease runs out instead."""
        for queue in self.jobs.queues:
            held = [
                (delivery.entry, task_id_of(delivery)) for name, delivery in tasks if name == queue
            ]
            if held:
                try:
                    await self.jobs.store.requeue(queue, held)
                except BrokerError as error:
                    self.broker_failed(error)
                else:
                    self._let_go(queue, [entry for entry, _ in held])
                    self._log.info("Tasks handed back", queue=queue, tasks=len(held))

    async def _write_rest(self, settling: list[asyncio.Task[None]]) -> None:
        """Write the outcomes that are left, for as long as that makes sense."""
        for settler in self._settlers.values():
            settler.close()
        _, pending = await asyncio.wait(settling, timeout=_SETTLE_BUDGET)
        if pending:
            self._log.error(
                "Outcomes not written: the broker is away", tasks=sum(map(len, self._held.values()))
            )
        for task in pending:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GIVE_BACK_BUDGET):
                await self._runner.gate.close()

    def _let_go(self, queue: str, entries: Sequence[bytes]) -> None:
        """Forget tasks whose outcome is written."""
        self._held[queue].difference_update(entries)
        if self._runner.gate.holding:
            self._runner.gate.settled(queue, entries)

    def _lose(self, queue: str, entry: bytes) -> None:
        """Forget a task that other servers have now, and its permit with it."""
        self._held[queue].discard(entry)
        self._runner.gate.holding.pop((queue, entry), None)

    def _refused(self, entries: list[bytes]) -> None:
        self._log.warning("Outcomes refused: the lease had run out", tasks=len(entries))

    def _left_out(self, queue: str, successors: int) -> None:
        self._log.warning(
            "Successors left out: id or lock taken", queue=queue, successors=successors
        )

    def broker_failed(self, error: Exception) -> None:
        """Say once that the broker is away; the server's heartbeats tell it too."""
        if not self._down:
            self._down = True
            self._log.error("Broker away, trying on", error=str(error))

    def broker_answered(self) -> None:
        """Say that the broker is back, where it had been away."""
        if self._down:
            self._down = False
            self._log.info("Broker back", broker=self.jobs.store.connection.address)
