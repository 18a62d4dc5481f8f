"""A server: one worker process, put together from broker, receiver, heartbeat and duties."""

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, Self

import msgspec
import structlog

from duly import __version__
from duly.clock import Clock, SystemClock, to_ms
from duly.engine.broker import Handler, JobBroker
from duly.engine.chores.aggregator import Aggregator, Merge, Merger
from duly.engine.chores.duties import Duties
from duly.engine.chores.heartbeat import Heartbeat
from duly.engine.chores.mover import Mover
from duly.engine.chores.reaper import Reaper
from duly.engine.commands import Command
from duly.engine.courier import Courier
from duly.engine.description import described
from duly.engine.middleware import Hooks, Middleware
from duly.engine.receiver import JobReceiver
from duly.engine.replies import ServerRecord
from duly.engine.source import LONGEST_BLOCK_MS
from duly.engine.store import Pulse, Store
from duly.engine.upkeep import EVERY, Upkeep
from duly.errors import BrokerDownError, BrokerError, BrokerWriteError
from duly.job import Job
from duly.runtime.service import repeat
from duly.runtime.settings import ArchiveSettings, RedisSettings

_BEATS_PER_LEASE = 4
_MOST_SHOWN = 100
"""Running tasks in a server's description: a heartbeat must stay small."""
_RETRY_START = 1.0
_COMPLAIN_EVERY = 5.0
_LAST_BEAT = 3.0
_NEVER = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """How a server works."""

    queues: Mapping[str, int]
    """Queue name → weight."""
    concurrency: int
    most: Mapping[str, int] = field(default_factory=dict)
    """Queue name → tasks of it that run at once at most; a queue not named: `concurrency`."""
    strict: bool = False
    """Ask the queues in their order, not by weight."""
    drain: timedelta = timedelta(seconds=25)
    lease: timedelta = timedelta(seconds=10)
    archive: ArchiveSettings = field(default_factory=ArchiveSettings)
    unknown_grace: timedelta = timedelta(seconds=5)
    """How long a task waits while no live server knows its kind; then it is quarantined."""


def server_id() -> str:
    """Return a new id: host, process and a random end, since both may come again."""
    return f"{socket.gethostname()[:64]}:{os.getpid()}:{secrets.token_hex(3)}"


