"""What tasks of a group go through until one task stands in their place."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from duly.engine.storage.keys import QueueKeys
from duly.engine.storage.scripts.call import Call, NewTask, call, minute_of_hour
from duly.engine.storage.scripts.declaration import Script


class _Add(NamedTuple):
    now_ms: int
    max_length: int


class _Task(NamedTuple):
    id: str
    data: bytes
    lock: str
    lock_ttl_ms: int
    group: str
    grace_ms: int
    delay_ms: int
    max_size: int


_GROUP_ADD = Script(
    "group_add",
    ("stream", "index", "locks", "records", "aggregating", "groups", "members", "claims"),
    _Add,
    rows={"task": _Task},
)


def group_add(
    keys: QueueKeys, tasks: Iterable[NewTask], *, max_length: int, now_ms: int = 0
) -> Call:
    """Add tasks, each with a `group`, to their groups. Answers one item a task."""
    rows = [
        _Task(task.id, task.data, task.lock, task.lock_ttl_ms, *(task.group or ("", 0, 0, 1)))
        for task in tasks
    ]
    return call(_GROUP_ADD, keys, _Add(now_ms, max_length), rows=rows)


class _Claim(NamedTuple):
    now_ms: int
    token: str
    hold_ms: int
    most_groups: int
    most_members: int
    passed: int


class _Mergeable(NamedTuple):
    kind: str


_GROUP_CLAIM = Script(
    "group_claim",
    ("groups", "members", "records", "claims", "aggregating"),
    _Claim,
    rows={"mergeable": _Mergeable},
)


def group_claim(
    keys: QueueKeys,
    kinds: Iterable[str],
    *,
    token: str,
    hold_ms: int,
    most_groups: int = 3,
    most_members: int = 1_000,
    passed: int = 0,
    now_ms: int = 0,
) -> Call:
    """Claim groups that are due.

    Answers how many due groups the next call is to pass over, then of each that was claimed
    [name, times claimed, id, data, id, data, …].
    """
    arguments = _Claim(now_ms, token, hold_ms, most_groups, most_members, passed)
    return call(_GROUP_CLAIM, keys, arguments, rows=map(_Mergeable, kinds))


class _ExpireGroups(NamedTuple):
    now_ms: int
    passed: int
    most: int


_EXPIRE_GROUPS = Script(
    "expire_groups", ("groups", "members", "claims", "aggregating"), _ExpireGroups
)


def expire_groups(keys: QueueKeys, *, passed: int = 0, most: int = 100, now_ms: int = 0) -> Call:
    """Drop groups without members. Answers how many to pass over next, and how many it dropped."""
    return call(_EXPIRE_GROUPS, keys, _ExpireGroups(now_ms, passed, most))


class _Complete(NamedTuple):
    now_ms: int
    token: str
    group: str
    outcome: Literal["merge", "archive", "quarantine", "back"]
    minute: int
    in_ms: int
    id: str
    data: bytes
    lock: str
    lock_ttl_ms: int
    attempt: bytes


class _Member(NamedTuple):
    id: str
    lock: str


_GROUP_COMPLETE = Script(
    "group_complete",
    ("stream", "index", "locks", "records", "aggregating", "groups", "members", "claims",
     "archived", "history", "totals", "quarantined"),
    _Complete,
    own_keys=("hour", "day"),
    rows={"member": _Member},
)  # fmt: skip


def group_complete(
    keys: QueueKeys,
    group: str,
    outcome: Literal["merge", "archive", "quarantine", "back"],
    *,
    token: str,
    in_ms: int,
    now_ms: int,
    members: Iterable[tuple[str, str]] = (),
    merged: NewTask | None = None,
    attempt: bytes = b"",
    at_ms: int = 0,
) -> Call:
    """End a claim, or take members out of it; these are (id, lock digest).

    Answers "ok", the ids of the members that were archived or quarantined, or why nothing was done.
    """
    new = merged or NewTask(id="", data=b"")
    arguments = _Complete(
        at_ms, token, group, outcome, minute_of_hour(now_ms), in_ms,
        new.id, new.data, new.lock, new.lock_ttl_ms, attempt,
    )  # fmt: skip
    own = (keys.hour(now_ms), keys.day(now_ms))
    return call(_GROUP_COMPLETE, keys, arguments, own_keys=own, rows=members)
