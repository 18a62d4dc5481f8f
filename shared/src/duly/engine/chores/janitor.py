"""The janitor: keeps what is kept within its bounds of count and age, a batch at a time."""

import re
from datetime import timedelta
from typing import Literal

from duly.clock import to_ms
from duly.engine import scripts
from duly.engine.keys import queue_keys
from duly.engine.locks import Locks
from duly.engine.replies import described_ms, text_map, texts
from duly.engine.store import Store
from duly.runtime.settings import ArchiveSettings

_BATCH = 500
_DELIVERY = re.compile(r"[a-z0-9_.-]{1,64}/\d{1,15}-\d{1,15}")
_REMEMBER = timedelta(minutes=5)
"""How long a delivery is remembered at least: longer than a courier may take for it."""
_MOST_PARTS = 20
"""Parts of the locks looked at in one turn, of 500 each; the next turn goes on there."""
_SHOW_LOST = timedelta(hours=1)
"""How long a dead server is still shown."""
_REMEMBER_CLAIM = timedelta(days=30)
"""How long the last claim of an entry that is gone is remembered, should it come back."""
_MOST_FIELDS = 10
"""Most fields that one entry has in `ticks`; with more there are some of entries gone."""
_SHOW_ENTRY = timedelta(days=1)
"""How long a schedule entry is shown that no scheduler announces any more."""


class Janitor:
    """Drops archived and quarantined tasks beyond their bounds, and completed ones past retention.

    What it drops of the archive is counted: the loss is never silent.
    """

    def __init__(
        self,
        store: Store,
        queue: str,
        *,
        bounds: ArchiveSettings | None = None,
        every: timedelta = timedelta(seconds=10),
    ) -> None:
        self._store, self._queue, self._every = store, queue, every
        self._bounds = bounds or ArchiveSettings()
        self._cursor = b"0"

    async def turn(self) -> timedelta:
        """Drop one batch of each; return how long to rest, zero while there is more."""
        full = False
        for state in ("archived", "quarantined", "completed"):
            full = await self._prune(state) >= _BATCH or full
        full = await self._forget_delivered() >= _BATCH or full
        await self._forget()
        await self._forget_claims()
        await self._unlock()
        return timedelta(0) if full else self._every

    async def _unlock(self) -> None:
        """Drop unique locks whose time is over: who frees them may be long gone."""
        keys, locks = queue_keys(self._queue), Locks(self._store)
        for _ in range(_MOST_PARTS):
            self._cursor, _ = await locks.sweep(keys, self._cursor)
            if self._cursor == b"0":
                break

    async def _forget(self) -> None:
        """Drop descriptions that nobody renews: of lost servers and of entries taken out."""
        keys = queue_keys(self._queue)
        leases, servers, entries, told = await self._store.connection.many(
            [
                ("ZRANGE", keys.leases, 0, -1),
                ("HGETALL", keys.servers),
                ("HGETALL", keys.entries),
                ("HKEYS", keys.commands),
            ]
        )
        now_ms, alive = self._store.now_ms(), set(texts(leases))
        lost = [
            server
            for server, description in text_map(servers).items()
            if server not in alive and now_ms - described_ms(description) > to_ms(_SHOW_LOST)
        ]
        gone = [
            entry
            for entry, description in text_map(entries).items()
            if now_ms - described_ms(description) > to_ms(_SHOW_ENTRY)
        ]
        deaf = [server for server in texts(told) if server not in alive]
        for key, names in ((keys.servers, lost), (keys.entries, gone), (keys.commands, deaf)):
            if names:
                await self._store.connection.command("HDEL", key, *names)
        for entry in gone:
            history = keys.tick_history(entry)
            await self._store.connection.command("PEXPIRE", history, scripts.TICKS_KEPT_MS)

    async def _forget_claims(self) -> None:
        """Drop claims and counts of entries that have been gone for long: ids may come and go."""
        keys, connection = queue_keys(self._queue), self._store.connection
        fields, known = await connection.many([("HLEN", keys.ticks), ("HLEN", keys.entries)])
        if fields <= _MOST_FIELDS * known:
            return
        ticks, entries = await connection.many([("HGETALL", keys.ticks), ("HKEYS", keys.entries)])
        claims, described = text_map(ticks), set(texts(entries))
        before_ms = self._store.now_ms() - to_ms(_REMEMBER_CLAIM)
        gone = [
            field
            for field in claims
            if (entry := field.partition(":")[0]) not in described
            and _slot_ms(claims.get(entry, b"")) < before_ms
        ]
        for start in range(0, len(gone), _BATCH):
            await connection.command("HDEL", keys.ticks, *gone[start : start + _BATCH])

    async def _forget_delivered(self) -> int:
        """Forget what came from outboxes that hold it no more; return how much was looked at."""
        connection, delivered = self._store.connection, queue_keys(self._queue).delivered
        before = self._store.now_ms() - to_ms(_REMEMBER)
        found = texts(
            await connection.command("ZRANGEBYSCORE", delivered, "-inf", before, "LIMIT", 0, _BATCH)
        )
        ours = [name.rpartition("/") for name in found if _DELIVERY.fullmatch(name)]
        looks = [("XRANGE", queue_keys(queue).outbox, entry, entry) for queue, _, entry in ours]
        letters = await connection.many(looks) if looks else ()
        still = {"/".join(name[::2]) for name, there in zip(ours, letters, strict=True) if there}
        gone = [name for name in found if name not in still]
        if gone:
            await connection.command("ZREM", delivered, *gone)
        return len(gone)

    async def _prune(self, state: Literal["archived", "quarantined", "completed"]) -> int:
        kept_by_score = state == "completed"
        call = scripts.prune(
            queue_keys(self._queue),
            state,
            max_age_ms=0 if kept_by_score else to_ms(self._bounds.max_age),
            max_count=-1 if kept_by_score else self._bounds.max_count,
            count_as="" if kept_by_score else f"{state}_dropped",
            most=_BATCH,
        )
        return int(await self._store.run(call))


def _slot_ms(claim: bytes) -> int:
    """Return the slot of "slot-ms task-id", 0 when there is none."""
    slot = claim.partition(b" ")[0]
    return int(slot) if slot.isdigit() and len(slot) < 16 else 0  # noqa: PLR2004