class Server:
    """Runs the tasks of its queues until told to stop. One a process."""

    def __init__(
        self,
        store: Store,
        options: ServerOptions,
        *,
        middlewares: Iterable[Middleware] = (),
        on_recovered: Callable[[str, int, int], None] = lambda *_: None,
        on_lease_lost: Callable[[str], None] = lambda _: None,
        on_broker_error: Callable[[], None] = lambda: None,
        clock: Clock | None = None,
    ) -> None:
        self.id = server_id()
        self._store, self._options = store, options
        self._clock = clock or SystemClock()
        self._on_lease_lost, self._on_broker_error = on_lease_lost, on_broker_error
        self._log = structlog.get_logger("duly.engine")
        middlewares = tuple(middlewares)
        hooks = Hooks(middlewares)
        self._jobs = JobBroker(store, dict(options.queues), server=self.id)
        self._receiver = JobReceiver(
            self._jobs,
            concurrency=options.concurrency,
            most=options.most,
            block_ms=min(LONGEST_BLOCK_MS, to_ms(options.lease) // 2),
            drain=options.drain,
            strict=options.strict,
            middlewares=middlewares,
            on_retry=self._retry_in,
            on_posted=self._posted,
            leased=self._leased,
            unknown_grace=options.unknown_grace,
            clock=self._clock,
        )
        horizon = options.lease / _BEATS_PER_LEASE
        self._duties = {
            queue: Duties(
                Mover(store, queue, longest_rest=_NEVER),
                Reaper(
                    store,
                    queue,
                    lease=options.lease,
                    on_recovered=on_recovered,
                    on_dead=hooks.dead_lettered,
                ),
                Courier(store, queue),
                horizon=horizon,
            )
            for queue in options.queues
        }
        self._started_ms = store.now_ms()
        self._mergers: dict[str, Merger] = {}
        self._heard: float | None = None
        self._stopping = False
        self._stop: asyncio.Event | None = None
        self._told_ms = 0

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: RedisSettings,
        options: ServerOptions,
        *,
        middlewares: Iterable[Middleware] = (),
        on_recovered: Callable[[str, int, int], None] = lambda *_: None,
        on_lease_lost: Callable[[str], None] = lambda _: None,
        on_broker_error: Callable[[], None] = lambda: None,
    ) -> AsyncIterator[Self]:
        """Open the connections for the body of an `async with`, close them after it.

        Args:
            settings: The broker.
            options: How to work.
            middlewares: Told of every attempt.
            on_recovered: Called with (queue, tasks that wait again, quarantined) after a reap.
            on_lease_lost: Called with the queue whose lease this server had lost.
            on_broker_error: Called for each heartbeat that failed.
        """
        async with Store.open(settings) as store:
            yield cls(
                store,
                options,
                middlewares=middlewares,
                on_recovered=on_recovered,
                on_lease_lost=on_lease_lost,
                on_broker_error=on_broker_error,
            )

    def handle(
        self,
        job: type[Job],
        handler: Handler,
        *,
        run_in: Literal["here", "process"] = "here",
        hard_timeout: timedelta | None = None,
    ) -> None:
        """Register what runs the tasks of one kind of job.

        Args:
            job: The kind.
            handler: A coroutine function or an object that is called like one; a plain function
                runs in a thread.
            run_in: "process": a plain function, in a process of its own, which can be ended.
            hard_timeout: When that process is ended; None: five seconds after the timeout.

        Raises:
            TypeError: It is to run in a process, which can not import it.
        """
        self._jobs.handle(job, handler, run_in=run_in, hard_timeout=hard_timeout)

    def stuck(self, queue: str) -> int:
        """Count tasks of a queue that were told to stop long ago and go on. For any thread."""
        return sum(task.stuck for task in self._receiver.running() if task.queue == queue)

    def quiet(self) -> None:
        """Take no more tasks; what runs goes on, heartbeats too. Idempotent."""
        if not self._receiver.is_quiet:
            self._log.info("Quiet: no more tasks are taken", server=self.id)
        self._receiver.quiet()

    def wake(self) -> None:
        """Undo `quiet`. Idempotent."""
        if self._receiver.is_quiet:
            self._log.info("Awake: tasks are taken again", server=self.id)
        self._receiver.wake()

    def aggregate(self, job: type[Job], function: Merge) -> None:
        """Register what makes one job of a group's payloads and name, within thirty seconds."""
        self._mergers[job.kind] = Merger(job, function)

    def ready(self) -> str | None:
        """Return None when this server takes tasks, else why it does not. For any thread."""
        if self._stopping:
            return "draining"
        if self._heard is None:
            return "the broker has not answered yet"
        if self._receiver.is_quiet:
            return "quiet"
        silence = self._clock.monotonic() - self._heard
        if silence > self._options.lease.total_seconds():
            return f"the broker has not answered for {silence:.0f} s"
        return None

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then drain and say good-bye.

        Raises:
            BrokerPolicyError: The broker would lose tasks.
        """
        self._stop = stop
        if not await self._arrive(stop):
            return
        loop = asyncio.get_running_loop()
        heartbeat = Heartbeat(
            self._store.connection.settings,
            tuple(self._options.queues),
            server=self.id,
            lease=self._options.lease,
            describe=self._describe,
            kinds=lambda: tuple(self._jobs.plans),
            on_pulse=lambda queue, pulse: _call(loop, self._pulse, queue, pulse),
            on_error=lambda error: _call(loop, self._missed, error),
        )
        heartbeat.start()
        chores = [loop.create_task(duties.run()) for duties in self._duties.values()]
        for queue in self._options.queues:
            merger = Aggregator(self._store, queue, self._mergers, server=self.id)
            chores.append(loop.create_task(merger.run(stop)))
            tidy = self._upkeep(queue).turn
            chores.append(
                loop.create_task(repeat(tidy, name=f"upkeep {queue}", every=EVERY, stop=stop))
            )
        watching = loop.create_task(self._watch(stop))
        try:
            await self._receiver.listen(stop)
        finally:
            heartbeat.end()
            for chore in (*chores, watching):
                chore.cancel()
            await asyncio.wait([*chores, watching])
            # A beat that is under way would bring the lease back after the good-bye.
            await asyncio.to_thread(heartbeat.join, _LAST_BEAT)
        await self._leave()

    def _upkeep(self, queue: str) -> Upkeep:
        return Upkeep(
            self._store,
            queue,
            bounds=self._options.archive,
            kinds=self._jobs.plans,
            duties=self._duties[queue],
        )

    async def _watch(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._stopping = True

    async def _arrive(self, stop: asyncio.Event) -> bool:
        """Wait for the broker, however long it takes; False when stopped before."""
        complained = -_COMPLAIN_EVERY
        while not stop.is_set():
            try:
                await self._store.connection.check()
                await self._jobs.startup()
                for queue in self._options.queues:
                    self._pulse(queue, await self._beat(queue))
            except (BrokerDownError, BrokerWriteError) as error:
                now = self._clock.monotonic()
                if now - complained >= _COMPLAIN_EVERY:
                    complained = now
                    self._log.error("Broker away, trying on", error=str(error))
                try:
                    await asyncio.wait_for(stop.wait(), _RETRY_START)
                except TimeoutError:
                    continue
            else:
                return True
        return False

    async def _beat(self, queue: str) -> Pulse:
        return await self._store.beat(
            queue,
            server=self.id,
            lease_ms=to_ms(self._options.lease),
            description=self._describe(),
            kinds=tuple(self._jobs.plans),
        )

    def _pulse(self, queue: str, pulse: Pulse) -> None:
        """Obey what a heartbeat learnt; called in the loop."""
        first = self._heard is None
        self._heard = self._clock.monotonic()
        self._store.saw_time(pulse.now_ms)
        self._receiver.broker_answered()
        if pulse.paused:
            self._receiver.pause(queue)
        else:
            self._receiver.resume(queue)
        if not pulse.known and not first and not self._stopping:
            self._on_lease_lost(queue)
            if any(running.queue == queue for running in self._receiver.running()):
                self._log.error("Lease lost, running tasks are aborted", queue=queue)
            self._receiver.lose_lease(queue)
        if pulse.cancels:
            self._receiver.cancel(queue, pulse.cancels)
        if pulse.command_ms > self._told_ms:
            self._told_ms = pulse.command_ms
            self._obey(pulse.command)
        self._duties[queue].heard(pulse)

    def _obey(self, command: str) -> None:
        """Do what an operator tells from afar; what is none of our words is passed over."""
        if command == Command.QUIET:
            self.quiet()
        elif command == Command.WAKE:
            self.wake()
        elif command == Command.STOP and self._stop is not None:
            self._log.info("Told to stop", server=self.id)
            self._stop.set()

    def _leased(self) -> bool:
        """Tell whether a heartbeat was answered within the lease."""
        if self._heard is None:
            return False
        return self._clock.monotonic() - self._heard < self._options.lease.total_seconds()

    def _missed(self, error: Exception) -> None:
        self._on_broker_error()
        # With every slot busy nothing is read, and only heartbeats notice.
        self._receiver.broker_failed(error)

    def _retry_in(self, queue: str, wait: timedelta) -> None:
        # A little later than due: the settling has to arrive first.
        self._duties[queue].due_in(wait + timedelta(milliseconds=2))

    def _posted(self, queue: str) -> None:
        self._duties[queue].posted()

    def _describe(self) -> bytes:
        """Describe this server for the inspector; called in the heartbeat's thread."""
        running = self._receiver.running()
        if len(running) > _MOST_SHOWN:
            running.sort(key=lambda task: (not task.stuck, task.context.reported is None))
        record = ServerRecord(
            host=socket.gethostname(),
            pid=os.getpid(),
            queues=dict(self._options.queues),
            concurrency=self._options.concurrency,
            started_ms=self._started_ms,
            beat_ms=self._store.now_ms(),
            lease_ms=to_ms(self._options.lease),
            draining=self._stopping,
            quiet=self._receiver.is_quiet,
            version=__version__,
            running=[described(task) for task in running[:_MOST_SHOWN]],
        )
        return msgspec.json.encode(record)

    async def _leave(self) -> None:
        for queue in self._options.queues:
            try:
                await self._store.leave(queue, server=self.id)
            except BrokerError as error:
                self._log.debug("No good-bye: the broker is away", error=str(error))


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *args: object) -> None:
    """Call a function in the loop from another thread; do nothing once the loop is closed."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(function, *args)
