"""What brings successors about: with a task's success, and from queue to queue."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from duly.engine.keys import GROUP, QueueKeys
from duly.engine.scripts.call import Argument, Call, NewTask, minute_of_hour, script

MOST_LAG_MS = 60_000
"""How old what a courier has read of an outbox may be when it delivers it."""


@dataclass(frozen=True, slots=True)
class Successor:
    """One thing that a success brings about.

    task: a task that is added. join: a task that is kept until `number` members have arrived.
    arrive: member `number` of `join` has succeeded.
    """

    what: str
    queue: str
    kind: str = ""
    join: str = ""
    number: int = 0
    id: str = ""
    data: bytes = b""
    due_ms: int = 0
    delay_ms: int = 0
    """Counted from when it is added; goes before `due_ms`."""
    lock: str = ""
    lock_ms: int = 0

    def new(self, now_ms: int) -> NewTask:
        """Return it as `add` takes it, when it is a task that begins now."""
        due_ms = now_ms + self.delay_ms if self.delay_ms else self.due_ms
        ttl_ms = self.lock_ms + max(0, due_ms - now_ms)
        return NewTask(
            id=self.id, data=self.data, due_ms=due_ms, lock=self.lock, lock_ttl_ms=ttl_ms
        )

    def fields(self) -> tuple[Argument, ...]:
        """Return what the scripts take of it, all but the queue."""
        return (
            self.what,
            self.join,
            self.number,
            self.id,
            self.data,
            self.due_ms,
            self.delay_ms,
            self.lock,
            self.lock_ms,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Success:
    """A task that succeeded and has successors."""

    entry: bytes
    id: str
    kind: str
    successors: Sequence[Successor]
    lock: str = ""
    retention_ms: int = 0
    tries: str = "0 0"
    result: bytes = b""


def follow(keys: QueueKeys, successes: Iterable[Success], *, now_ms: int, at_ms: int = 0) -> Call:
    """Settle tasks that succeeded, and bring their successors about. Answers, see follow.lua."""
    args: list[Argument] = [at_ms, GROUP, minute_of_hour(now_ms), keys.control, keys.name]
    for item in successes:
        args += (item.entry, item.id, item.kind, item.lock, item.retention_ms, item.tries)
        args += (item.result, len(item.successors))
        for successor in item.successors:
            args += (successor.queue, *successor.fields())
    names = (
        keys.stream,
        keys.index,
        keys.locks,
        keys.totals,
        keys.hour(now_ms),
        keys.records,
        keys.tries,
        keys.history,
        keys.completed,
        keys.results,
        keys.cancels,
        keys.scheduled,
        keys.outbox,
        keys.day(now_ms),
    )
    return Call(script("follow"), names, args)


def post(keys: QueueKeys, successors: Iterable[Successor]) -> Call:
    """Put successors of nobody into the outbox, all or none. Answers how many."""
    args: list[Argument] = []
    for successor in successors:
        args += (successor.queue, *successor.fields())
    return Call(script("post"), (keys.outbox,), args)


def deliver(
    keys: QueueKeys,
    items: Iterable[tuple[str, Sequence[Argument]]],
    *,
    read_ms: int,
    now_ms: int = 0,
) -> Call:
    """Take what is in another's outbox for this queue: (delivery id, fields) pairs.

    Answers how many were refused, or -1 when all of it was read too long ago.
    """
    args: list[Argument] = [now_ms, read_ms, MOST_LAG_MS, keys.control]
    for delivery, fields in items:
        args += (delivery, *fields)
    names = (
        keys.stream,
        keys.index,
        keys.scheduled,
        keys.locks,
        keys.records,
        keys.joins,
        keys.awaited,
        keys.delivered,
        keys.totals,
    )
    return Call(script("deliver"), names, args)


def disjoin(keys: QueueKeys, join: str) -> Call:
    """Forget a join: its task will not be. Answers 1, or 0 when there is none."""
    return Call(script("disjoin"), (keys.joins, keys.awaited), (join,))
