"""Takes tasks: reads as many as there are free slots, has them run, and drains in the end.

taskiq's `Receiver` is the place to plug this in; its own loop prefetches, acknowledges one by one
and loses what it does not understand, so `listen` is replaced whole.
"""

import asyncio
import contextlib
from collections import defaultdict, deque
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

import structlog
from taskiq.receiver import Receiver
from typing_extensions import override

from duly.clock import Clock, SystemClock
from duly.engine.middleware import Hooks, Outcome
from duly.engine.storage.scripts import Returned
from duly.engine.worker import settlements
from duly.engine.worker.attempt import RunningAttempt, cancel_as
from duly.engine.worker.contained import exits_contained
from duly.engine.worker.events import WorkerEvents
from duly.engine.worker.fetcher import LONGEST_BLOCK_MS, Fetcher
from duly.engine.worker.holdings import Holdings
from duly.engine.worker.limiter import Limiter
from duly.engine.worker.outcomes import Outcomes
from duly.engine.worker.received import Received
from duly.engine.worker.reconciler import Reconciler
from duly.engine.worker.refused_outcomes import Unwritten
from duly.engine.worker.runner import Runner
from duly.engine.worker.settler import Settler
from duly.engine.worker.task_reuse import TaskReuse
from duly.engine.worker.taskiq_broker import JobBroker
from duly.engine.worker.unknown_kinds import UnknownKinds
from duly.errors import BrokerError
from duly.runtime.supervision import Beat, Supervisor

_SETTLE_BUDGET = 5.0
"""Seconds that a stopping worker waits for the broker to take the last outcomes."""
_GIVE_BACK_BUDGET = 1.0
"""Seconds that it waits for permits to be returned."""
_MOST_TRIPS = 2
"""How often one call may connect and wait for a reply: for the map of a Cluster, and to ask."""
_BACKLOG_LIMIT = 5_000
"""Outcomes not written yet at which no more tasks are read."""


