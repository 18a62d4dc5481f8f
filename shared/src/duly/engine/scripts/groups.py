"""What tasks of a group go through until one task stands in their place."""

from collections.abc import Iterable
from typing import Literal

from duly.engine.keys import QueueKeys
from duly.engine.scripts.call import Argument, Call, NewTask, script


def gather(keys: QueueKeys, tasks: Iterable[NewTask], *, max_length: int, now_ms: int = 0) -> Call:
    """Add tasks, each with a `group`, to their groups. Answers one item a task, see gather.lua."""
    args: list[Argument] = [now_ms, max_length]
    for task in tasks:
        args += (task.id, task.data, task.lock, task.lock_ttl_ms, *(task.group or ("", 0, 0, 1)))
    names = (
        keys.index,
        keys.locks,
        keys.records,
        keys.aggregating,
        keys.groups,
        keys.members,
        keys.claims,
    )
    return Call(script("gather"), names, args)


def glean(
    keys: QueueKeys,
    kinds: Iterable[str],
    *,
    token: str,
    hold_ms: int,
    most_groups: int = 3,
    most_members: int = 1_000,
    now_ms: int = 0,
) -> Call:
    """Claim groups that are due. Answers [name, times claimed, id, data, id, data, …] of each."""
    args: list[Argument] = [now_ms, token, hold_ms, most_groups, most_members, *kinds]
    names = (keys.groups, keys.members, keys.records, keys.claims, keys.aggregating)
    return Call(script("glean"), names, args)


def merge(
    keys: QueueKeys,
    group: str,
    outcome: Literal["merge", "archive", "back"],
    *,
    token: str,
    in_ms: int,
    members: Iterable[tuple[str, str]] = (),
    merged: NewTask | None = None,
    attempt: bytes = b"",
    now_ms: int = 0,
) -> Call:
    """End a claim; members are (id, lock digest). Answers "ok", or why nothing was done."""
    new = merged or NewTask(id="", data=b"")
    args: list[Argument] = [now_ms, token, group, outcome, in_ms]
    args += (new.id, new.data, new.lock, new.lock_ttl_ms, attempt)
    for member in members:
        args += member
    names = (
        keys.stream,
        keys.index,
        keys.locks,
        keys.records,
        keys.aggregating,
        keys.groups,
        keys.members,
        keys.claims,
        keys.archived,
        keys.history,
        keys.totals,
    )
    return Call(script("merge"), names, args)
