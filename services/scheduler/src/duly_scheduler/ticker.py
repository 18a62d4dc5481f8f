"""Claims the ticks of one entry, each as its slot begins."""

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import structlog

from duly.engine.reports import TickOutcome, TickReport
from duly.engine.ticks import Ticks
from duly.runtime.metrics import SchedulerMetrics
from duly.schedule import Entry

SKIPPED_TOO_OFTEN: Final = 3
"""Skipped ticks in a row from which on each is worth a warning."""
_LONGEST_JITTER_SECONDS: Final = 0.008


class Ticker:
    """One entry's turns, for `duly.runtime.service.repeat`. Any number of replicas may tick.

    Args:
        ticks: Claims the slots, by the broker's clock.
        entry: The line of the timetable.
        metrics: Counts the ticks that were claimed here.
        chance: Gives a number in [0, 1); spreads the replicas over a few milliseconds.
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
        self._skipped = 0
        self._log = structlog.get_logger("duly.scheduler")

    async def turn(self) -> timedelta:
        """Claim the current slot, and return how long it is until just after the next begins.

        Raises:
            BrokerError: The slot is still to be claimed, by this or another replica.
        """
        turn = await self._ticks.tick(self._entry)
        if turn.missed:
            self._metrics.ticks.labels(self._entry.id, TickOutcome.MISSED.value).inc(turn.missed)
            self._log.warning("Ticks missed", entry=self._entry.id, count=turn.missed)
        for report in turn.reports:
            self._note(report)
        # A millisecond late rather than early: an early tick would only have to wait once more.
        return turn.wait + timedelta(seconds=0.001 + self._chance() * _LONGEST_JITTER_SECONDS)

    def _note(self, report: TickReport) -> None:
        lag = max(0.0, (report.at - report.slot).total_seconds())
        self._metrics.ticks.labels(report.entry, report.outcome.value).inc()
        if report.outcome is not TickOutcome.CAUGHT_UP:
            # What is made up for is late by the outage: that would hide how late ticks are.
            self._metrics.lag.labels(report.entry).observe(lag)
        facts = {
            "entry": report.entry,
            "slot": report.slot.isoformat(),
            "task_id": report.task_id,
            "lag_seconds": round(lag, 3),
        }
        if report.outcome is not TickOutcome.SKIPPED:
            self._skipped = 0
            self._log.debug(f"Tick {report.outcome.value.replace('_', ' ')}", **facts)
            return
        self._skipped += 1
        if self._skipped < SKIPPED_TOO_OFTEN:
            self._log.debug("Tick skipped, its last task is still on its way", **facts)
        else:
            self._log.warning(
                "Tick skipped, its last task is still on its way", **facts, in_a_row=self._skipped
            )
