"""The entries that are ticked: the timetable's, and those of a provider as they change."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

import structlog

from duly.engine.ticks import Ticks
from duly.errors import ConfigError, DulyError
from duly.runtime.metrics import SchedulerMetrics
from duly.schedule import Entry

EntryProvider = Callable[[], Awaitable[Sequence[Entry]]]
"""Returns every entry there is beside the timetable. When it raises, the last ones go on."""
Start = Callable[[Entry], asyncio.Task[None]]
"""Begins to tick an entry, until the task is cancelled."""


class Roster:
    """Ticks a set of entries that may change.

    Args:
        fixed: The timetable, already checked.
        provider: Gives the entries beside it; None: there are none.
        ticks: Where entries are announced and withdrawn.
        start: Begins to tick one.
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
        """What is ticked now."""
        return tuple(entry for entry, _ in self._ticking.values())

    async def announce(self) -> None:
        """Tell the inspector of every entry; repeat it."""
        await self._ticks.announce(self.entries)

    def begin(self) -> None:
        """Tick the timetable, whatever becomes of the provider."""
        self._tick(self._fixed)

    async def turn(self) -> None:
        """Ask the provider once, and tick what it says from now on; else go on as before.

        Raises:
            BrokerError: The inspector could not be told; ticks go on.
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
                told = str(error) if isinstance(error, DulyError) else repr(error)
                self._log.error("Entries can not be read, going on with the last ones", error=told)
            self._broken = True
            return None
        if self._broken:
            self._log.info("Entries can be read again")
        self._broken = False
        return provided

    def _tick(self, wanted: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
        """Stop and start what is needed; return what is gone, and what is new."""
        gone = [entry for entry in self.entries if entry not in wanted]
        new = [entry for entry in wanted if entry not in self.entries]
        for entry in gone:
            # At whatever point it is: a slot is either claimed or not.
            self._ticking.pop(entry.id)[1].cancel()
        for entry in new:
            self._ticking[entry.id] = (entry, self._start(entry))
        return gone, new


def checked(entries: tuple[Entry, ...], queues: Collection[str]) -> tuple[Entry, ...]:
    """Return the entries, if they can be scheduled.

    Raises:
        ConfigError: Two have one id, one can not be due, or no such queue is known.
    """
    ids = Counter(entry.id for entry in entries)
    for entry in entries:
        place = f"timetable entry {entry.id}"
        if ids[entry.id] > 1:
            raise ConfigError(place, "there are two of this id", remedy="give each its own")
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
