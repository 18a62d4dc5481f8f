"""The Lua scripts: one function each, whose signature is the contract written at its head.

A function only builds a `Call`; whoever has a connection, asynchronous or not, runs it.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from duly.engine.keys import GROUP, QueueKeys

Argument = bytes | str | int
ATTEMPTS_KEPT = 20
TICKS_KEPT = 1_000
_MS_PER_MINUTE = 60_000


@dataclass(frozen=True, slots=True)
class Script:
    """A script's text, and the digest by which the broker knows it."""

    name: str
    text: str
    sha: str


@dataclass(frozen=True, slots=True)
class Call:
    """One run of a script: all keys share the hash tag of one queue."""

    script: Script
    keys: tuple[str, ...]
    args: Sequence[Argument]


@dataclass(slots=True, kw_only=True, eq=False)
class NewTask:
    """What `add` needs of one task. `due_ms` 0 means now; `lock` "" means not unique."""

    id: str
    data: bytes
    due_ms: int = 0
    lock: str = ""
    lock_ttl_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What becomes of one task that did not simply succeed: see settle.lua."""

    entry: bytes
    id: str
    kind: str
    verdict: Literal["retry", "archived", "completed", "quarantined", "dropped", "waiting"]
    in_ms: int = 0
    tries: str = "0 0"
    attempt: bytes = b""
    lock: str = ""
    result: bytes = b""
    outcomes: str = ""


@cache
def script(name: str) -> Script:
    """Return the script `lua/<name>.lua`."""
    text = files("duly.engine").joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")
    # The broker names scripts by SHA-1; nothing here relies on it being hard to forge.
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def minute_of_hour(unix_ms: int) -> int:
    """Return the minute within its hour."""
    return unix_ms // _MS_PER_MINUTE % 60


def add(
    keys: QueueKeys, tasks: Iterable[NewTask], *, max_length: int, whole: bool, now_ms: int = 0
) -> Call:
    """Add tasks; `whole`: all of them or none. Answers one item a task, see add.lua."""
    args: list[Argument] = [now_ms, max_length, "all" if whole else "each", keys.control]
    for task in tasks:
        args += (task.id, task.data, task.due_ms, task.lock, task.lock_ttl_ms)
    names = (keys.stream, keys.index, keys.scheduled, keys.locks, keys.records)
    return Call(script("add"), names, args)


def finish(
    keys: QueueKeys,
    *,
    entries: Sequence[bytes],
    ids: Sequence[str],
    kinds: Sequence[str],
    locks: Sequence[str],
    dirty: bool,
    now_ms: int,
) -> Call:
    """Settle tasks that succeeded. Answers the entry ids that were refused."""
    args: list[Argument] = [GROUP, minute_of_hour(now_ms), int(dirty), len(entries)]
    args += entries
    args += ids
    args += kinds
    args += locks
    names = (
        keys.stream,
        keys.index,
        keys.locks,
        keys.totals,
        keys.hour(now_ms),
        keys.records,
        keys.tries,
        keys.history,
        keys.cancels,
    )
    return Call(script("finish"), names, args)


def settle(
    keys: QueueKeys, settlements: Iterable[Settlement], *, now_ms: int, at_ms: int = 0
) -> Call:
    """Settle tasks that failed, were given up, or keep a result. Answers refused entry ids.

    `now_ms` only chooses the counter's minute; instants go by the server, or by `at_ms` in tests.
    """
    args: list[Argument] = [at_ms, GROUP, minute_of_hour(now_ms), ATTEMPTS_KEPT]
    for item in settlements:
        args += (item.entry, item.id, item.kind, item.verdict, item.in_ms, item.tries)
        args += (item.attempt, item.lock, item.result, item.outcomes)
    names = (
        keys.stream,
        keys.index,
        keys.locks,
        keys.totals,
        keys.hour(now_ms),
        keys.records,
        keys.tries,
        keys.history,
        keys.retry,
        keys.archived,
        keys.completed,
        keys.quarantined,
        keys.results,
        keys.cancels,
    )
    return Call(script("settle"), names, args)


def requeue(keys: QueueKeys, held: Iterable[tuple[bytes, str]]) -> Call:
    """Hand back (entry id, task id) pairs unchanged. Answers how many."""
    args: list[Argument] = [GROUP]
    for entry, task_id in held:
        args += (entry, task_id)
    return Call(script("requeue"), (keys.stream, keys.index), args)


def move(keys: QueueKeys, *, most: int = 200, now_ms: int = 0) -> Call:
    """Move due tasks to the stream. Answers [moved, ms until the next or -1]."""
    names = (
        keys.stream,
        keys.index,
        keys.scheduled,
        keys.retry,
        keys.records,
        keys.tries,
        keys.quarantined,
    )
    return Call(script("move"), names, (now_ms, most))


def beat(
    keys: QueueKeys, *, server: str, lease_ms: int, description: bytes, now_ms: int = 0
) -> Call:
    """Renew a lease. Answers [now-ms, known, paused, expired, ms until due or -1, cancels]."""
    names = (keys.leases, keys.servers, keys.paused, keys.scheduled, keys.retry, keys.cancels)
    return Call(script("beat"), names, (now_ms, server, lease_ms, description))


def reap(
    keys: QueueKeys,
    *,
    server: str,
    lease_ms: int,
    now_ms: int,
    max_crashes: int = 3,
    most: int = 200,
    at_ms: int = 0,
) -> Call:
    """Take a dead server's tasks. Answers -1 if it lives, else [waiting, quarantined, done]."""
    names = (
        keys.stream,
        keys.index,
        keys.leases,
        keys.history,
        keys.totals,
        keys.hour(now_ms),
        keys.records,
        keys.tries,
        keys.quarantined,
        keys.locks,
        keys.cancels,
    )
    args = (at_ms, GROUP, server, lease_ms, max_crashes, minute_of_hour(now_ms), most)
    return Call(script("reap"), names, args)


