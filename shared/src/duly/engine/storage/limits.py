"""Limits of kinds, across all servers of a queue: how many run at once, how often one begins."""

from collections.abc import Sequence

from duly.engine.storage import scripts
from duly.engine.storage.decoding import texts
from duly.engine.storage.keys import QueueKeys, queue_keys
from duly.engine.storage.scripts import Asking, Limit
from duly.engine.storage.store import BATCH, Store
from duly.job import Policy

_US = 1_000_000
_RUNNING = ":running"


def limit_of(policy: Policy) -> Limit | None:
    """Return the limit that a policy sets, or None when it sets none."""
    rate = policy.rate
    if policy.max_running is None and rate is None:
        return None
    most = policy.max_running or 0
    if rate is None:
        return Limit(most)
    # Rounded up: never more than was asked for.
    every_us = -int(-rate.per.total_seconds() * _US // rate.count)
    return Limit(most, max(1, every_us), rate.burst)


async def ask(
    store: Store, queue: str, kind: str, limit: Limit, tasks: Sequence[Asking]
) -> list[int]:
    """Ask for tasks whether they may run; defer those that may not.

    Returns:
        For each 0 (it may), -1 (it is not this server's any more), or for how many ms it was
        deferred. Asked again after a lost answer, a task with a permit keeps it; its rate
        may lose a token by that.
    """
    answers: list[int] = []
    for start in range(0, len(tasks), BATCH):
        part = tasks[start : start + BATCH]
        answers += await store.run(scripts.acquire_permits(queue_keys(queue), kind, limit, part))
    return answers


async def give_back(store: Store, queue: str, kind: str, stream_ids: Sequence[bytes]) -> int:
    """Release permits and wake as many tasks that wait for one; return how many."""
    woken = 0
    for start in range(0, len(stream_ids), BATCH):
        part = stream_ids[start : start + BATCH]
        call = scripts.release_permits(queue_keys(queue), kind, most=len(part), stream_ids=part)
        woken += int(await store.run(call))
    return woken


async def release_free_permits(store: Store, queue: str) -> int:
    """Wake tasks of every limited kind for the permits that are free; return how many.

    For when nobody released the permits: their server died.
    """
    woken = 0
    for kind in await limited_kinds(store, queue_keys(queue)):
        call = scripts.release_permits(queue_keys(queue), kind, most=BATCH)
        # As many as ever are free: tasks that were woken count for nothing until they ask again.
        woken += int(await store.run(call))
    return woken


async def limited_kinds(store: Store, keys: QueueKeys) -> list[str]:
    """Return the kinds of which only so many may run at once in a queue."""
    fields = texts(await store.connection.command("HKEYS", keys.limits))
    return [field.removesuffix(_RUNNING) for field in fields if field.endswith(_RUNNING)]
