"""Reads and operates the timetable that schedulers have announced."""

import secrets
from collections.abc import Sequence
from typing import Any

import msgspec

from duly.clock import from_unix_ms
from duly.engine.inspection.known_queues import KnownQueues, check_name
from duly.engine.inspection.pages import check_limit
from duly.engine.storage import scripts
from duly.engine.storage.codec import Message, encode
from duly.engine.storage.decoding import EntryRecord, entry_from, text_map, tick_from
from duly.engine.storage.keys import QueueKeys, queue_keys
from duly.engine.storage.reports import EntryReport, TickReport
from duly.engine.storage.store import lock_digest
from duly.errors import DuplicateTaskError, NotFoundError


class Schedules:
    """The entries of the timetable, each under the keys of the queue that it enqueues to.

    Methods that take an entry raise `NotFoundError` when no scheduler announced it.
    """

    def __init__(self, known: KnownQueues) -> None:
        self._known, self._store = known, known.store

    async def list(self) -> Sequence[EntryReport]:
        """Report every entry of the timetable, by id.

        A queue that cannot be read hides only its own entries; `Queues.list` says why.
        """
        answers = await self._known.each(self.of_queue)
        found = [report for reports in answers.read.values() for report in reports]
        return sorted(found, key=lambda report: report.id)

    async def of_queue(self, keys: QueueKeys) -> Sequence[EntryReport]:
        """Report the entries that enqueue to one queue.

        Args:
            keys: Those of the queue.
        """
        entries, counts = await self._store.connection.many(
            [("HGETALL", keys.entries), ("HGETALL", keys.ticks)]
        )
        known, found = text_map(counts), []
        for entry, description in text_map(entries).items():
            report = await self._report(keys, entry, description, known)
            if report is not None:
                found.append(report)
        return found

    async def ticks(
        self, entry: str, *, limit: int = 50, queue: str | None = None
    ) -> Sequence[TickReport]:
        """Return the newest recorded ticks of an entry, newest first.

        Args:
            entry: Its id.
            limit: The most to return.
            queue: Where it enqueues to, as its report says; None: each queue is asked.

        Raises:
            ValueError: The limit is not within 1 to 1000.
        """
        check_limit(limit)
        keys = await (self._keys(entry) if queue is None else self._known.keys(queue))
        return await self._ticks(keys, entry, limit)

    async def _ticks(self, keys: QueueKeys, entry: str, limit: int) -> Sequence[TickReport]:
        found = await self._store.connection.command(
            "XREVRANGE", keys.tick_history(entry), "+", "-", "COUNT", limit
        )
        reports = [tick_from(entry, stream_id, fields) for stream_id, fields in found]
        return [report for report in reports if report is not None]

    async def pause(self, entry: str) -> None:
        """Let an entry's ticks pass without a task from now on. Idempotent."""
        keys = await self._keys(entry)
        await self._store.connection.command(
            "HSETNX", keys.ticks, f"{entry}:paused-since", self._store.now_ms()
        )

    async def resume(self, entry: str) -> None:
        """Undo `pause`; what was due meanwhile is not caught up. Idempotent."""
        keys = await self._keys(entry)
        await self._store.connection.command("HDEL", keys.ticks, f"{entry}:paused-since")

    async def trigger(self, entry: str) -> str:
        """Enqueue an entry's task now, beside its ticks; return the task's id.

        Raises:
            NotFoundError: No such entry, or its description cannot be read.
            DuplicateTaskError: Its job is unique, and another task holds the lock.
        """
        keys = await self._keys(entry)
        description = await self._store.connection.command("HGET", keys.entries, entry)
        try:
            record = msgspec.json.decode(description or b"", type=EntryRecord)
        except msgspec.DecodeError:
            raise NotFoundError("schedule entry", entry) from None
        now = from_unix_ms(self._store.now_ms())
        task_id = f"{entry}@{now:%Y-%m-%dT%H:%M:%SZ}+{secrets.token_hex(4)}"
        message = Message(task_id=task_id, task_name=record.kind, kwargs=record.payload)
        lock = ""
        if record.unique_ms > 0:
            lock = lock_digest(record.kind, record.payload)
            message.labels = {"lock": lock, "unique_ms": record.unique_ms}
        call = scripts.trigger(
            keys, entry=entry, task_id=task_id, data=encode(message),
            lock=lock, lock_ttl_ms=record.unique_ms,
        )  # fmt: skip
        await self._store.register(keys.name)
        answer = await self._store.run(call)
        if isinstance(answer, bytes):
            raise DuplicateTaskError(record.kind, keys.name, answer.decode())
        return task_id

    async def _keys(self, entry: str) -> QueueKeys:
        """Return the keys of the queue that an entry enqueues to."""
        check_name("schedule entry", entry)
        queue = await self._known.holder("entries", entry)
        if queue is None:
            raise NotFoundError("schedule entry", entry)
        return queue_keys(queue)

    async def _report(
        self, keys: QueueKeys, entry: str, description: bytes, counts: dict[str, Any]
    ) -> EntryReport | None:
        ticks = await self._ticks(keys, entry, 1)
        return entry_from(
            entry,
            description,
            queue=keys.name,
            counts=counts,
            last=ticks[0] if ticks else None,
            now_ms=self._store.now_ms(),
        )
