"""Queues: how each does and did; pause, resume and remove them."""

import builtins
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from duly.clock import from_unix_ms
from duly.engine.inspection import removal
from duly.engine.inspection.counters import MINUTE_MS, last_minute, read_days, read_minutes
from duly.engine.inspection.known_queues import KnownQueues
from duly.engine.inspection.pages import Pages
from duly.engine.inspection.servers import servers_of
from duly.engine.storage.decoding import (
    entry_instant,
    overdue_in,
    pause_note,
    pause_note_in,
    sum_counts,
    text_map,
)
from duly.engine.storage.keys import QueueKeys
from duly.engine.storage.reports import DayReport, MinuteReport, QueueReport, ServerStatus
from duly.errors import BrokerDownError, BrokerError

_SAMPLES = 20
"""Elements of each key by which its size is estimated."""


class Queues:
    """The known queues. Methods that take a name raise `NotFoundError` when there is no such."""

    def __init__(self, known: KnownQueues) -> None:
        self._known, self._store = known, known.store

    async def list(self) -> Sequence[QueueReport]:
        """Report every known queue, by name; one that cannot be read says why in its `error`."""
        answers = await self._known.each(self._report)
        failed = [
            QueueReport(name=name, error=str(error)) for name, error in answers.unreadable.items()
        ]
        return sorted([*answers.read.values(), *failed], key=lambda report: report.name)

    async def names(self) -> Sequence[str]:
        """Return the names of the known queues, sorted: one command, however many there are."""
        return await self._known.names()

    async def get(self, name: str) -> QueueReport:
        """Report one queue.

        Raises:
            NotFoundError: Nothing was ever enqueued to it and no worker serves it.
            UnreadableQueueError: One of its keys holds something that is not duly's.
        """
        return await self._known.report(await self._known.keys(name), self._report)

    async def memory(self, name: str) -> int | None:
        """Return about how many bytes a queue takes in the broker, by a sample of each of its keys.

        None where the broker's user may not ask. The counts of minutes and days are left out.
        """
        keys = await self._known.keys(name)
        try:
            sizes = await self._store.connection.many(
                [("MEMORY", "USAGE", key, "SAMPLES", _SAMPLES) for key in keys.everything()]
            )
        except BrokerDownError:
            raise
        except BrokerError:
            return None
        return sum(int(size) for size in sizes if size is not None)

    async def minutes(self, name: str, *, count: int = 60) -> Sequence[MinuteReport]:
        """Return what a queue did in each of the last `count` minutes, oldest first.

        Raises:
            ValueError: The count is not within 1 to 4,320 minutes (72 hours).
        """
        return await read_minutes(self._store, await self._known.keys(name), count)

    async def days(self, name: str, *, count: int = 90) -> Sequence[DayReport]:
        """Return what a queue did in each of the last `count` days of UTC, oldest first.

        Raises:
            ValueError: The count is not within 1 to 90 days.
        """
        return await read_days(self._store, await self._known.keys(name), count)

    async def pause(self, name: str, *, by: str = "", reason: str = "") -> None:
        """Stop workers from taking tasks of a queue; running tasks end. Idempotent.

        Args:
            name: The queue.
            by: Who pauses it, for the reports; 100 characters are kept.
            reason: Why, for the reports; 500 characters are kept. Of a queue that is paused
                already, it takes the place of the old one.
        """
        keys = await self._known.keys(name)
        calls: builtins.list[tuple[Any, ...]] = [("SET", keys.paused, self._store.now_ms(), "NX")]
        if by or reason:
            calls.append(("SET", keys.pause_note, pause_note(by, reason)))
        await self._store.connection.many(calls)
        await self._store.poke(keys)

    async def resume(self, name: str) -> None:
        """Undo `pause`. Idempotent."""
        keys = await self._known.keys(name)
        await self._store.connection.command("DEL", keys.paused, keys.pause_note)
        await self._store.poke(keys)

    async def remove(self, name: str, *, force: bool = False) -> int:
        """Remove a queue that no worker serves; return how many tasks were removed with it.

        Raises:
            QueueInUseError: It is served or has active tasks, or holds tasks without `force`.
        """
        return await removal.remove(self._store, await self._known.keys(name), force=force)

    async def _first_group(self, keys: QueueKeys) -> bytes:
        """Return when the first group is due; b"": there is none, or strangers hold the key."""
        try:
            return _score(
                await self._store.connection.command("ZRANGE", keys.groups, 0, 0, "WITHSCORES")
            )
        except BrokerDownError:
            raise
        except BrokerError:
            return b""

    async def _report(self, keys: QueueKeys) -> QueueReport:
        """Read a queue's counts: each in constant time, in four round trips."""
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
                ("GET", keys.pause_note),
                *(("ZRANGE", key, 0, 0, "WITHSCORES") for key in (keys.scheduled, keys.retry)),
                # Not shown: a queue of which one of these cannot be read is not as it should be.
                *(
                    ("HLEN", key)
                    for key in (keys.index, keys.records, keys.history, keys.entries, keys.ticks)
                ),
            ]
        )
        length, scheduled, retry, archived, completed, quarantined, aggregating = answers[:7]
        totals, today = text_map(answers[7]), text_map(answers[10])
        paused, oldest, note = answers[11:14]
        by, reason = pause_note_in(note)
        active = min(int(group["pending"]), length)
        live = [
            server
            for server in await servers_of(self._store, keys)
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
            overdue=overdue_in(
                [*map(_score, answers[14:16]), await self._first_group(keys)], now_ms
            ),
            servers=len(live),
            concurrency=sum(server.concurrency for server in live),
            paused_since=from_unix_ms(int(paused)) if paused and paused.isdigit() else None,
            paused_by=by if paused else "",
            pause_reason=reason if paused else "",
        )


def _score(first: Sequence[bytes]) -> bytes:
    """Return the score of the first member of a sorted set; b"": it is empty."""
    return first[1] if first else b""
