"""What operators see of single tasks, and what they and the janitor do to them and to sets."""

from typing import Literal

from duly.engine.keys import GROUP, QueueKeys
from duly.engine.scripts.call import Call, script


def look(keys: QueueKeys, task_id: str) -> Call:
    """Read one task. Answers its state and what is known of it, see look.lua; None: not here."""
    names = (
        keys.stream,
        keys.index,
        keys.records,
        keys.tries,
        keys.history,
        keys.results,
        keys.servers,
        keys.scheduled,
        keys.retry,
        keys.archived,
        keys.completed,
        keys.quarantined,
        keys.aggregating,
    )
    return Call(script("look"), names, (GROUP, task_id))


def page(keys: QueueKeys, state: str, *, first: int, last: int, newest: bool) -> Call:
    """Read the tasks of a state's set from place `first` to `last`. Answers, see page.lua."""
    names = (getattr(keys, state), keys.records, keys.tries, keys.history, keys.results)
    return Call(script("page"), names, (first, last, int(newest)))


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
        keys.aggregating,
        keys.members,
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


def weigh(keys: QueueKeys, *, samples: int = 20) -> Call:
    """Weigh a queue by a sample of each of its keys. Answers bytes, or -1: not allowed."""
    return Call(script("weigh"), keys.everything(), (samples,))
