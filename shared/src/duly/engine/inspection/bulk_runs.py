"""Records of bulk operations: whoever looks, from whatever process, sees how far each is."""

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from duly.engine.inspection.known_queues import KnownQueues
from duly.engine.storage.decoding import text_map
from duly.engine.storage.keys import BULK_RUNS, BULK_STOPS
from duly.engine.storage.reports import BulkRunReport, BulkRunState
from duly.errors import NotFoundError

KEPT_RUNS = 50
_KEPT_MS = 7 * 86_400_000
_SILENT_MS = 30_000
"""A run whose process has said nothing for so long has ended with it."""
_LOST = "the monitor that ran it has ended; what was done stays done, and the rest can be run anew"


class BulkRuns:
    """The bulk operations of the last week, the newest 50."""

    def __init__(self, known: KnownQueues) -> None:
        self._store = known.store

    async def begin(self, report: BulkRunReport) -> None:
        """Record a new one; forget the oldest beyond the bound.

        Args:
            report: How it stands at its beginning.
        """
        await self.save(report)
        known = await self.list()
        if len(known) > KEPT_RUNS:
            old = [each.id for each in known[KEPT_RUNS:]]
            await self._store.connection.many(
                [("HDEL", BULK_RUNS, *old), ("HDEL", BULK_STOPS, *old)]
            )

    async def save(self, report: BulkRunReport) -> None:
        """Record how far one is. Idempotent.

        Args:
            report: How it stands; it takes the place of what was recorded under its id.
        """
        await self._store.connection.many(
            [
                ("HSET", BULK_RUNS, report.id, msgspec.json.encode(report)),
                ("PEXPIRE", BULK_RUNS, _KEPT_MS),
            ]
        )

    async def get(self, run_id: str) -> BulkRunReport:
        """Return one.

        Args:
            run_id: Its id.

        Raises:
            NotFoundError: There is none of this id, or no longer.
        """
        found = self._read(await self._store.connection.command("HGET", BULK_RUNS, run_id))
        if found is None:
            raise NotFoundError("bulk operation", run_id)
        return found

    async def list(self) -> Sequence[BulkRunReport]:
        """Return all, the newest first; what cannot be read is passed over."""
        answer = await self._store.connection.command("HGETALL", BULK_RUNS)
        values = text_map(answer).values()
        found = [report for report in map(self._read, values) if report is not None]
        return sorted(found, key=lambda report: (-report.started_ms, report.id))

    async def stop(self, run_id: str) -> None:
        """Ask the process that runs one to stop after the chunk that it is at. Idempotent.

        Args:
            run_id: Its id; an unknown one does no harm.
        """
        await self._store.connection.many(
            [("HSET", BULK_STOPS, run_id, 1), ("PEXPIRE", BULK_STOPS, _KEPT_MS)]
        )

    async def stopped(self, run_id: str) -> bool:
        """Tell whether one was asked to stop.

        Args:
            run_id: Its id.
        """
        return bool(await self._store.connection.command("HEXISTS", BULK_STOPS, run_id))

    def now_ms(self) -> int:
        """Return the broker's time, for reports."""
        return self._store.now_ms()

    def _read(self, data: bytes | None) -> BulkRunReport | None:
        try:
            found = msgspec.json.decode(data or b"", type=BulkRunReport)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        if found.state is BulkRunState.RUNNING and self.now_ms() - found.updated_ms > _SILENT_MS:
            return replace(found, state=BulkRunState.FAILED, error=_LOST)
        return found