def suspects(keys: QueueKeys, *, now_ms: int = 0) -> Call:
    """Name the servers that may be dead. Answers their ids."""
    return Call(script("suspects"), (keys.stream, keys.leases), (now_ms, GROUP))


def leave(keys: QueueKeys, *, server: str) -> Call:
    """Say good-bye. Answers 0, or 1 when the server still holds tasks and nothing was done."""
    return Call(script("leave"), (keys.stream, keys.leases, keys.servers), (GROUP, server))


def tick(
    keys: QueueKeys,
    *,
    entry: str,
    slot_ms: int,
    interval_ms: int,
    overlap: str,
    task_id: str,
    data: bytes,
    now_ms: int = 0,
) -> Call:
    """Claim a slot. Answers [now-ms, outcome, task id]."""
    names = (keys.stream, keys.index, keys.ticks, keys.tick_history(entry))
    args = (now_ms, entry, slot_ms, interval_ms, overlap, task_id, data, TICKS_KEPT)
    return Call(script("tick"), names, args)


def operate(
    keys: QueueKeys,
    operation: Literal["run", "archive", "delete"],
    *,
    task_id: str,
    lock: str = "",
    now_ms: int = 0,
) -> Call:
    """Run, archive or delete a task. Answers "ok", "missing" or the state that forbids it."""
    names = (
        keys.stream,
        keys.index,
        keys.scheduled,
        keys.retry,
        keys.archived,
        keys.completed,
        keys.quarantined,
        keys.records,
        keys.tries,
        keys.history,
        keys.results,
        keys.locks,
        keys.cancels,
    )
    return Call(script("operate"), names, (now_ms, GROUP, operation, task_id, lock))


def cancel(
    keys: QueueKeys, *, task_id: str, outcome: Literal["archived", "dropped", "retry"]
) -> Call:
    """Ask for an active task to be stopped. Answers "ok", "missing" or its state."""
    names = (keys.stream, keys.index, keys.cancels)
    return Call(script("cancel"), names, (GROUP, task_id, outcome, keys.control))


def prune(
    keys: QueueKeys,
    state: Literal["archived", "completed", "quarantined"],
    *,
    max_age_ms: int = -1,
    max_count: int = -1,
    count_as: str = "",
    most: int = 500,
    now_ms: int = 0,
) -> Call:
    """Drop what is past the bounds of a set. Answers how many; repeat while it is `most`."""
    zset: str = getattr(keys, state)
    names = (zset, keys.index, keys.records, keys.tries, keys.history, keys.results, keys.totals)
    return Call(script("prune"), names, (now_ms, max_age_ms, max_count, most, count_as))
