"""What clients and workers do to tasks. The header of each script says the rest."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import groupby
from operator import attrgetter
from typing import Literal, NamedTuple

from duly.engine.storage.keys import GROUP, QueueKeys, queue_keys
from duly.engine.storage.scripts.call import (
    ATTEMPTS_KEPT,
    Call,
    NewTask,
    Settlement,
    call,
    minute_of_hour,
)
from duly.engine.storage.scripts.declaration import Argument, Nothing, Script
from duly.engine.transport.packing import Head


class _Add(NamedTuple):
    now_ms: int
    max_length: int
    mode: Literal["all", "each"]
    control: str


_ADD = Script(
    "add",
    ("stream", "index", "scheduled", "locks", "records"),
    _Add,
    columns=("id", "data", "due_ms", "lock", "lock_ttl_ms"),
)


def add(
    keys: QueueKeys, tasks: Sequence[NewTask], *, max_length: int, whole: bool, now_ms: int = 0
) -> Call:
    """Add tasks; `whole`: all of them or none. Answers one item a task, see add.lua."""
    mode: Literal["all", "each"] = "all" if whole else "each"
    if len(tasks) == 1:
        # Whoever enqueues one task after the other feels each step on the way.
        count, width, *row = _only_row(tasks[0])
        head = _add_one(keys.name, now_ms, max_length, mode, width)
        args = (now_ms, max_length, mode, keys.control, count, width, *row)
        return Call(_ADD, _ADD.keys_of(keys), args, head)
    arguments = _Add(now_ms, max_length, mode, keys.control)
    columns: list[Sequence[str | bytes | int]] = [
        [task.id for task in tasks],
        [task.data for task in tasks],
    ]
    if any(task.due_ms or task.lock for task in tasks):
        columns += (
            [task.due_ms for task in tasks],
            [task.lock for task in tasks],
            [task.lock_ttl_ms for task in tasks],
        )
    return call(_ADD, keys, arguments, columns=columns)


def _only_row(task: NewTask) -> tuple[Argument, ...]:
    """Return the columns of one task, behind their numbers of rows and columns."""
    if task.due_ms or task.lock:
        return 1, 5, task.id, task.data, task.due_ms, task.lock, task.lock_ttl_ms
    return 1, 2, task.id, task.data


@lru_cache(maxsize=1024)
def _add_one(queue: str, now_ms: int, max_length: int, mode: str, width: int) -> Head:
    """Return what all calls begin with that add one task to a queue."""
    keys = queue_keys(queue)
    names = _ADD.keys_of(keys)
    first = now_ms, max_length, mode, keys.control, 1, width
    return Head("EVALSHA", _ADD.sha, len(names), *names, *first)


class _Complete(NamedTuple):
    group: str
    minute: int
    dirty: int


class _Run(NamedTuple):
    kind: str
    number: int


_COMPLETE = Script(
    "complete",
    ("stream", "index", "locks", "totals", "records", "tries", "history", "cancels", "results"),
    _Complete,
    own_keys=("hour", "day"),
    columns=("stream_id", "id", "lock"),
    rows={"run": _Run},
)


def complete(
    keys: QueueKeys,
    *,
    stream_ids: Sequence[bytes],
    ids: Sequence[str],
    kinds: Sequence[str],
    locks: Sequence[str],
    dirty: bool,
    now_ms: int,
) -> Call:
    """Settle tasks that succeeded. Answers the stream ids that were refused."""
    return call(
        _COMPLETE,
        keys,
        _Complete(GROUP, minute_of_hour(now_ms), int(dirty)),
        own_keys=(keys.hour(now_ms), keys.day(now_ms)),
        columns=(stream_ids, ids, locks) if any(locks) else (stream_ids, ids),
        rows=[(kind, len(list(together))) for kind, together in groupby(kinds)],
    )


class _Settle(NamedTuple):
    now_ms: int
    group: str
    minute: int
    attempts_kept: int


class _Settled(NamedTuple):
    stream_id: bytes
    id: str
    kind: str
    destination: str
    in_ms: int
    tries: str
    attempt: bytes
    lock: str
    result: bytes
    outcomes: str
    join_queue: str
    join: str
    data: bytes


_settled = attrgetter(*_Settled._fields)
_SETTLE = Script(
    "settle",
    ("stream", "index", "locks", "totals", "records", "tries", "history", "retry", "archived",
     "completed", "quarantined", "results", "cancels", "scheduled", "outbox"),
    _Settle,
    own_keys=("hour", "day"),
    rows={"task": _Settled},
)  # fmt: skip


def settle(
    keys: QueueKeys, settlements: Iterable[Settlement], *, now_ms: int, at_ms: int = 0
) -> Call:
    """Settle tasks that failed, were given up, or keep a result. Answers refused stream ids.

    `now_ms` only chooses the counters' minute and day; instants go by the broker, or by `at_ms`
    in tests.
    """
    return call(
        _SETTLE,
        keys,
        _Settle(at_ms, GROUP, minute_of_hour(now_ms), ATTEMPTS_KEPT),
        own_keys=(keys.hour(now_ms), keys.day(now_ms)),
        rows=map(_settled, settlements),
    )


class _PartialResult(NamedTuple):
    stream_id: bytes
    id: str
    result: bytes


_WRITE_PARTIAL_RESULTS = Script(
    "write_partial_results", ("index", "results"), Nothing, rows={"task": _PartialResult}
)


def write_partial_results(
    keys: QueueKeys, partial_results: Iterable[tuple[bytes, str, bytes]]
) -> Call:
    """Keep partial results, as (stream id, task id, JSON). Answers the stream ids refused."""
    return call(_WRITE_PARTIAL_RESULTS, keys, Nothing(), rows=partial_results)


class _Requeue(NamedTuple):
    group: str


class Returned(NamedTuple):
    """A task that its server gives back without an outcome."""

    stream_id: bytes
    id: str
    """"": not known."""
    tries_text: str = ""
    """What is kept beside it from now on, see `delivery.tries_text`; "": it stays as it is."""


_REQUEUE = Script("requeue", ("stream", "index", "results"), _Requeue, rows={"task": Returned})


def requeue(keys: QueueKeys, returned: Iterable[Returned]) -> Call:
    """Let tasks wait again. Answers how many."""
    return call(_REQUEUE, keys, _Requeue(GROUP), rows=returned)


class _Promote(NamedTuple):
    now_ms: int
    most: int


_PROMOTE = Script(
    "promote",
    ("stream", "index", "scheduled", "retry", "records", "tries", "quarantined", "aggregating",
     "groups", "members", "claims", "history"),
    _Promote,
)  # fmt: skip


def promote(keys: QueueKeys, *, most: int = 200, now_ms: int = 0) -> Call:
    """Move due tasks to the stream. Answers [moved, ms until the next or -1]."""
    return call(_PROMOTE, keys, _Promote(now_ms, most))
