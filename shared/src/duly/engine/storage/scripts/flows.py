"""What enqueues successors: with a task's success, and from queue to queue."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from duly.engine.storage.keys import GROUP, QueueKeys
from duly.engine.storage.scripts.call import (
    ATTEMPTS_KEPT,
    Call,
    NewTask,
    call,
    minute_of_hour,
)
from duly.engine.storage.scripts.declaration import Argument, Nothing, Script

MOST_LAG_MS = 60_000
"""How long ago a relay may have read what it delivers, on the clock of the queue it is for."""


class _Successor(NamedTuple):
    queue: str
    what: str
    join: str
    number: int
    id: str
    data: bytes
    due_ms: int
    delay_ms: int
    lock: str
    lock_ttl_ms: int


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
    """Counted from when it is added; takes precedence over `due_ms`."""
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
        """Return what `outbox_deliver` takes of it: all but the queue."""
        return self.row()[1:]

    def row(self) -> _Successor:
        """Return what the scripts take of it."""
        return _Successor(
            self.queue, self.what, self.join, self.number, self.id, self.data, self.due_ms,
            self.delay_ms, self.lock, self.lock_ms,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Success:
    """A task that succeeded and has successors."""

    stream_id: bytes
    id: str
    kind: str
    successors: Sequence[Successor]
    lock: str = ""
    retention_ms: int = 0
    tries: str = "0 0"
    result: bytes = b""
    attempt: bytes = b""
    """The attempt that succeeded, for the history of a task that is kept."""


class _Complete(NamedTuple):
    now_ms: int
    group: str
    minute: int
    control: str
    queue: str
    attempts_kept: int


class _Completed(NamedTuple):
    stream_id: bytes
    id: str
    kind: str
    lock: str
    retention_ms: int
    tries_text: str
    result: bytes
    attempt: bytes
    successors: int


_COMPLETE_WITH_SUCCESSORS = Script(
    "complete_with_successors",
    ("stream", "index", "locks", "totals", "records", "tries", "history", "completed", "results",
     "cancels", "scheduled", "outbox"),
    _Complete,
    own_keys=("hour", "day"),
    rows={"task": _Completed, "successor": _Successor},
)  # fmt: skip


def complete_with_successors(
    keys: QueueKeys, successes: Iterable[Success], *, now_ms: int, at_ms: int = 0
) -> Call:
    """Settle tasks that succeeded, and enqueue their successors. Answers as the script says."""

    def rows() -> Iterator[tuple[Argument, ...]]:
        for item in successes:
            yield _Completed(
                item.stream_id, item.id, item.kind, item.lock, item.retention_ms, item.tries,
                item.result, item.attempt, len(item.successors),
            )  # fmt: skip
            yield from (successor.row() for successor in item.successors)

    return call(
        _COMPLETE_WITH_SUCCESSORS,
        keys,
        _Complete(at_ms, GROUP, minute_of_hour(now_ms), keys.control, keys.name, ATTEMPTS_KEPT),
        own_keys=(keys.hour(now_ms), keys.day(now_ms)),
        rows=rows(),
    )


_OUTBOX_APPEND = Script("outbox_append", ("outbox",), Nothing, rows={"successor": _Successor})


def outbox_append(keys: QueueKeys, successors: Iterable[Successor]) -> Call:
    """Put successors that no task has into the outbox, all or none. Answers how many."""
    return call(_OUTBOX_APPEND, keys, Nothing(), rows=[successor.row() for successor in successors])


class _Deliver(NamedTuple):
    now_ms: int
    read_ms: int
    max_lag_ms: int
    control: str


class _Item(NamedTuple):
    delivery: str
    what: str
    join: str
    number: int
    id: str
    data: bytes
    due_ms: int
    delay_ms: int
    lock: str
    lock_ttl_ms: int


_OUTBOX_DELIVER = Script(
    "outbox_deliver",
    ("stream", "index", "scheduled", "locks", "records", "joins", "awaited", "delivered", "totals",
     "outbox"),
    _Deliver,
    rows={"item": _Item},
)  # fmt: skip


def outbox_deliver(
    keys: QueueKeys,
    items: Iterable[tuple[str, Sequence[Argument]]],
    *,
    read_ms: int,
    now_ms: int = 0,
) -> Call:
    """Take what is in another's outbox for this queue: (delivery id, fields) pairs.

    Answers how many were refused, or -1 when all of it was read too long ago, or the clock has
    jumped since.
    """
    return call(
        _OUTBOX_DELIVER,
        keys,
        _Deliver(now_ms, read_ms, MOST_LAG_MS, keys.control),
        rows=[(delivery, *fields) for delivery, fields in items],
    )


def outbox_clock(keys: QueueKeys, *, now_ms: int = 0) -> Call:
    """Answer the time of the node that holds a queue: what is read after it may be delivered."""
    return outbox_deliver(keys, (), read_ms=0, now_ms=now_ms)


class _CancelJoin(NamedTuple):
    join: str


_CANCEL_JOIN = Script("cancel_join", ("joins", "awaited", "outbox"), _CancelJoin)


def cancel_join(keys: QueueKeys, join: str) -> Call:
    """Cancel a join: its task will not be enqueued. Answers 1, or 0 when there is none."""
    return call(_CANCEL_JOIN, keys, _CancelJoin(join))


class _ExpireJoins(NamedTuple):
    now_ms: int
    cursor: bytes | str
    most: int
    max_age_ms: int
    max_count: int


_EXPIRE_JOINS = Script("expire_joins", ("joins", "awaited", "totals", "outbox"), _ExpireJoins)


def expire_joins(
    keys: QueueKeys,
    *,
    max_age_ms: int,
    max_count: int,
    cursor: bytes | str = "0",
    most: int = 500,
    now_ms: int = 0,
) -> Call:
    """Cancel joins past their bounds. Answers [cursor, how many]; "0": all were looked at."""
    arguments = _ExpireJoins(now_ms, cursor, most, max_age_ms, max_count)
    return call(_EXPIRE_JOINS, keys, arguments)
