"""Claims the ticks of one entry, each when its slot begins."""

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import structlog

from duly.engine.enqueue.ticks import Ticks
from duly.engine.storage.reports import TickOutcome, TickReport
from duly.runtime.metrics import SchedulerMetrics
from duly.schedule import Entry

WARN_AFTER_SKIPS: Final = 3
"""From this many skipped ticks in a row, each is logged as a warning."""
_LONGEST_JITTER_SECONDS: Final = 0.008


class Ticker:
    """Ticks one entry, run by `duly.runtime.service.repeat`. Any number of replicas may tick.

    Args:
        ticks: Claims the slots, by the broker's clock.
        entry: The line of the timetable.
        metrics: Counts the ticks that were claimed here.
        chance: Returns a number in [0, 1), which spreads the replicas over a few milliseconds.
    """

    def __init__(
        self,
        ticks: Ticks,
        entry: Entry,
        metrics: SchedulerMetrics,
        *,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._ticks, self._entry, self._metrics, self._chance = ticks, entry, metrics, chance
        metrics.know_entry(entry.id)
        self._skipped = 0
        self._seen: datetime | None = None
        self._lost = 0
        self._log = structlog.get_logger("duly.scheduler")

    async def run_once(self) -> timedelta:
        """Claim the current slot, and return how long to wait until just after the next begins.

        Raises:
            BrokerError: The broker did not answer. This or another replica has yet to claim the
                slot.
        """
        result = await self._ticks.tick(self._entry)
        if result.missed:
            self._metrics.count_ticks(self._entry.id, TickOutcome.MISSED.value, result.missed)
            self._log.warning("Ticks missed", entry=self._entry.id, count=result.missed)
        if result.unmet:
            self._metrics.count_unmet(self._entry.id)
        for report in result.reports:
            self._seen, self._lost = report.slot, 0
            self._note(report)
        if result.taken is not None and result.taken != self._seen:
            self._lose(result.taken)
        # A millisecond late rather than early: a tick that comes early has to wait again.
        return result.wait + timedelta(seconds=0.001 + self._chance() * _LONGEST_JITTER_SECONDS)

    def _lose(self, slot: datetime) -> None:
        """Note that another replica has claimed a slot.

        One that claims none of several slots does not know whether they were skipped, and says
        nothing: the least that the replicas say then is what happened to all of these slots.
        """
        self._seen = slot
        self._lost += 1
        if self._lost >= WARN_AFTER_SKIPS:
            self._metrics.forget_skipped_in_a_row(self._entry.id)

    def _note(self, report: TickReport) -> None:
        lag = max(0.0, (report.at - report.slot).total_seconds())
        self._metrics.count_ticks(report.entry, report.outcome.value)
        if report.outcome is not TickOutcome.CAUGHT_UP:
            # A caught-up tick is as late as the outage was long, and would hide the usual lag.
            self._metrics.time_tick(report.entry, lag)
        facts = {
            "entry": report.entry,
            "slot": report.slot.isoformat(),
            "task_id": report.task_id,
            "lag_seconds": round(lag, 3),
        }
        if report.outcome is not TickOutcome.SKIPPED:
            self._skipped = 0
            self._metrics.set_skipped_in_a_row(report.entry, 0)
            self._log.debug(f"Tick {report.outcome.value.replace('_', ' ')}", **facts)
            return
        self._skipped += 1
        self._metrics.set_skipped_in_a_row(report.entry, self._skipped)
        if self._skipped < WARN_AFTER_SKIPS:
            self._log.debug("Tick skipped: the previous task has not ended", **facts)
        else:
            self._log.warning(
                "Tick skipped: the previous task has not ended", **facts, in_a_row=self._skipped
            )
