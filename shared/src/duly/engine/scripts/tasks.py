"""What clients and workers do to tasks: one function a script, whose head says more."""

from collections.abc import Iterable, Sequence
from itertools import groupby

from duly.engine.keys import GROUP, QueueKeys
from duly.engine.scripts.call import Argument, Call, NewTask, Settlement, minute_of_hour, script

ATTEMPTS_KEPT = 20


def add(
    keys: QueueKeys, tasks: Sequence[NewTask], *, max_length: int, whole: bool, now_ms: int = 0
) -> Call:
    """Add tasks; `whole`: all of them or none. Answers one item a task, see add.lua."""
    full = any(task.due_ms or task.lock for task in tasks)
    mode, shape = "all" if whole else "each", "full" if full else "plain"
    args: list[Argument] = [now_ms, max_length, mode, keys.control, shape]
    args += [task.id for task in tasks]
    args += [task.data for task in tasks]
    if full:
        args += [task.due_ms for task in tasks]
        args += [task.lock for task in tasks]
        args += [task.lock_ttl_ms for task in tasks]
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
    locked = any(locks)
    args: list[Argument] = [GROUP, minute_of_hour(now_ms), int(dirty), len(entries), int(locked)]
    args += entries
    args += ids
    if locked:
        args += locks
    for kind, together in groupby(kinds):
        args += (kind, len(list(together)))
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
        keys.day(now_ms),
        keys.results,
    )
    return Call(script("finish"), names, args)


def settle(
    keys: QueueKeys, settlements: Iterable[Settlement], *, now_ms: int, at_ms: int = 0
) -> Call:
    """Settle tasks that failed, were given up, or keep a result. Answers refused entry ids.

    `now_ms` only chooses the counters' minute and day; instants go by the server, or by `at_ms`
    in tests.
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
        keys.scheduled,
        keys.day(now_ms),
    )
    return Call(script("settle"), names, args)


def draft(keys: QueueKeys, drafts: Iterable[tuple[bytes, str, bytes]]) -> Call:
    """Keep results so far, as (entry id, task id, JSON). Answers the entry ids refused."""
    args: list[Argument] = []
    for entry, task_id, result in drafts:
        args += (entry, task_id, result)
    return Call(script("draft"), (keys.index, keys.results), args)


def requeue(keys: QueueKeys, held: Iterable[tuple[bytes, str]]) -> Call:
    """Hand back (entry id, task id) pairs unchanged. Answers how many."""
    args: list[Argument] = [GROUP]
    for entry, task_id in held:
        args += (entry, task_id)
    return Call(script("requeue"), (keys.stream, keys.index, keys.results), args)


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
        keys.aggregating,
        keys.groups,
        keys.members,
        keys.claims,
        keys.history,
    )
    return Call(script("move"), names, (now_ms, most))
