"""State transitions of tasks, nothing else: what may happen to a queue, one method each."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal, Self, cast

import msgspec

from duly.clock import Clock, SystemClock
from duly.engine.storage import scripts
from duly.engine.storage.broker_time import BrokerTime
from duly.engine.storage.decoding import crashed
from duly.engine.storage.delivery import Delivery, delivery_of
from duly.engine.storage.heartbeat_reply import HeartbeatReply, heartbeat_reply_of
from duly.engine.storage.keys import GROUP, QUEUES, QueueKeys, queue_keys
from duly.engine.storage.reports import DeadLetter
from duly.engine.storage.scripts import Call, NewTask, Returned, Settlement
from duly.engine.transport.connection import Connection
from duly.engine.transport.reader import Reader, entries_of
from duly.errors import BrokerDownError, BrokerError, BrokerWriteError
from duly.runtime.settings import RedisSettings
from duly.task import Task

_KNOWN_SECONDS = 10.0
_GROUP_TRIES = 3
"""Times that a missing group is made for one call: a removal may take it away again."""
BATCH = 500
"""Most tasks in one script: more would hold up the broker's other clients."""


def lock_digest(kind: str, payload: Mapping[str, Any]) -> str:
    """Return the name of the unique lock of a kind with a payload, as its fields are encoded."""
    named = kind.encode() + b"\0" + msgspec.json.encode(payload, order="sorted")
    return hashlib.sha256(named).hexdigest()[:32]


