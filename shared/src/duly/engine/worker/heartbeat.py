"""The heartbeat: renews a server's leases, from a thread, so that a blocked loop loses nothing.

The thread has its own event loop and connections. Each queue has its own beats, so a dead node of
the broker delays the beats of no other queue. Whoever pauses a queue, cancels a task or schedules
one soon publishes to the queue's control channel; the next beat then comes at once and reports it.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from time import monotonic

import structlog
from typing_extensions import override

from duly.clock import to_ms
from duly.engine.storage import scripts
from duly.engine.storage.heartbeat_reply import HeartbeatReply, heartbeat_reply_of
from duly.engine.storage.keys import queue_keys
from duly.engine.transport.address import address_of
from duly.engine.transport.connection import Connection, demoted
from duly.engine.transport.listener import Listener
from duly.errors import DulyError
from duly.runtime.settings import RedisSettings

_BEATS_PER_LEASE = 4
_SHORTEST_GAP = 0.075
"""Seconds between two beats of a queue, however many messages come."""
_RESTART_AFTER = 0.5
_MOST_TRIPS = 2
"""How often a beat may connect and wait for a reply: for the map of a Cluster, and to beat."""


class Heartbeat(threading.Thread):
    """Renews the lease on each queue four times per lease, over connections of its own.

    Args:
        settings: The broker.
        queues: The queues that this server serves.
        server: Its id.
        lease: How long it counts as alive after a beat.
        describe: Called in this thread; returns the server's description as JSON.
        kinds: Called in this thread; returns the kinds of job that the server knows.
        on_reply: Called in this thread with (queue, reply) after each beat. Where the lease is not
            known, it had been taken away, and the next beat begins another one.
        on_error: Called in this thread with (queue, error); the next beat tries again.
        on_answer: Called in this thread with the seconds that the broker took to answer a beat.
    """

    def __init__(
        self,
        settings: RedisSettings,
        queues: tuple[str, ...],
        *,
        server: str,
        lease: timedelta,
        describe: Callable[[], bytes],
        kinds: Callable[[], tuple[str, ...]],
        on_reply: Callable[[str, HeartbeatReply], None],
        on_error: Callable[[str, Exception], None],
        on_answer: Callable[[float], None] = lambda _: None,
    ) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._settings, self._queues, self._server, self._lease = settings, queues, server, lease
        self._every = lease.total_seconds() / _BEATS_PER_LEASE
        self._describe, self._kinds = describe, kinds
        self._on_reply, self._on_error, self._on_answer = on_reply, on_error, on_answer
        self._description: bytes = b"{}"
        self._known: tuple[str, ...] = ()
        self._warned: type[BaseException] | None = None
        address = address_of(settings)
        self._patience = _MOST_TRIPS * (address.connect_timeout + address.timeout)
        self._stopped = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None
        self._tried = dict.fromkeys(queues, monotonic())
        self._leased = dict.fromkeys(queues, True)
        """Whether, by the last reply, the lease stands."""
        self._log = structlog.get_logger("duly.engine")

    def stalled(self) -> str | None:
        """Return None while it beats or tries to, else what is wrong. For any thread.

        A broker that does not answer is not its fault: only a thread that has stopped trying is.
        """
        if self._stopped.is_set():
            return None
        if not self.is_alive():
            return "the heartbeat has ended"
        longest = self._lease.total_seconds() + 2 * self._patience
        silent = monotonic() - min(self._tried.values(), default=monotonic())
        return f"no heartbeat was tried for {silent:.0f} s" if silent > longest else None

    @override
    def run(self) -> None:
        """Beat until `end`, whatever happens."""
        while not self._stopped.is_set():
            try:
                asyncio.run(self._main())
            except BaseException as error:  # noqa: BLE001 - whatever it is, leases have to stand
                # Without leases the server would sit idle for ever, and nobody would see why.
                self._log.critical("Heartbeat failed, restarting", exc_info=error)
                self._stopped.wait(_RESTART_AFTER)

    def end(self) -> None:
        """Stop beating. Returns at once; the last beat may still be under way. Idempotent."""
        self._stopped.set()
        loop, end = self._loop, self._end
        if loop is not None and end is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(end.set)

    async def _main(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        async with Connection.open(self._settings) as connection:
            pokes = {queue: asyncio.Event() for queue in self._queues}
            tasks = [
                asyncio.ensure_future(self._beat_on(connection, queue, poke))
                for queue, poke in pokes.items()
            ]
            tasks += [asyncio.ensure_future(self._watch_role(connection))]
            tasks += [
                # A lost subscription delays a message until the next beat at most.
                asyncio.ensure_future(listener.run(self._lease.total_seconds()))
                for listener in _listeners(connection, pokes)
            ]
            if self._stopped.is_set():
                self._end.set()
            await _until_failed(tasks, self._end)

    async def _beat_on(self, connection: Connection, queue: str, poke: asyncio.Event) -> None:
        """Beat for one queue until cancelled."""
        while True:
            rest = self._every
            try:
                async with asyncio.timeout(self._patience):
                    reply = await self._beat(connection, queue)
            except (DulyError, TimeoutError) as error:
                rest /= 2
                self._report(self._on_error, queue, error)
            else:
                self._report(self._on_reply, queue, reply)
                self._leased[queue] = reply.known
                rest = self._every if reply.known else 0
            self._tried[queue] = monotonic()
            await asyncio.sleep(_SHORTEST_GAP)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rest):
                    await poke.wait()
            poke.clear()

    async def _beat(self, connection: Connection, queue: str) -> HeartbeatReply:
        """Renew the lease; begin another one only where a reply said that it had been taken away.

        A beat may arrive long after the server gave up its reply. If it began a lease, the server
        would never learn that others had been given its tasks meanwhile.
        """
        self._look_at_server()
        begins = not self._leased[queue]
        call = scripts.heartbeat(
            queue_keys(queue),
            server=self._server,
            lease_ms=to_ms(self._lease),
            description=self._description,
            kinds=self._known,
            begins=begins,
        )
        script, asked = call.script, monotonic()
        answer = await connection.script(script.sha, script.text, call.keys, call.args)
        self._report(self._on_answer, monotonic() - asked)
        reply = heartbeat_reply_of(answer)
        return replace(reply, known=True) if begins else reply

    def _look_at_server(self) -> None:
        """Ask the server for its description; if that fails, the previous one is sent again."""
        try:
            self._description, self._known = self._describe(), self._kinds()
        except BaseException as error:  # noqa: BLE001 - the lease matters more
            self._warn("Server could not describe itself", error)

    def _report(self, callback: Callable[..., None], *args: object) -> None:
        try:
            callback(*args)
        except BaseException as error:  # noqa: BLE001 - likewise
            self._warn("Heartbeat could not report", error)

    def _warn(self, event: str, error: BaseException) -> None:
        """Log an error once, not with every beat."""
        if type(error) is not self._warned:
            self._warned = type(error)
            self._log.error(event, exc_info=error)

    async def _watch_role(self, connection: Connection) -> None:
        """Leave a master that was demoted, even if it accepts writes as a replica."""
        while True:
            await asyncio.sleep(self._every)
            try:
                await connection.check_role()
            except DulyError as error:
                if demoted(error):
                    self._report(self._on_error, self._queues[0], error)


def _listeners(connection: Connection, pokes: dict[str, asyncio.Event]) -> list[Listener]:
    """Return one listener in all; in a Cluster one for each queue, at the queue's node."""
    channels = {queue_keys(queue).control: poke for queue, poke in pokes.items()}

    def poke(channel: str) -> None:
        channels[channel].set()

    if connection.cluster is None:
        return [Listener(connection, tuple(channels), poke)]
    return [Listener(connection, (channel,), poke) for channel in channels]


async def _until_failed(tasks: "list[asyncio.Task[None]]", end: asyncio.Event) -> None:
    """Return at the end; raise what ended a task before."""
    ending = asyncio.ensure_future(end.wait())
    waiting = {ending, *tasks}
    try:
        while not end.is_set():
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    finally:
        for task in (ending, *tasks):
            task.cancel()
        await asyncio.wait([ending, *tasks])
