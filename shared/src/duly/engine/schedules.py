"""Reads and operates the timetable that schedulers have announced."""

import secrets
from collections.abc import Iterable
from typing import Any

import msgspec

from duly.clock import from_unix_ms
from duly.engine import scripts
from duly.engine.codec import Message, encode
from duly.engine.keys import QueueKeys, queue_keys
from duly.engine.replies import EntryRecord, entry_from, text_map, tick_from
from duly.engine.reports import EntryReport, TickReport
from duly.engine.store import Store
from duly.errors import NotFoundError


class Schedules:
    """The entries of the timetable, each under the keys of the queue that it enqueues to."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def entries(self, queues: Iterable[str]) -> list[EntryReport]:
        """Report the entries of some queues, by id."""
        found: list[EntryReport] = []
        for name in queues:
            keys = queue_keys(name)
            entries, counts = await self._store.connection.many(
                [("HGETALL", keys.entries), ("HGETALL", keys.ticks)]
            )
            for entry, description in text_map(entries).items():
                report = await self._report(keys, entry, description, text_map(counts))
                if report is not None:
                    found.append(report)
        return sorted(found, key=lambda report: report.id)

    async def keys(self, queues: Iterable[str], entry: str) -> QueueKeys:
        """Return the keys of the queue that an entry enqueues to.

        Raises:
            NotFoundError: No scheduler announced such an entry.
        """
        for name in queues:
            keys = queue_keys(name)
            if await self._store.connection.command("HEXISTS", keys.entries, entry):
                return keys
        raise NotFoundError("schedule entry", entry)

    async def ticks(self, keys: QueueKeys, entry: str, limit: int) -> list[TickReport]:
        """Return an entry's newest recorded ticks, newest first."""
        found = await self._store.connection.command(
            "XREVRANGE", keys.tick_history(entry), "+", "-", "COUNT", limit
        )
        reports = [tick_from(entry, stream_id, fields) for stream_id, fields in found]
        return [report for report in reports if report is not None]

    async def pause(self, keys: QueueKeys, entry: str) -> None:
        """Let ticks pass without a task."""
        await self._store.connection.command(
            "HSETNX", keys.ticks, f"{entry}:paused-since", self._store.now_ms()
        )

    async def resume(self, keys: QueueKeys, entry: str) -> None:
        """Undo `pause`."""
        await self._store.connection.command("HDEL", keys.ticks, f"{entry}:paused-since")

    async def trigger(self, keys: QueueKeys, entry: str) -> str:
        """Enqueue an entry's task now, and record it among its ticks; return its id.

        Raises:
            NotFoundError: The entry's description can not be read.
        """
        description = await self._store.connection.command("HGET", keys.entries, entry)
        try:
            record = msgspec.json.decode(description or b"", type=EntryRecord)
        except msgspec.DecodeError:
            raise NotFoundError("schedule entry", entry) from None
        now = from_unix_ms(self._store.now_ms())
        task_id = f"{entry}@{now:%Y-%m-%dT%H:%M:%SZ}+{secrets.token_hex(4)}"
        message = Message(task_id=task_id, task_name=record.kind, kwargs=record.payload)
        call = scripts.trigger(keys, entry=entry, task_id=task_id, data=encode(message))
        await self._store.register(keys.name)
        await self._store.run(call)
        return task_id

    async def _report(
        self, keys: QueueKeys, entry: str, description: bytes, counts: dict[str, Any]
    ) -> EntryReport | None:
        ticks = await self.ticks(keys, entry, 1)
        return entry_from(
            entry,
            description,
            queue=keys.name,
            counts=counts,
            last=ticks[0] if ticks else None,
            now_ms=self._store.now_ms(),
        )
