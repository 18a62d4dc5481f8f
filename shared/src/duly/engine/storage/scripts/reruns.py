"""What operators do to a task's message: replaced in place, or as a new task."""

from collections.abc import Iterable
from typing import NamedTuple

from duly.engine.storage.keys import QueueKeys
from duly.engine.storage.scripts.call import Call, call
from duly.engine.storage.scripts.declaration import Script
from duly.task import ENDED


class _Edit(NamedTuple):
    now_ms: int
    id: str
    states: str
    read: bytes
    data: bytes
    old_lock: str
    new_lock: str


_EDIT = Script("edit", ("index", "records", "locks"), _Edit)


def edit(
    keys: QueueKeys,
    *,
    task_id: str,
    states: Iterable[str],
    read: bytes,
    data: bytes,
    old_lock: str = "",
    new_lock: str = "",
    now_ms: int = 0,
) -> Call:
    """Replace a message that is still the one read. Answers [what came of it, lock's holder]."""
    arguments = _Edit(now_ms, task_id, " ".join(states), read, data, old_lock, new_lock)
    return call(_EDIT, keys, arguments)


class _Rerun(NamedTuple):
    now_ms: int
    id: str
    read: bytes
    marked: bytes
    new_id: str
    data: bytes
    lock: str
    lock_ttl_ms: int


_RERUN = Script(
    "rerun", ("stream", "index", "records", "locks"), _Rerun, tables={"ALLOWED": {"rerun": ENDED}}
)


def rerun(
    keys: QueueKeys,
    *,
    task_id: str,
    read: bytes,
    marked: bytes,
    new_id: str,
    data: bytes,
    lock: str = "",
    lock_ttl_ms: int = 0,
    now_ms: int = 0,
) -> Call:
    """Add a task in the place of an ended one. Answers what came of it, see rerun.lua."""
    arguments = _Rerun(now_ms, task_id, read, marked, new_id, data, lock, lock_ttl_ms)
    return call(_RERUN, keys, arguments)


class _ExpireLocks(NamedTuple):
    now_ms: int
    cursor: bytes | str
    most: int


_EXPIRE_LOCKS = Script("expire_locks", ("locks",), _ExpireLocks)


def expire_locks(
    keys: QueueKeys, *, cursor: bytes | str = "0", most: int = 500, now_ms: int = 0
) -> Call:
    """Drop locks that have expired. Answers [cursor, how many]; "0": all were looked at."""
    return call(_EXPIRE_LOCKS, keys, _ExpireLocks(now_ms, cursor, most))
