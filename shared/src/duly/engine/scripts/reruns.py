"""What operators do to a task's message: replaced in place, or as a new task."""

from collections.abc import Iterable

from duly.engine.keys import QueueKeys
from duly.engine.scripts.call import Call, script


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
    names = (keys.index, keys.records, keys.locks)
    args = (now_ms, task_id, " ".join(states), read, data, old_lock, new_lock)
    return Call(script("edit"), names, args)


def rerun(
    keys: QueueKeys, *, task_id: str, read: bytes, marked: bytes, new_id: str, data: bytes
) -> Call:
    """Add a task in the place of an ended one. Answers what came of it, see rerun.lua."""
    names = (keys.stream, keys.index, keys.records)
    return Call(script("rerun"), names, (task_id, read, marked, new_id, data))


def sweep(keys: QueueKeys, *, cursor: bytes | str = "0", most: int = 500, now_ms: int = 0) -> Call:
    """Drop locks whose time is over. Answers [cursor, how many]; "0": all were looked at."""
    return Call(script("sweep"), (keys.locks,), (now_ms, cursor, most))
