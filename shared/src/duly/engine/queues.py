"""Which queues there are, how each does, and its pause."""

import re
from datetime import timedelta

from duly.clock import from_unix_ms
from duly.engine import scripts
from duly.engine.counters import MINUTE_MS, last_minute
from duly.engine.fleet import Fleet
from duly.engine.keys import QUEUES, QueueKeys, queue_keys
from duly.engine.pages import Pages
from duly.engine.replies import entry_instant, sum_counts, text_map, texts
from duly.engine.reports import QueueReport, ServerStatus
from duly.engine.store import Store
from duly.errors import ConfigError, NotFoundError
from duly.job import NAME_PATTERN


class Queues:
    """The known queues: those something was enqueued to, or that a worker serves."""

    def __init__(self, store: Store) -> None:
        self._store, self._fleet = store, Fleet(store)

    async def names(self) -> list[str]:
        """Return the names of all, sorted; what a stranger put there and is no name is not one."""
        names = texts(await self._store.connection.command("SMEMBERS", QUEUES))
        return sorted(name for name in names if re.fullmatch(NAME_PATTERN, name))

    async def reports(self) -> list[QueueReport]:
        """Report every queue, by name."""
        return [await self.report(queue_keys(name)) for name in await self.names()]

    async def keys(self, name: str) -> QueueKeys:
        """Return the keys of a queue that is known.

        Raises:
            NotFoundError: It is not.
        """
        try:
            keys = queue_keys(name)
        except ConfigError:
            raise NotFoundError("queue", name) from None
        if not await self._store.connection.command("SISMEMBER", QUEUES, name):
            raise NotFoundError("queue", name)
        return keys

    async def memory(self, keys: QueueKeys) -> int | None:
        """See `Inspector.memory`."""
        size = int(await self._store.run(scripts.weigh(keys)))
        return None if size < 0 else size

    async def pause(self, keys: QueueKeys) -> None:
        """See `Inspector.pause`."""
        await self._store.connection.command("SET", keys.paused, self._store.now_ms(), "NX")
        await self._store.poke(keys)

    async def resume(self, keys: QueueKeys) -> None:
        """See `Inspector.resume`."""
        await self._store.connection.command("DEL", keys.paused)
        await self._store.poke(keys)

    async def report(self, keys: QueueKeys) -> QueueReport:
        """Read a queue's counts: each in constant time, in three round trips."""
        group = await Pages(self._store, keys).group()
        now_ms = self._store.now_ms()
        counted = (keys.scheduled, keys.retry, keys.archived, keys.completed, keys.quarantined)
        answers = await self._store.connection.many(
            [
                ("XLEN", keys.stream),
                *(("ZCARD", key) for key in (*counted, keys.aggregating)),
                ("HGETALL", keys.totals),
                ("HGETALL", keys.hour(now_ms)),
                ("HGETALL", keys.hour(now_ms - MINUTE_MS)),
                ("HGETALL", keys.day(now_ms)),
                ("GET", keys.paused),
                ("XRANGE", keys.stream, b"(" + group["last-delivered-id"], "+", "COUNT", 1),
            ]
        )
        length, scheduled, retry, archived, completed, quarantined, aggregating = answers[:7]
        totals, today = text_map(answers[7]), text_map(answers[10])
        paused, oldest = answers[11:]
        active = min(int(group["pending"]), length)
        live = [
            server
            for server in await self._fleet.of(keys)
            if server.status is not ServerStatus.LOST
        ]
        since = entry_instant(oldest[0][0]) if oldest else None
        hours = (text_map(answers[8]), text_map(answers[9]))
        return QueueReport(
            name=keys.name,
            waiting=length - active,
            active=active,
            scheduled=scheduled,
            retry=retry,
            archived=archived,
            completed=completed,
            quarantined=quarantined,
            aggregating=aggregating,
            processed=sum_counts(totals, "processed"),
            failed=sum_counts(totals, "failed"),
            crashed=sum_counts(totals, "crashed"),
            archive_dropped=sum_counts(totals, "archived_dropped"),
            processed_per_minute=last_minute(hours, "processed", now_ms),
            failed_per_minute=last_minute(hours, "failed", now_ms),
            processed_today=sum_counts(today, "processed"),
            failed_today=sum_counts(today, "failed"),
            oldest_waiting=max(timedelta(0), from_unix_ms(now_ms) - since) if since else None,
            servers=len(live),
            concurrency=sum(server.concurrency for server in live),
            paused_since=from_unix_ms(int(paused)) if paused and paused.isdigit() else None,
        )