class Store:
    """The transitions. Every method is one atomic script, safe to repeat unless it says otherwise.

    All raise `BrokerDownError` when the broker does not answer within `redis.timeout`.
    """

    def __init__(self, connection: Connection, clock: Clock | None = None) -> None:
        self.connection = connection
        self._clock = clock or SystemClock()
        self._time = BrokerTime(self._clock)
        self._known: dict[str, float] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: RedisSettings) -> AsyncIterator[Self]:
        """Open for the body of an `async with`."""
        async with Connection.open(settings) as connection:
            yield cls(connection)

    def now_ms(self) -> int:
        """Return the broker's time in ms since 1970. Good to a network delay; never goes back."""
        return self._time.now_ms()

    def saw_time(self, broker_ms: int) -> None:
        """Take a sample of the broker's clock; see `BrokerTime`."""
        self._time.saw(broker_ms)

    async def run(self, call: Call) -> Any:  # noqa: ANN401 - each caller knows its script
        """Run one script, and again where the stream's group was missing."""
        try:
            return await self._sent(call)
        except BrokerError as error:
            return await self._anew(call, error)

    # A plain function, and `add` calls it itself: each coroutine on the way is felt by whoever
    # enqueues one task after the other.
    def _sent(self, call: Call) -> Awaitable[Any]:
        script = call.script
        return self.connection.script(script.sha, script.text, call.keys, call.args, call.head)

    async def _anew(self, call: Call, error: BrokerError) -> Any:  # noqa: ANN401 - as of `run`
        """Run a script again that was refused because the stream's group was missing."""
        for _ in range(_GROUP_TRIES):
            # A script that needs the group asks for it before it changes anything.
            if "NOGROUP" not in str(error):
                break
            if "unregistered" in str(error):
                # The queue was removed, or the broker lost it, since it was registered here.
                queue = call.keys[0].partition("{")[2].partition("}")[0]
                await self._list(queue)
            await self._make_group(call.keys[0])
            try:
                return await self._sent(call)
            except BrokerError as again:
                error = again
        raise error

    async def register(self, queue: str) -> QueueKeys:
        """Make a queue known, with its stream and group; return its keys.

        Cheap to repeat: it asks the broker every ten seconds at most, so that a broker that has
        lost its data knows the queue again soon. The same question samples the broker's clock, by
        which clients reckon delays and deadlines.
        """
        keys = queue_keys(queue)
        if not self._knows(queue):
            try:
                await self._list(queue)
                await self.ensure_group(keys)
                self.saw_time(int(await self.run(scripts.outbox_clock(keys))))
            except BrokerWriteError:
                # A full broker can still be emptied, by workers that start now too.
                if not await self.connection.command("SISMEMBER", QUEUES, queue):
                    raise
            self._known[queue] = self._clock.monotonic() + _KNOWN_SECONDS
        return keys

    async def _list(self, queue: str) -> None:
        try:
            await self.connection.command("SADD", QUEUES, queue)
        except BrokerDownError:
            # In a Cluster the list is on one node and the queue on another. It was listed before.
            if self.connection.cluster is None or queue not in self._known:
                raise

    def _knows(self, queue: str) -> bool:
        return self._clock.monotonic() < self._known.get(queue, 0.0)

    def forget(self, queue: str) -> None:
        """Make the next `register` of a queue ask the broker again."""
        self._known.pop(queue, None)

    async def ensure_group(self, keys: QueueKeys) -> None:
        """Create stream and group where they are missing. From id 0: nothing is passed over."""
        await self._make_group(keys.stream)

    async def _make_group(self, stream: str) -> None:
        try:
            await self.connection.command("XGROUP", "CREATE", stream, GROUP, "0", "MKSTREAM")
        except BrokerError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def add(
        self, queue: str, tasks: Sequence[NewTask], *, max_length: int, whole: bool = True
    ) -> list[int | str]:
        """Add tasks; with `whole` all or none (within a batch of 500).

        Not safe to repeat blindly: after a lost answer the ids are taken, by these very tasks.

        Returns:
            One item a task: 1 waiting, 2 scheduled, 0 left out for another's sake, -2 id
            conflict, -3 queue full, or the id of the task that holds the unique lock.
        """
        keys = queue_keys(queue) if self._knows(queue) else await self.register(queue)
        found: list[Any] = []
        for start in range(0, len(tasks), BATCH):
            part = tasks[start : start + BATCH]
            call = scripts.add(keys, part, max_length=max_length, whole=whole)
            try:
                found += await self._sent(call)
            except BrokerError as error:
                found += await self._anew(call, error)
        return [answer if isinstance(answer, int) else answer.decode() for answer in found]

    async def present(self, queue: str, ids: Sequence[str]) -> list[bool]:
        """Return for each id whether the queue holds a task of that id, in whatever state."""
        found = await self.connection.command("HMGET", queue_keys(queue).index, *ids)
        return [place is not None for place in found]

    async def complete(
        self,
        queue: str,
        *,
        stream_ids: Sequence[bytes],
        ids: Sequence[str],
        kinds: Sequence[str],
        locks: Sequence[str],
        dirty: bool,
    ) -> list[bytes]:
        """Settle tasks that succeeded; return the stream ids refused to this server."""
        call = scripts.complete(
            queue_keys(queue),
            stream_ids=stream_ids,
            ids=ids,
            kinds=kinds,
            locks=locks,
            dirty=dirty,
            now_ms=self.now_ms(),
        )
        return cast("list[bytes]", await self.run(call))

    async def settle(self, queue: str, settlements: Iterable[Settlement]) -> list[bytes]:
        """Settle tasks that did not simply succeed; return the stream ids refused."""
        call = scripts.settle(queue_keys(queue), settlements, now_ms=self.now_ms())
        return cast("list[bytes]", await self.run(call))

    async def requeue(self, queue: str, returned: Sequence[Returned]) -> int:
        """Let tasks wait again; return how many."""
        back = 0
        for start in range(0, len(returned), BATCH):
            call = scripts.requeue(queue_keys(queue), returned[start : start + BATCH])
            back += int(await self.run(call))
        return back

    async def promote(self, queue: str) -> tuple[int, int, str]:
        """Move due tasks to the stream.

        Returns:
            How many, ms until the next (-1: none), and why others could not move ("": all could).
        """
        moved, wait, problem = await self.run(scripts.promote(queue_keys(queue)))
        return moved, wait, problem.decode()

    async def heartbeat(
        self,
        queue: str,
        *,
        server: str,
        lease_ms: int,
        description: bytes,
        kinds: Iterable[str] = (),
    ) -> HeartbeatReply:
        """Renew this server's lease on a queue, and say which kinds of job it knows."""
        call = scripts.heartbeat(
            queue_keys(queue),
            server=server,
            lease_ms=lease_ms,
            description=description,
            kinds=kinds,
        )
        reply = heartbeat_reply_of(await self.run(call))
        self.saw_time(reply.now_ms)
        return reply

    async def known(self, queue: str, kinds: Sequence[str]) -> set[str]:
        """Return which of these kinds some live server of the queue has a handler for."""
        ends = await self.connection.command("ZMSCORE", queue_keys(queue).kinds, *kinds)
        now_ms = self.now_ms()
        return {
            kind
            for kind, end in zip(kinds, ends, strict=True)
            if end is not None and float(end) > now_ms
        }

    async def expired_leases(self, queue: str, *, lease_ms: int) -> list[bytes]:
        """Return servers whose lease has expired, and consumers that never had one.

        Their names are bytes, because a foreign one need not be a text.

        After a silence of the broker longer than half a lease there are none for one lease:
        whoever lived before it is given the time to renew theirs.
        """
        call = scripts.expired_leases(queue_keys(queue), lease_ms=lease_ms)
        return [bytes(name) for name in await self.run(call)]

    async def reap(
        self, queue: str, *, server: bytes | str, lease_ms: int
    ) -> tuple[int, list[DeadLetter], str]:
        """Take a dead server's tasks. A server that lives loses nothing.

        Returns:
            How many wait again, which are quarantined, and why others stay active ("": none do).
        """
        back, letters, after, problem = 0, list[DeadLetter](), b"", ""
        while True:
            call = scripts.reap(
                queue_keys(queue),
                server=server,
                lease_ms=lease_ms,
                now_ms=self.now_ms(),
                after=after,
            )
            if isinstance(answer := await self.run(call), int):
                return back, letters, problem
            back, letters = back + answer[0], letters + crashed(queue, answer[3])
            after, problem = answer[4], answer[5].decode() or problem
            if answer[2]:
                return back, letters, problem

    async def deregister(self, queue: str, *, server: str) -> bool:
        """Deregister a server; False when it still holds tasks, and then its lease expires."""
        return not await self.run(scripts.deregister(queue_keys(queue), server=server))

    async def operate(
        self,
        queue: str,
        operation: Literal["run", "archive", "delete"],
        *,
        task_id: str,
        lock: str = "",
        lock_ttl_ms: int = 0,
        seen: Task | None = None,
    ) -> str:
        """Run, archive or delete a task; return "ok" or why nothing was done.

        That is "missing", the state that forbids it, or "locked" and the id of the task that
        holds the lock which this one would have to take. `lock` is the digest of its unique lock:
        `run` takes it for `lock_ttl_ms`, the others release it. One that is no longer as it was
        `seen` is left alone: its state is returned.
        """
        call = scripts.operate(
            queue_keys(queue), operation, task_id=task_id, lock=lock, lock_ttl_ms=lock_ttl_ms,
            seen_state=seen.state if seen else "", seen_ms=seen.ended_score_ms if seen else -1,
        )  # fmt: skip
        return bytes(await self.run(call)).decode(errors="replace")

    async def cancel(
        self, queue: str, *, task_id: str, outcome: Literal["archived", "dropped", "retry"]
    ) -> str:
        """Ask for an active task to be stopped; return "ok", "missing" or its state."""
        call = scripts.cancel(queue_keys(queue), task_id=task_id, outcome=outcome)
        return bytes(await self.run(call)).decode(errors="replace")

    async def poke(self, keys: QueueKeys) -> None:
        """Make the queue's servers look at once for what has changed."""
        try:
            await self.connection.command("PUBLISH", keys.control, "look")
        except BrokerDownError:
            raise
        except BrokerError:
            return  # no rights to the channel: the next heartbeats will see it all the same

    def reader(self, queue: str) -> "StreamReader":
        """Return a connection of its own that waits for tasks of a queue."""
        keys = queue_keys(queue)
        return StreamReader(self, keys, Reader(self.connection, keys.stream))


