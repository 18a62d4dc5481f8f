"""A server: one worker process, put together from broker, receiver, heartbeat and maintenance."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Literal, Self

import structlog

from duly.clock import Clock, SystemClock, to_ms
from duly.engine.enqueue.client import Client
from duly.engine.enqueue.kind_publisher import KindPublisher
from duly.engine.inspection.servers import ServerCommand
from duly.engine.maintenance.aggregator import Merge, Merger
from duly.engine.maintenance.queue_maintenance import QueueMaintenance
from duly.engine.middleware import Hooks, Middleware
from duly.engine.storage.heartbeat_reply import HeartbeatReply
from duly.engine.storage.store import Store
from duly.engine.transport.connection import demoted
from duly.engine.worker.broker_status import BrokerStatus
from duly.engine.worker.fetcher import LONGEST_BLOCK_MS
from duly.engine.worker.heartbeat import Heartbeat
from duly.engine.worker.receiver import JobReceiver
from duly.engine.worker.server_events import ServerEvents, call_in
from duly.engine.worker.server_record import encode_server, server_id
from duly.engine.worker.taskiq_broker import Handler, JobBroker
from duly.errors import BrokerError, BrokerPolicyError
from duly.job import Job
from duly.runtime.settings import ArchiveSettings, QueueSettings, RedisSettings
from duly.runtime.supervision import Supervisor

_RETRY_START = 1.0
_LOG_EVERY = 5.0
_LAST_BEAT = 3.0


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
    app: str = ""
    """Name of the application, for the catalogue of kinds."""


class Server:
    """Runs the tasks of its queues until it is stopped. One per process."""

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
        self.supervisor = Supervisor(
            bound=options.lease, stopping=lambda: self._stopping, clock=self._clock
        )
        self._on_lease_lost, self._on_broker_error = on_lease_lost, on_broker_error
        self.on_answer: Callable[[float], None] = lambda _: None  # seconds; in a thread
        self._log = structlog.get_logger("duly.engine")
        hooks = Hooks(middlewares)
        status = BrokerStatus(store.connection.address)
        self._kinds = KindPublisher(
            store, app=options.app, outage=status.outage("kinds"), supervisor=self.supervisor
        )
        self.jobs = JobBroker(store, dict(options.queues), server=self.id)
        self._mergers: dict[str, Merger] = {}
        self._maintenance = {
            queue: QueueMaintenance(
                store,
                queue,
                server=self.id,
                lease=options.lease,
                bounds=options.archive,
                kinds=self.jobs.handlers,
                mergers=self._mergers,
                supervisor=self.supervisor,
                outage=status.outage,
                on_recovered=on_recovered,
                hooks=hooks,
            )
            for queue in options.queues
        }
        on_demand = {queue: loops.on_demand for queue, loops in self._maintenance.items()}
        self._events = ServerEvents(on_demand, status)
        self.receiver = JobReceiver(
            self.jobs,
            concurrency=options.concurrency,
            most=options.most,
            block_ms=min(LONGEST_BLOCK_MS, to_ms(options.lease) // 2),
            drain=options.drain,
            strict=options.strict,
            hooks=hooks,
            events=self._events,
            leased=self._leased,
            supervisor=self.supervisor,
            unknown_grace=options.unknown_grace,
            clock=self._clock,
        )
        self._started_ms = store.now_ms()
        self._heard: dict[str, float] = {}
        self._unready = "the broker has not answered yet"
        """Queue → when a heartbeat was last answered, on the monotonic clock."""
        self._stopping = False
        self._stop: asyncio.Event | None = None
        self._commanded_ms = 0

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
            TypeError: It yields, or is to run in a process, which cannot import it.
        """
        self.jobs.handle(job, handler, run_in=run_in, hard_timeout=hard_timeout)

    def stuck(self, queue: str) -> int:
        """Count tasks of a queue that are active and cannot end. For any thread.

        They were cancelled long ago and still run, or the broker refuses their outcome.
        """
        running = sum(task.stuck for task in self.receiver.running() if task.queue == queue)
        return running + len(self.receiver.refused(queue))

    def orphaned(self, queue: str) -> int:
        """Count tasks of a queue that are active here and that nobody runs. For any thread."""
        return self.receiver.orphaned(queue)

    def quiet(self) -> None:
        """Take no more tasks. Running tasks and heartbeats continue. Idempotent."""
        if not self.receiver.is_quiet:
            self._log.info("Quiet, taking no more tasks", server=self.id)
        self.receiver.quiet()

    def resume(self) -> None:
        """Undo `quiet`. Idempotent."""
        if self.receiver.is_quiet:
            self._log.info("Resumed, taking tasks again", server=self.id)
        self.receiver.unquiet()

    def client(self, queues: Mapping[str, QueueSettings] | None = None) -> Client:
        """Return a client on this server's connections, usable while it is open.

        Args:
            queues: As of `Client.connect`.
        """
        return Client(self._store, queues)

    def aggregate(self, job: type[Job], function: Merge) -> None:
        """Register what merges the groups of one kind of job.

        Args:
            job: The kind of the members.
            function: Called with the payloads, oldest first, and the name of the group; returns the
                job that takes their place, within thirty seconds. A plain function runs in a
                thread.
        """
        self._mergers[job.kind] = Merger(job, function)

    def ready(self) -> str | None:
        """Return None when this server takes tasks, else why it does not. For any thread."""
        if self._stopping:
            return "draining"
        if not self._heard:
            return self._unready
        if self.receiver.is_quiet:
            return "quiet"
        silence = self._clock.monotonic() - max(self._heard.values())
        if silence > self._options.lease.total_seconds():
            return f"the broker has not answered for {silence:.0f} s"
        return None

    def liveness(self) -> str | None:
        """Return None while the heartbeat and every background loop move, else which does not.

        The broker is not asked: its outage makes a server unready, not dead. For any thread.
        """
        return self.supervisor.liveness()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then drain and deregister.

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
            kinds=lambda: tuple(self.jobs.handlers),
            on_reply=lambda queue, reply: call_in(loop, self._pulse, queue, reply),
            on_error=lambda queue, error: call_in(loop, self._missed, queue, error),
            on_answer=self.on_answer,
        )
        heartbeat.start()
        self.supervisor.ask("heartbeat", heartbeat.stalled)
        loops = [
            task for maintenance in self._maintenance.values() for task in maintenance.start(stop)
        ]
        loops.append(self._kinds.start(self.jobs.classes, stop))
        watching = loop.create_task(self._watch(stop))
        try:
            await self.receiver.listen(stop)
        finally:
            heartbeat.end()
            for task in (*loops, watching):
                task.cancel()
            await asyncio.wait([*loops, watching])
            # A beat that is under way would renew the lease after deregistering.
            await asyncio.to_thread(heartbeat.join, _LAST_BEAT)
        await self._deregister()

    async def _watch(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._stopping = True

    async def _arrive(self, stop: asyncio.Event) -> bool:
        """Wait for the broker, however long it takes; False when stopped before."""
        logged = -_LOG_EVERY
        while not stop.is_set():
            try:
                await self._store.connection.check()
                await self._register()
            except BrokerPolicyError:
                raise
            except BrokerError as error:
                self._unready, now = str(error), self._clock.monotonic()
                if now - logged >= _LOG_EVERY:
                    logged = now
                    self._log.error("Broker unreachable, retrying", error=self._unready)
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), _RETRY_START)
            else:
                return True
        return False

    async def _register(self) -> None:
        """Register the queues, and beat for each.

        Where one is on a node of a Cluster that is down, the heartbeat goes on trying, and the
        others are worked on meanwhile.

        Raises:
            BrokerError: Not one of them could be registered.
        """
        failure: BrokerError | None = None
        for queue in self._options.queues:
            try:
                await self._store.register(queue)
                reply = await self._store.heartbeat(
                    queue,
                    server=self.id,
                    lease_ms=to_ms(self._options.lease),
                    description=self._describe(),
                    kinds=tuple(self.jobs.handlers),
                )
                self._pulse(queue, replace(reply, known=True))
            except BrokerError as error:
                failure = error
        if failure is not None and not self._heard:
            raise failure

    def _pulse(self, queue: str, reply: HeartbeatReply) -> None:
        """Act on what a heartbeat learned; called in the loop."""
        first, now = queue not in self._heard, self._clock.monotonic()
        self._heard[queue] = now - (0 if reply.known else self._options.lease.total_seconds())
        self._store.saw_time(reply.now_ms)
        self._events.broker_answered(f"heartbeat {queue}")
        if reply.paused:
            self.receiver.pause(queue)
        else:
            self.receiver.resume(queue)
        if not reply.known and not first and not self._stopping:
            self._on_lease_lost(queue)
            if any(running.queue == queue for running in self.receiver.running()):
                self._log.error("Lease lost, aborting running tasks", queue=queue)
            self.receiver.lose_lease(queue)
        if reply.cancels:
            self.receiver.cancel(queue, reply.cancels)
        if reply.command_ms > self._commanded_ms:
            self._commanded_ms = reply.command_ms
            self._obey(reply.command)
        self._maintenance[queue].on_demand.heard(reply)

    def _obey(self, command: str) -> None:
        """Carry out an operator's command; an unknown one is ignored."""
        if command == ServerCommand.QUIET:
            self.quiet()
        elif command == ServerCommand.RESUME:
            self.resume()
        elif command == ServerCommand.STOP and self._stop is not None:
            self._log.info("Stopping by command", server=self.id)
            self._stop.set()

    def _leased(self, queue: str) -> bool:
        """Tell whether a heartbeat of a queue was answered within the lease."""
        heard, lease = self._heard.get(queue), self._options.lease.total_seconds()
        return heard is not None and self._clock.monotonic() - heard < lease

    def _missed(self, queue: str, error: Exception) -> None:
        self._on_broker_error()
        if demoted(error):
            self._store.connection.leave()
        # With every slot busy nothing is read, and only heartbeats notice.
        self._events.broker_failed(f"heartbeat {queue}", error)

    def _describe(self) -> bytes:
        """Describe this server for the inspector; called in the heartbeat's thread."""
        return encode_server(
            self.receiver.running(),
            {queue: self.receiver.refused(queue) for queue in self._options.queues},
            queues=self._options.queues,
            concurrency=self.receiver.concurrency,
            lease_ms=to_ms(self._options.lease),
            started_ms=self._started_ms,
            now_ms=self._store.now_ms(),
            draining=self._stopping,
            quiet=self.receiver.is_quiet,
            kinds=tuple(self.jobs.handlers),
        )

    async def _deregister(self) -> None:
        for queue in self._options.queues:
            try:
                await self._store.deregister(queue, server=self.id)
            except BrokerError as error:
                self._log.debug("Could not deregister: broker unreachable", error=str(error))
