"""The entries that tick: those of the timetable, and those of a provider as they change."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

import structlog

from duly.engine.enqueue.ticks import Ticks
from duly.errors import ConfigError, DulyError
from duly.runtime.metrics import SchedulerMetrics
from duly.schedule import Entry

EntryProvider = Callable[[], Awaitable[Sequence[Entry]]]
"""Returns every entry beside the timetable. If it raises, the previous ones stay."""
Start = Callable[[Entry], asyncio.Task[None]]
"""Starts to tick an entry, until the task is cancelled."""


class EntrySupervisor:
    """Ticks a set of entries that may change.

    Args:
        fixed: The timetable, already checked.
        provider: Returns the entries beside it; None: there are none.
        ticks: Announces and withdraws entries.
        start: Starts to tick an entry.
        queues: The queues that entries may name.
        metrics: Counts the provider's failures.
    """

    def __init__(
        self,
        fixed: Sequence[Entry],
        provider: EntryProvider | None,
        *,
        ticks: Ticks,
        start: Start,
        queues: Collection[str],
        metrics: SchedulerMetrics,
    ) -> None:
        self._fixed, self._provider, self._ticks = tuple(fixed), provider, ticks
        self._start, self._queues, self._metrics = start, queues, metrics
        self._ticking: dict[str, tuple[Entry, asyncio.Task[None]]] = {}
        self._broken = False
        self._log = structlog.get_logger("duly.scheduler")

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The entries that tick now."""
        return tuple(entry for entry, _ in self._ticking.values())

    async def announce(self) -> None:
        """Publish every entry for the inspector, which forgets it after a while."""
        await self._ticks.announce(self.entries)
        await self._ticks.publish_kinds(self.entries)

    def begin(self) -> None:
        """Tick the timetable, whether or not the provider works."""
        self._tick(self._fixed)

    async def run_once(self) -> None:
        """Ask the provider once, and tick its entries from now on; if it fails, change nothing.

        Raises:
            BrokerError: The change could not be published; ticks continue.
        """
        provided = await self._provided()
        if provided is None:
            return
        gone, new = self._tick((*self._fixed, *provided))
        if gone or new:
            self._log.info("Entries changed", **_changes(gone, new))
            kept = {(entry.target, entry.id) for entry in self.entries}
            await self._ticks.withdraw(e for e in gone if (e.target, e.id) not in kept)
            await self._ticks.announce(new)

    async def _provided(self) -> Sequence[Entry] | None:
        if self._provider is None:
            return ()
        try:
            provided = await self._provider()
            checked((*self._fixed, *provided), self._queues)
        except Exception as error:  # noqa: BLE001 - a provider's own code must not end the ticks
            self._metrics.provider_errors.inc()
            if not self._broken:
                reason = str(error) if isinstance(error, DulyError) else repr(error)
                self._log.error("Entries unreadable, keeping the previous ones", error=reason)
            self._broken = True
            return None
        if self._broken:
            self._log.info("Entries readable again")
        self._broken = False
        return provided

    def _tick(self, wanted: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
        """Stop and start entries as needed; return those removed and those added."""
        gone = [entry for entry in self.entries if entry not in wanted]
        new = [entry for entry in wanted if entry not in self.entries]
        for entry in gone:
            # Safe at any point: a slot is either claimed or not.
            self._ticking.pop(entry.id)[1].cancel()
            self._metrics.forget_skipped_in_a_row(entry.id)
        for entry in new:
            self._ticking[entry.id] = (entry, self._start(entry))
        return gone, new


def checked(entries: tuple[Entry, ...], queues: Collection[str]) -> tuple[Entry, ...]:
    """Return the entries if they can be scheduled.

    Raises:
        ConfigError: Two have the same id, one can never be due, or its queue is unknown.
    """
    ids = Counter(entry.id for entry in entries)
    for entry in entries:
        place = f"timetable entry {entry.id}"
        if ids[entry.id] > 1:
            raise ConfigError(place, "is defined twice", remedy="give each entry its own id")
        entry.check()
        if entry.target not in queues:
            known = ", ".join(queues)
            remedy = f"declare it as queues.{entry.target}, or name one of: {known}"
            raise ConfigError(place, f"there is no queue {entry.target!r}", remedy=remedy)
    return entries


def _changes(gone: Sequence[Entry], new: Sequence[Entry]) -> Mapping[str, str]:
    before, after = {entry.id for entry in gone}, {entry.id for entry in new}
    parts = {
        "added": after - before,
        "changed": after & before,
        "removed": before - after,
    }
    return {name: ",".join(sorted(ids)) for name, ids in parts.items() if ids}
