"""Removes a queue with everything that is its own, so that nothing of it comes back."""

from duly.engine.keys import GROUP, QUEUES, QueueKeys
from duly.engine.limits import limited_kinds
from duly.engine.replies import texts
from duly.engine.store import Store
from duly.errors import DulyError

_HOUR_MS, _DAY_MS = 3_600_000, 86_400_000
_HOURS_KEPT, _DAYS_KEPT = 74, 93


class QueueInUseError(DulyError):
    """The queue is served, or holds tasks, and was not to be removed by force."""

    def __init__(self, queue: str, why: str) -> None:
        self.queue, self.why = queue, why
        super().__init__(f"queue {queue} {why}")


async def remove(store: Store, keys: QueueKeys, *, force: bool) -> int:
    """Delete a queue's keys and take it from the list; return how many tasks went with it.

    Raises:
        QueueInUseError: A live server serves it or a task is active, whatever `force` says; or
            it holds tasks and `force` is not given.
    """
    held, active, leases = await _state(store, keys)
    if leases:
        raise QueueInUseError(keys.name, "is served by live workers: stop them first")
    if active:
        raise QueueInUseError(keys.name, f"has {active} active tasks: wait until they have ended")
    if held and not force:
        raise QueueInUseError(keys.name, f"holds {held} tasks: remove it by force, or empty it")
    connection, now_ms = store.connection, store.now_ms()
    told, ticked = await connection.many([("HKEYS", keys.entries), ("HKEYS", keys.ticks)])
    entries = {name.partition(":")[0] for name in texts([*told, *ticked])}
    hours = [keys.hour(now_ms - back * _HOUR_MS) for back in range(-1, _HOURS_KEPT)]
    days = [keys.day(now_ms - back * _DAY_MS) for back in range(-1, _DAYS_KEPT)]
    ticks = [keys.tick_history(entry) for entry in entries]
    kinds = await limited_kinds(store, keys)
    limited = [key for kind in kinds for key in (keys.permits(kind), keys.parked(kind))]
    # Taken from the list first: a crash in between leaves keys that a second call removes.
    await connection.command("SREM", QUEUES, keys.name)
    await connection.command("UNLINK", *keys.everything(), *hours, *days, *ticks, *limited)
    store.forget(keys.name)
    return held


async def _state(store: Store, keys: QueueKeys) -> tuple[int, int, int]:
    counted = (keys.scheduled, keys.retry, keys.archived, keys.completed, keys.quarantined)
    await store.ensure_group(keys)
    answers = await store.connection.many(
        [
            ("XLEN", keys.stream),
            ("XLEN", keys.outbox),
            ("HLEN", keys.joins),
            *(("ZCARD", key) for key in (*counted, keys.aggregating)),
            ("XPENDING", keys.stream, GROUP),
            ("ZCOUNT", keys.leases, store.now_ms(), "+inf"),
        ]
    )
    *held, active, leases = answers
    return sum(held), int(active[0]), int(leases)