class JobReceiver(Receiver):
    """Runs the tasks of the broker's queues, at most `concurrency` at once.

    Args:
        broker: Where tasks come from, with a handler for each kind.
        concurrency: Slots. A task holds one from its start until its handler has returned.
        most: Queue name → slots that its tasks may hold at once; a queue not named: all of them.
        block_ms: Longest wait of one read; well within the lease, so that the broker gives no
            task to a server that is frozen and presumed dead.
        drain: How long running tasks may go on after the stop; then they are requeued.
        strict: Ask the queues in their order rather than by weight.
        hooks: Called when attempts begin and end.
        events: Receives what the server has to act on.
        leased: Whether this server's lease on a queue stands, as far as it knows; without one it
            takes nothing of the queue.
        unknown_grace: How long a task waits for a server that knows its kind.
        supervisor: Runs the background loops, and starts again what ends unexpectedly.
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
        hooks: Hooks | None = None,
        events: WorkerEvents | None = None,
        leased: Callable[[str], bool] = lambda _: True,
        unknown_grace: timedelta = timedelta(0),
        supervisor: Supervisor | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(broker, max_async_tasks=concurrency, run_startup=False)
        self.jobs = broker
        self.concurrency = concurrency
        self._most = dict(most or {})
        self.paused: set[str] = set()
        self.is_quiet = False
        self.stopping = False
        clock, hooks = clock or SystemClock(), hooks or Hooks(())
        self._events = events or WorkerEvents()
        self._supervisor = supervisor or Supervisor(stopping=lambda: self.stopping, clock=clock)
        self._drain = drain.total_seconds()
        link = broker.store.connection
        seconds = _MOST_TRIPS * (link.connect_seconds + link.seconds)
        self._longest_step = timedelta(seconds=seconds, milliseconds=block_ms)
        self._log = structlog.get_logger("duly.engine")
        self._waiting: deque[Received] = deque()
        self._room = asyncio.Event()
        self._room.set()
        self._limiter = Limiter(broker.store, events=self._events)
        self._holdings = Holdings(
            broker.queues,
            self._limiter,
            slot_freed=self._freed if self._most else self._room.set,
        )
        self._settlers = {
            queue: Settler(broker.store, queue, self._holdings, hooks=hooks, events=self._events)
            for queue in broker.queues
        }
        self._outcomes = Outcomes(
            broker.store,
            self._settlers,
            self._holdings,
            hooks=hooks,
            events=self._events,
            server=broker.server,
            clock=clock,
        )
        self._unknown_kinds = UnknownKinds(
            broker.store, self._outcomes, server=broker.server, grace=unknown_grace
        )
        self._runner = Runner(
            broker,
            self._outcomes,
            self._holdings,
            self._limiter,
            self._unknown_kinds,
            hooks=hooks,
            stopping=lambda: self.stopping,
            clock=clock,
        )
        self._task_reuse = TaskReuse(
            self._begin_next, monotonic=clock.monotonic, on_turn=self._runner.look_at_clock
        )
        self._fetcher = Fetcher(
            broker.store,
            broker.queues,
            server=broker.server,
            strict=strict,
            block_ms=block_ms,
            paused=self._is_closed,
            room=self._room_of if self._most else None,
            held=self._holdings.ids,
            leased=leased,
            events=self._events,
        )
        self._reconciler = Reconciler(
            broker.store,
            broker.queues,
            server=broker.server,
            holdings=self._holdings,
            leased=leased,
            take_up=self._take_up,
        )

    def running(self) -> list[RunningAttempt]:
        """Return what runs now. May be called from any thread."""
        return self._runner.running()

    def refused(self, queue: str) -> list[Unwritten]:
        """Return the outcomes of a queue that the broker refuses. For any thread."""
        return self._settlers[queue].refused.kept()

    def unsettled(self, queue: str) -> int:
        """Count the outcomes of a queue that the broker does not have yet. For any thread."""
        return self._settlers[queue].backlog

    def permits(self) -> list[tuple[str, str]]:
        """Return queue and kind of each attempt that holds a permit. For any thread."""
        return list(self._limiter.holding.values())

    def orphaned(self, queue: str) -> int:
        """Count tasks that are active here for the broker, and that nobody runs. For any thread."""
        return self._reconciler.orphaned(queue)

    @override
    async def listen(self, finish_event: asyncio.Event) -> None:
        """Run tasks until the event is set, then drain.

        Draining: reading stops at once; what has not started is requeued; running tasks go on for
        the drain budget and are then cancelled and requeued with their attempts unchanged.
        """
        with exits_contained(asyncio.get_running_loop()):
            await self._run(finish_event)

    async def _run(self, finish_event: asyncio.Event) -> None:
        start = partial(self._supervisor.start_beating, rest=self._longest_step)
        settling = [
            start(f"settler {queue}", settler.run, wake=settler.wake)
            for queue, settler in self._settlers.items()
        ]
        reading = start("reader", self._read, wake=self._room.set)
        unknown, partials = self._unknown_kinds, self._runner.partial_results
        unknown_kinds = start("unknown kinds", unknown.run, wake=unknown.wake)
        others = [
            start("timeouts", self._runner.watch),
            start("partial results", partials.run, wake=partials.wake),
            start("reconciler", self._reconciler.run),
        ]
        try:
            await finish_event.wait()
            self.stopping = True
            self._runner.stop()
            await self._stop_reading(reading)
            await self._finish_running()
            unknown_kinds.cancel()
            await self._requeue(self._unknown_kinds.take())
            await self._write_rest(settling)
            await self._runner.close()
        finally:
            loops = [*settling, reading, unknown_kinds, *others]
            for loop in loops:
                loop.cancel()
            await asyncio.wait(loops)
            await self._fetcher.close()

    def lose_lease(self, queue: str) -> None:
        """Abort what runs of a queue: other servers own these tasks now."""
        self._fetcher.lose(queue)
        for running in self.running():
            if running.queue == queue:
                self._runner.interrupt(running, Outcome.LOST)
        # What waits for a slot would run twice; what is still ours is read again.
        lost = [task for task in self._waiting if task.queue == queue]
        self._waiting = deque(task for task in self._waiting if task.queue != queue)
        self._holdings.lose(queue, [task.delivery.stream_id for task in lost])

    def cancel(self, queue: str, wanted: Mapping[str, str]) -> None:
        """Cancel tasks as operators want: task id → what is to become of it."""
        self._runner.cancel(queue, wanted)
        # Those that wait for a slot are active for the broker too.
        for task in [task for task in self._waiting if task.queue == queue]:
            if task.message is not None and (wish := cancel_as(wanted.get(task.task_id))):
                self._waiting.remove(task)
                self._outcomes.cancelled_unrun(task, wish)

    def pause(self, queue: str) -> None:
        """Take no tasks of a queue from now on, not even by the read that waits."""
        if queue not in self.paused:
            self.paused.add(queue)
            self._fetcher.end_wait()

    def resume(self, queue: str) -> None:
        """Take tasks of a queue again."""
        if queue in self.paused:
            self.paused.discard(queue)
            self._fetcher.look_again()

    def allow(self, concurrency: int) -> None:
        """Run so many tasks at once from now on; those that run go on."""
        self.concurrency = concurrency
        self._room.set()

    def quiet(self) -> None:
        """Take no tasks of any queue from now on, not even by the read that waits."""
        self.is_quiet = True
        self._fetcher.end_wait()

    def unquiet(self) -> None:
        """Undo `quiet`."""
        self.is_quiet = False
        self._fetcher.look_again()

    def _is_closed(self, queue: str) -> bool:
        # Whatever is run of a queue whose outcomes are refused, nothing would come of it.
        return self.is_quiet or queue in self.paused or self._settlers[queue].refused.full

    async def _read(self, beat: Beat) -> None:
        """Fetch and launch tasks until the worker stops."""
        while not self.stopping:
            beat()
            await self._room.wait()
            self._launch_waiting()
            free = self.concurrency - len(self._runner) - len(self._waiting)
            if free <= 0 or self._backlog() > _BACKLOG_LIMIT:
                self._room.clear()
                if self._fetcher.has_lost:
                    # These are this server's already, and may be cancelled: slots or not.
                    self._take(await self._fetcher.recover())
                if self._backlog() > _BACKLOG_LIMIT:
                    await asyncio.sleep(0.01)
                    self._room.set()
                continue
            found = await self._fetcher.next(free)
            self._take(found)
            if found:
                # They begin before the next read is sent: that is a system call.
                await asyncio.sleep(0)

    def _take(self, found: list[Received]) -> None:
        """Hold tasks that were read, and launch them."""
        if found:
            self._waiting.extend(found)
            self._holdings.add(found)
            if not self.stopping:
                self._launch_waiting()

    def _take_up(self, queue: str) -> None:
        """Take up what this server owns of a queue and does not know."""
        self._fetcher.lose(queue)
        self._fetcher.end_wait()
        self._room.set()

    def _room_of(self, queue: str) -> int:
        """Return how many more tasks of a queue may be taken."""
        running = sum(running.queue == queue for running in self.running())
        waiting = sum(task.queue == queue for task in self._waiting)
        return self._most.get(queue, self.concurrency) - running - waiting

    def _freed(self) -> None:
        self._room.set()
        self._fetcher.look_again()

    def _backlog(self) -> int:
        return len(self._unknown_kinds) + sum(
            settler.backlog for settler in self._settlers.values()
        )

    def _launch_waiting(self) -> None:
        if self._waiting:
            self._task_reuse.go_on()

    def _begin_next(self, task: asyncio.Task[None]) -> Coroutine[Any, Any, None] | None:
        """Return what runs the next task that waits for a slot, when there are both."""
        while self._waiting and len(self._runner) < self.concurrency and not self.stopping:
            work = self._runner.begin(self._waiting.popleft(), task)
            if work is not None:
                return work
            # It holds no slot here, or frees it by itself: there may be room for another.
            self._room.set()
        return None

    async def _stop_reading(self, reading: asyncio.Task[None]) -> None:
        """End the read; requeue what it brought and what waited for a slot."""
        self._room.set()
        await self._fetcher.interrupt()
        _, pending = await asyncio.wait({reading}, timeout=0.5)
        if pending:
            reading.cancel()
            await asyncio.wait({reading})
        waiting, self._waiting = list(self._waiting), deque()
        await self._requeue(waiting)
        # An answer may have been under way when the read was cancelled.
        await self._requeue(await self._fetcher.stop())

    async def _finish_running(self) -> None:
        """Let running tasks end within the budget; cancel and requeue the rest."""
        tasks = [running.task for running in self.running() if running.task is not None]
        if tasks:
            self._log.info("Waiting for running tasks", running=len(tasks), budget=self._drain)
            await asyncio.wait(tasks, timeout=self._drain)
        late = self.running()
        for running in late:
            self._runner.interrupt(running, Outcome.REQUEUED)
        tasks = [running.task for running in late if running.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)
            await self._limiter.answered(seconds=1.0)
        # What ended on its own just now is settled; what ignored the cancellation ends with us.
        await self._give_back(
            (running.queue, settlements.give_back(running))
            for running in late
            if running.requeued or running in self._runner
        )

    async def _requeue(self, tasks: list[Received]) -> None:
        """Put tasks back that have not begun, unchanged."""
        await self._give_back((task.queue, task.returned) for task in tasks)

    async def _give_back(self, returned: Iterable[tuple[str, Returned]]) -> None:
        """Let tasks wait again; if the broker is unreachable, the lease expires instead."""
        of_queues: defaultdict[str, list[Returned]] = defaultdict(list)
        for queue, task in returned:
            of_queues[queue].append(task)
        for queue, tasks in of_queues.items():
            try:
                await self.jobs.store.requeue(queue, tasks)
            except BrokerError as error:
                self._events.broker_failed(f"requeue {queue}", error)
            else:
                self._holdings.release(queue, [task.stream_id for task in tasks])
                self._log.info("Tasks requeued", queue=queue, tasks=len(tasks))

    async def _write_rest(self, settling: list[asyncio.Task[None]]) -> None:
        """Write the outcomes that are left, for as long as that makes sense."""
        for settler in self._settlers.values():
            settler.close()
        _, pending = await asyncio.wait(settling, timeout=_SETTLE_BUDGET)
        if pending:
            self._log.error("Outcomes not written: broker unreachable", tasks=len(self._holdings))
        for task in pending:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GIVE_BACK_BUDGET):
                await self._limiter.close()
