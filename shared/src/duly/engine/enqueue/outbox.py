"""The relay: brings what lies in a queue's outbox to the queues that it is for."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby

import structlog

from duly.clock import Clock, SystemClock
from duly.engine.enqueue.flows import flow_of
from duly.engine.storage import scripts
from duly.engine.storage.codec import decode
from duly.engine.storage.decoding import text_map
from duly.engine.storage.keys import queue_keys
from duly.engine.storage.scripts import Successor
from duly.engine.storage.store import Store
from duly.engine.transport.connection import refused
from duly.errors import BrokerDownError, BrokerError, MalformedTaskError
from duly.flow import MOST_MEMBERS
from duly.job import is_name

_BATCH = 100
_WHAT = {b"task", b"join", b"arrive", b"cancel"}
_FIELDS = ("what", "join", "number", "id", "data", "due", "delay", "lock", "lock-ms")
_NUMBERS = ("number", "due", "delay", "lock-ms")
_MOST_DIGITS = 16
_MOST_PAGES = 20
"""Of a client: what others have put into the outbox is not its business."""
_STAMP_SECONDS = 20.0
"""How long a target's time is used: less than a target allows between reading and delivering."""
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 60.0
_MOST_DOUBLINGS = 6
_MOST_TARGETS = 1_000
_NOT_TAKEN = -1


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """One entry of an outbox."""

    entry: bytes
    queue: str
    """Whom it is for; "": it is not ours."""
    fields: tuple[bytes, ...]

    @property
    def join(self) -> tuple[str, str]:
        """The join that it makes or reports to: queue and id."""
        return self.queue, self.fields[1].decode(errors="replace")

    def awaited_by(self) -> tuple[str, str] | None:
        """Return the join that its task is to report to, as queue and id."""
        try:
            flow = flow_of(decode(self.fields[4]).labels) if self.fields[4] else None
        except MalformedTaskError:
            return None
        return (flow.join.queue, flow.join.id) if flow is not None and flow.join else None


@dataclass(slots=True)
class _Pause:
    """How often something failed in a row, and when it is tried again."""

    failures: int = 0
    retry_at: float = 0.0

    def prolong(self, now: float) -> None:
        wait = min(_FIRST_WAIT * 2 ** min(self.failures, _MOST_DOUBLINGS), _LONGEST_WAIT)
        self.failures += 1
        self.retry_at = now + wait


@dataclass(slots=True)
class _Target(_Pause):
    """What a relay knows of a queue that it delivers to."""

    stamp_ms: int = 0
    """A time on the target's own clock that has passed."""
    stamped_at: float = float("-inf")
    """When that was, on this machine's monotonic clock."""


class _Held:
    """What one pass through the outbox does not deliver, so that each order is kept.

    Everything for a target that takes nothing waits, and single entries that theirs refuses; and
    no member of a group goes before the join that waits for it.
    """

    def __init__(self, queues: Iterable[str] = (), entries: Iterable[bytes] = ()) -> None:
        self.queues, self.entries = set(queues), set(entries)
        self._joins: set[tuple[str, str]] = set()

    def __bool__(self) -> bool:
        """Tell whether anything is held."""
        return bool(self.queues or self.entries)

    def holds(self, item: OutboxEntry) -> bool:
        """Tell whether an entry has to wait; one that makes a join makes its members wait too."""
        waits = item.queue in self.queues or item.entry in self.entries
        if not waits and self._joins:
            waits = item.join in self._joins or item.awaited_by() in self._joins
        if waits and item.fields[0] == b"join":
            self._joins.add(item.join)
        return waits


