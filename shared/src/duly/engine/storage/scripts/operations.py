"""What operators do to single tasks, and the janitor to sets."""

from typing import Literal, NamedTuple

from duly.engine.storage.keys import GROUP, QueueKeys
from duly.engine.storage.scripts.call import Call, call
from duly.engine.storage.scripts.declaration import Script
from duly.task import ALLOWED


class _Operate(NamedTuple):
    now_ms: int
    group: str
    operation: Literal["run", "archive", "delete"]
    id: str
    lock: str
    lock_ttl_ms: int
    seen_state: str
    seen_ms: int


_OPERATE = Script(
    "operate",
    ("stream", "index", "scheduled", "retry", "archived", "completed", "quarantined", "records",
     "tries", "history", "results", "locks", "cancels", "aggregating", "members", "groups",
     "claims"),
    _Operate,
    tables={"ALLOWED": {name: ALLOWED[name] for name in ("run", "archive", "delete")}},
)  # fmt: skip


def operate(
    keys: QueueKeys,
    operation: Literal["run", "archive", "delete"],
    *,
    task_id: str,
    lock: str = "",
    lock_ttl_ms: int = 0,
    seen_state: str = "",
    seen_ms: int = -1,
    now_ms: int = 0,
) -> Call:
    """Run, archive or delete a task. Answers "ok" or why nothing was done, see operate.lua."""
    arguments = _Operate(now_ms, GROUP, operation, task_id, lock, lock_ttl_ms, seen_state, seen_ms)
    return call(_OPERATE, keys, arguments)


class _Cancel(NamedTuple):
    group: str
    id: str
    outcome: Literal["archived", "dropped", "retry"]
    control: str


_CANCEL = Script("cancel", ("stream", "index", "cancels"), _Cancel)


def cancel(
    keys: QueueKeys, *, task_id: str, outcome: Literal["archived", "dropped", "retry"]
) -> Call:
    """Ask for an active task to be stopped. Answers "ok", "missing" or its state."""
    return call(_CANCEL, keys, _Cancel(GROUP, task_id, outcome, keys.control))


class _Prune(NamedTuple):
    now_ms: int
    max_age_ms: int
    max_count: int
    max_bytes: int
    most: int
    count_as: str


_PRUNE = Script(
    "prune",
    ("index", "records", "tries", "history", "results", "totals"),
    _Prune,
    own_keys=("set",),
)


def prune(
    keys: QueueKeys,
    state: Literal["archived", "completed", "quarantined"],
    *,
    max_age_ms: int = -1,
    max_count: int = -1,
    max_bytes: int = -1,
    count_as: str = "",
    most: int = 500,
    now_ms: int = 0,
) -> Call:
    """Drop what is past the bounds of a set. Answers how many; repeat while it is `most`."""
    arguments = _Prune(now_ms, max_age_ms, max_count, max_bytes, most, count_as)
    return call(_PRUNE, keys, arguments, own_keys=(getattr(keys, state),))


class _RemoveQueue(NamedTuple):
    now_ms: int
    group: str
    force: int


_REMOVE_QUEUE = Script(
    "remove_queue",
    ("stream", "outbox", "joins", "leases", "scheduled", "retry", "archived", "completed",
     "quarantined", "aggregating"),
    _RemoveQueue,
    any_keys=True,
)  # fmt: skip


def remove_queue(
    keys: QueueKeys, *, force: bool, others: tuple[str, ...] = (), now_ms: int = 0
) -> Call:
    """Delete a queue's fixed keys and `others`. Answers what came of it, and how many."""
    arguments = _RemoveQueue(now_ms, GROUP, int(force))
    return call(_REMOVE_QUEUE, keys, arguments, own_keys=(*keys.everything(), *others))
