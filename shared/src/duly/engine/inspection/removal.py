"""Removing a queue with all its keys, so that nothing of it comes back."""

from duly.engine.storage import scripts
from duly.engine.storage.decoding import texts
from duly.engine.storage.keys import KIND_KEYS, QUEUES, QueueKeys, entry_claim_key
from duly.engine.storage.limits import limited_kinds
from duly.engine.storage.store import Store
from duly.errors import DulyError
from duly.plurals import plural

_HOUR_MS, _DAY_MS = 3_600_000, 86_400_000
_HOURS_KEPT, _DAYS_KEPT = 74, 93


class QueueInUseError(DulyError):
    """The queue is served or holds tasks, so it was not removed."""

    def __init__(self, queue: str, why: str) -> None:
        self.queue, self.why = queue, why
        super().__init__(f"queue {queue} {why}")


async def remove(store: Store, keys: QueueKeys, *, force: bool) -> int:
    """Delete a queue's keys and its name; return how many tasks were deleted with it.

    Raises:
        QueueInUseError: A live server serves it or a task is active; or it holds tasks and
            `force` is not given.
    """
    connection, now_ms = store.connection, store.now_ms()
    told, ticked = await connection.many([("HKEYS", keys.entries), ("HKEYS", keys.ticks)])
    entries = {name.partition(":")[0] for name in texts([*told, *ticked])}
    hours = [keys.hour(now_ms - back * _HOUR_MS) for back in range(-1, _HOURS_KEPT)]
    days = [keys.day(now_ms - back * _DAY_MS) for back in range(-1, _DAYS_KEPT)]
    ticks = [keys.tick_history(entry) for entry in entries]
    kinds = await limited_kinds(store, keys)
    limited = [key for kind in kinds for key in (keys.permits(kind), keys.parked(kind))]
    others = (*hours, *days, *ticks, *limited)
    answer, count = await store.run(scripts.remove_queue(keys, force=force, others=others))
    if answer == b"served":
        raise QueueInUseError(keys.name, "is served by live workers: stop them first")
    if answer == b"active":
        raise QueueInUseError(
            keys.name, f"has {plural(count, 'active task')}: wait until they have ended"
        )
    if answer == b"held":
        raise QueueInUseError(
            keys.name,
            f"holds {plural(count, 'task')}: use force to remove it with its tasks, or empty it",
        )
    await _forget_claims(store, keys, entries)
    store.forget(keys.name)
    await connection.command("SREM", QUEUES, keys.name)
    # A process whose kinds name it publishes it again.
    await connection.command("SREM", KIND_KEYS.queues, keys.name)
    # A task was enqueued meanwhile, by a producer that registered the queue before its removal.
    if await connection.command("EXISTS", keys.stream):
        await connection.command("SADD", QUEUES, keys.name)
    return int(count)


async def _forget_claims(store: Store, keys: QueueKeys, entries: set[str]) -> None:
    """Delete the claims of entries whose last queue was this one; others have moved."""
    claims = [entry_claim_key(entry) for entry in entries]
    owners = await store.connection.many([("HGET", claim, "queue") for claim in claims])
    ours = [
        ("UNLINK", claim)
        for claim, owner in zip(claims, owners, strict=True)
        if owner is not None and owner.decode() == keys.name
    ]
    if ours:
        await store.connection.many(ours)
