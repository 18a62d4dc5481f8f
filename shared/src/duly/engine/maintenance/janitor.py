"""The janitor: keeps what a queue retains within bounds of count and age, a batch at a time."""

import re
from datetime import timedelta
from functools import partial
from typing import Literal

import structlog

from duly.clock import to_ms
from duly.engine.maintenance.steps import take_each
from duly.engine.storage import scripts
from duly.engine.storage.decoding import described_ms, text_map, texts
from duly.engine.storage.keys import queue_keys
from duly.engine.storage.store import Store
from duly.runtime.settings import ArchiveSettings

_BATCH = 500
_DELIVERY = re.compile(r"[a-z0-9_.-]{1,64}/\d{1,15}-\d{1,15}")
_REMEMBER = timedelta(minutes=5)
"""How long a delivery is remembered at least: longer than a relay may take over it."""
_MOST_PARTS = 20
"""Parts of the locks, of 500 each, that one run looks at; the next run continues there."""
_SHOW_LOST = timedelta(hours=1)
"""How long a dead server is still shown."""
_REMEMBER_CLAIM = timedelta(days=30)
"""How long the last claim of a removed entry is remembered, should the entry come back."""
_MOST_FIELDS = 12
"""Most fields that one entry has in `ticks`; more fields belong to entries that are gone."""
_MOST_COMPLETED = 100_000
"""Most completed tasks kept in a queue, whatever their retention; the oldest go first."""
_MOST_COMPLETED_BYTES = 256 * 1024 * 1024
"""Most bytes of their messages and results."""
_MOST_JOINS = 100_000
"""Most joins that wait in a queue for their members."""
_JOIN_WAITS = timedelta(days=90)
"""How long a join waits for its members at most: as long as the archive keeps them by default."""
_SHOW_ENTRY = timedelta(days=1)
"""How long a schedule entry is shown that no scheduler announces."""


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
        self._cursor, self._join_cursor, self._groups_passed = b"0", b"0", 0
        self._log = structlog.get_logger("duly.engine")

    async def run_once(self) -> timedelta:
        """Drop one batch of each; return how long to rest, zero while there is more.

        Raises:
            BrokerError: The first one, after every other part was tidied: one key of a wrong type
                keeps nobody else's bounds from being held.
        """
        dropped = await take_each(
            (
                partial(self._prune, "archived"),
                partial(self._prune, "quarantined"),
                partial(self._prune, "completed"),
                self._forget_delivered,
                self._forget_descriptions,
                self._forget_claims,
                self._unlock,
                self._expire_joins,
                self._expire_groups,
            )
        )
        return timedelta(0) if max(dropped) >= _BATCH else self._every

    async def _unlock(self) -> int:
        """Drop expired unique locks, which nobody else may be left to free."""
        keys = queue_keys(self._queue)
        for _ in range(_MOST_PARTS):
            call = scripts.expire_locks(keys, cursor=self._cursor, most=_BATCH)
            self._cursor = bytes((await self._store.run(call))[0])
            if self._cursor == b"0":
                break
        return 0

    async def _expire_groups(self) -> int:
        """Drop groups whose tasks have gone in other ways than by a merge."""
        call = scripts.expire_groups(queue_keys(self._queue), passed=self._groups_passed)
        self._groups_passed, _ = await self._store.run(call)
        return 0

    async def _expire_joins(self) -> int:
        """Cancel joins whose members will hardly come any more: revoked, or dropped."""
        keys, cancelled = queue_keys(self._queue), 0
        for _ in range(_MOST_PARTS):
            call = scripts.expire_joins(
                keys,
                cursor=self._join_cursor,
                most=_BATCH,
                max_age_ms=to_ms(_JOIN_WAITS),
                max_count=_MOST_JOINS,
            )
            cursor, dropped = await self._store.run(call)
            self._join_cursor, cancelled = bytes(cursor), cancelled + dropped
            if self._join_cursor == b"0":
                break
        if cancelled:
            self._log.warning("Joins cancelled", queue=self._queue, count=cancelled)
        return 0

    async def _forget_descriptions(self) -> int:
        """Drop descriptions that nobody renews: of lost servers and of removed entries."""
        keys = queue_keys(self._queue)
        leases, servers, entries, commanded = await self._store.connection.many(
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
        unheard = [server for server in texts(commanded) if server not in alive]
        for key, names in ((keys.servers, lost), (keys.entries, gone), (keys.commands, unheard)):
            if names:
                await self._store.connection.command("HDEL", key, *names)
        for entry in gone:
            history = keys.tick_history(entry)
            await self._store.connection.command("PEXPIRE", history, scripts.TICKS_KEPT_MS)
        return 0

    async def _forget_claims(self) -> int:
        """Drop claims and counts of entries that were removed long ago: ids may come and go."""
        keys, connection = queue_keys(self._queue), self._store.connection
        fields, known = await connection.many([("HLEN", keys.ticks), ("HLEN", keys.entries)])
        if fields <= _MOST_FIELDS * known:
            return 0
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
        return 0

    async def _forget_delivered(self) -> int:
        """Forget deliveries whose outbox no longer holds them; return how many were looked at."""
        connection, delivered = self._store.connection, queue_keys(self._queue).delivered
        before = self._store.now_ms() - to_ms(_REMEMBER)
        found = texts(
            await connection.command("ZRANGEBYSCORE", delivered, "-inf", before, "LIMIT", 0, _BATCH)
        )
        ours = [name.rpartition("/") for name in found if _DELIVERY.fullmatch(name)]
        looks = [("XRANGE", queue_keys(queue).outbox, entry, entry) for queue, _, entry in ours]
        entries = await connection.many(looks) if looks else ()
        still = {"/".join(name[::2]) for name, there in zip(ours, entries, strict=True) if there}
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
            max_count=_MOST_COMPLETED if kept_by_score else self._bounds.max_count,
            max_bytes=_MOST_COMPLETED_BYTES if kept_by_score else -1,
            count_as=f"{state}_dropped",
            most=_BATCH,
        )
        return int(await self._store.run(call))


def _slot_ms(claim: bytes) -> int:
    """Return the slot of "slot-ms task-id", 0 when there is none."""
    slot = claim.partition(b" ")[0]
    return int(slot) if slot.isdigit() and len(slot) < 16 else 0  # noqa: PLR2004