class OutboxRelay:
    """Delivers in the order of the outbox, and takes out what has arrived.

    Any number of relays may serve an outbox: the receiving queue remembers what it was brought,
    so that nothing arrives twice when one is killed between the two steps. What is read is
    delivered within a minute of the target's own clock, or read again.

    A target that takes nothing (its shard is down, it is full) is tried again after a second, then
    ever less often, once a minute at least; the others do not wait for it. So is a single entry
    that its target refuses while it takes others.
    """

    def __init__(
        self,
        store: Store,
        queue: str,
        *,
        every: timedelta = timedelta(seconds=1),
        clock: Clock | None = None,
    ) -> None:
        self._store, self._queue, self._every = store, queue, every
        self._clock = clock or SystemClock()
        self._log = structlog.get_logger("duly.engine")
        self._targets: dict[str, _Target] = {}
        self._refused: dict[bytes, _Pause] = {}
        """Entries that their target refused although it took others."""
        self._held = _Held()
        self._after = "-"

    async def run_once(self) -> timedelta:
        """Deliver one page; return how long to rest, zero while there is more."""
        self._begin_pass()
        page = await self._read()
        # What is delivered was read after its target's time, and others append meanwhile: the page
        # that is read again may name further targets.
        while await self._stamp({item.queue for item in page if item.queue}):
            page = await self._read()
        for queue, group in groupby(page, key=lambda item: item.queue):
            if queue:
                await self._bring(queue, list(group))
            else:
                self._log.error("Outbox entries dropped: not written by duly", queue=self._queue)
                await self._remove(group)
        if len(page) == _BATCH:
            self._after = "(" + page[-1].entry.decode()
            return timedelta(0)
        if page:
            self._after = "(" + page[-1].entry.decode()
        return self._every

    def _begin_pass(self) -> None:
        """Go on where the last page ended, or begin anew when something held is to be retried."""
        now = self._clock.monotonic()
        waiting = {queue for queue in self._held.queues if self._targets[queue].retry_at > now}
        entries = {entry for entry, pause in self._refused.items() if pause.retry_at > now}
        if not self._held or waiting != self._held.queues or entries != self._held.entries:
            self._held, self._after = _Held(waiting, entries), "-"
        if len(self._targets) > _MOST_TARGETS:
            self._targets = {queue: self._targets[queue] for queue in waiting}

    async def _read(self) -> list[OutboxEntry]:
        outbox = queue_keys(self._queue).outbox
        found = await self._store.connection.command(
            "XRANGE", outbox, self._after, "+", "COUNT", _BATCH
        )
        return [_entry(entry, text_map(fields)) for entry, fields in found]

    async def _stamp(self, queues: Iterable[str]) -> bool:
        """Ask targets for their time where the last one is too old; tell whether any was asked."""
        now, asked = self._clock.monotonic(), False
        for queue in sorted(set(queues) - self._held.queues):
            target = self._targets.setdefault(queue, _Target())
            if now - target.stamped_at < _STAMP_SECONDS:
                continue
            asked = True
            try:
                keys = await self._store.register(queue)
                target.stamp_ms = int(await self._store.run(scripts.outbox_clock(keys)))
            except BrokerError as error:
                self._failed(queue, error)
            else:
                target.stamped_at = now
        return asked

    async def _bring(self, queue: str, items: Sequence[OutboxEntry]) -> None:
        """Bring a queue its entries, in their order; hold what it does not take."""
        ready = [item for item in items if not self._held.holds(item)]
        if not ready:
            return
        problems: list[tuple[OutboxEntry, BrokerError]] = []
        taken = await self._halve(queue, ready, problems)
        if problems and not taken and len(ready) > 1:
            self._failed(queue, problems[0][1])  # it refuses everything, not just an entry
        else:
            for item, error in problems:
                self._hold(item, error)
        for item in ready:
            self._held.holds(item)  # a join that was not taken makes its members wait

    async def _halve(
        self, queue: str, items: list[OutboxEntry], problems: list[tuple[OutboxEntry, BrokerError]]
    ) -> int:
        """Deliver entries, in halves where they are refused; return how many were taken.

        Those that are refused even by themselves are added to `problems`.
        """
        if not items:
            return 0
        try:
            left_out = await self._deliver(queue, items)
        except BrokerError as error:
            if refused(error) and len(items) > 1:
                middle = len(items) // 2
                taken = await self._halve(queue, items[:middle], problems)
                rest = [item for item in items[middle:] if not self._held.holds(item)]
                return taken + await self._halve(queue, rest, problems)
            if refused(error):
                problems.append((items[0], error))
                self._held.entries.add(items[0].entry)
                self._held.holds(items[0])
            else:
                self._failed(queue, error)
            return 0
        if left_out == _NOT_TAKEN:
            self._failed(queue, TimeoutError("read too long ago, or its clock has jumped"))
            return 0
        self._taken(queue, items)
        if left_out:
            self._log.warning(
                "Successors not enqueued: duplicate id or lock held",
                queue=queue,
                successors=left_out,
            )
        await self._remove(items)
        return len(items)

    async def _deliver(self, queue: str, items: Iterable[OutboxEntry]) -> int:
        """Return how many successors were left out; -1: the queue took none of the entries."""
        rows = ((f"{self._queue}/{item.entry.decode()}", item.fields) for item in items)
        keys = await self._store.register(queue)
        read_ms = self._targets[queue].stamp_ms
        return int(await self._store.run(scripts.outbox_deliver(keys, rows, read_ms=read_ms)))

    def _taken(self, queue: str, items: Iterable[OutboxEntry]) -> None:
        target = self._targets[queue]
        if target.failures:
            target.failures = 0
            self._log.info("Outbox target takes entries again", queue=self._queue, target=queue)
        for item in items:
            self._refused.pop(item.entry, None)

    def _hold(self, item: OutboxEntry, error: BrokerError) -> None:
        """Hold a single entry that its target refuses."""
        if len(self._refused) >= _MOST_TARGETS:
            self._refused.clear()
        pause = self._refused.setdefault(item.entry, _Pause())
        pause.prolong(self._clock.monotonic())
        if pause.failures == 1:
            self._log.warning(
                "Outbox entry held: its queue refuses it, retrying",
                queue=self._queue,
                target=item.queue,
                entry=item.entry.decode(),
                error=str(error),
            )

    def _failed(self, queue: str, error: Exception) -> None:
        """Hold what is for a target, and give it time.

        Raises:
            BrokerDownError: There is one node only, so that no other target would fare better.
        """
        if isinstance(error, BrokerDownError) and self._store.connection.cluster is None:
            raise error
        target = self._targets[queue]
        target.prolong(self._clock.monotonic())
        target.stamped_at = float("-inf")
        self._held.queues.add(queue)
        if target.failures == 1:
            self._log.warning(
                "Outbox entries held: their queue does not take them, retrying",
                queue=self._queue,
                target=queue,
                error=f"{type(error).__name__}: {error}",
            )

    async def _remove(self, items: Iterable[OutboxEntry]) -> None:
        outbox = queue_keys(self._queue).outbox
        await self._store.connection.command("XDEL", outbox, *(item.entry for item in items))


def _entry(entry: bytes, named: dict[str, bytes]) -> OutboxEntry:
    """Read an entry; what was not written by duly is for no queue."""
    queue = named.get("queue", b"").decode(errors="replace")
    whole = all(name in named for name in _FIELDS) and all(
        named[name].isdigit() and len(named[name]) < _MOST_DIGITS for name in _NUMBERS
    )
    if not whole or named["what"] not in _WHAT or not is_name(queue):
        return OutboxEntry(entry, "", ())
    if int(named["number"]) > MOST_MEMBERS:
        return OutboxEntry(entry, "", ())  # the script takes a step for each member
    return OutboxEntry(entry, queue, tuple(named[name] for name in _FIELDS))


async def launch(store: Store, successors: Sequence[Successor]) -> None:
    """Put what a client begins into an outbox, whole, and deliver it.

    Raises:
        BrokerDownError: It is not known whether it was accepted.
    """
    home = successors[0].queue
    keys = await store.register(home)
    await store.run(scripts.outbox_append(keys, successors))
    # Accepted: what does not arrive now, the queue's servers or a scheduler deliver.
    relay = OutboxRelay(store, home)
    with suppress(BrokerError):
        for _ in range(_MOST_PAGES):
            if await relay.run_once():
                break