class StreamReader:
    """Waits for tasks of one queue, as one consumer. One `read` at a time."""

    def __init__(self, store: Store, keys: QueueKeys, reader: Reader) -> None:
        self._store, self._keys, self._reader = store, keys, reader
        self._reading = False

    async def read(self, *, server: str, count: int, block_ms: int) -> list[Delivery]:
        """Return at most `count` tasks, now active and this server's; none after the wait."""
        self._reading = True
        try:
            entries = await self._reader.read(GROUP, server, count=count, block_ms=block_ms)
        except BrokerError as error:
            if "UNBLOCKED" in str(error) or await self._made_group(error):
                return []
            raise
        finally:
            self._reading = False
        return [delivery_of(stream_id, fields) for stream_id, fields in entries]

    async def _made_group(self, error: BrokerError) -> bool:
        """Make the group again where a flushed or failed-over broker has lost it."""
        if "NOGROUP" not in str(error):
            return False
        await self._store.ensure_group(self._keys)
        return True

    async def pending(self, *, server: str) -> list[Delivery]:
        """Return every task this server holds, also those whose delivery it never saw.

        A connection that breaks while the broker answers leaves tasks that are active and
        nobody's: their server lives, so they are never reaped. It has to ask.
        """
        found: list[Delivery] = []
        after: bytes | str = "0"
        while True:
            try:
                answer = await self._store.connection.command(
                    "XREADGROUP", "GROUP", GROUP, server, "COUNT", BATCH, "STREAMS",
                    self._keys.stream, after,
                )  # fmt: skip
            except BrokerError as error:
                if not await self._made_group(error):
                    raise
                return found
            entries = entries_of(answer)
            found += [delivery_of(stream_id, fields) for stream_id, fields in entries]
            if len(entries) < BATCH:
                return found
            after = entries[-1][0]

    async def interrupt(self) -> None:
        """Make a waiting `read` return at once."""
        if self._reading:
            await self._reader.interrupt()

    async def close(self) -> None:
        """Close the connection."""
        self._reader.close()
