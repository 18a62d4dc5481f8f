"""The scheduler's composition root: what runs, on what, in one screen."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

import structlog

from duly.clock import SystemClock
from duly.engine.housekeeper import Housekeeper
from duly.engine.ticks import Ticks
from duly.errors import BrokerError
from duly.runtime import logs, service
from duly.runtime.metrics import SchedulerMetrics, new_registry
from duly.runtime.probes import Probes
from duly.schedule import Entry
from duly_scheduler.contact import Contact
from duly_scheduler.entriesfile import EntriesFile
from duly_scheduler.roster import EntryProvider, Roster, checked
from duly_scheduler.settings import Settings
from duly_scheduler.ticker import Ticker
from duly_scheduler.timetable import timetable

ANNOUNCE_EVERY: Final = timedelta(seconds=30)
RETRY_EVERY: Final = timedelta(seconds=1)
"""After a tick that failed for another reason than the broker."""
PING_EVERY: Final = timedelta(seconds=2)
REMIND_EVERY: Final = timedelta(seconds=5)
"""At the start: how often to say that there is no broker."""


def run(settings: Settings, *, fail_fast: bool = False) -> int:
    """Schedule until SIGTERM or SIGINT; return the exit code.

    Args:
        settings: The configuration.
        fail_fast: Return 1 when the broker does not answer at the start, instead of trying on.

    Raises:
        ConfigError: The timetable, the file of entries or a setting is wrong.
    """
    logs.configure(settings.log, service="scheduler")
    entries = checked(timetable(settings), settings.queues)
    file = settings.scheduler.entries_file
    provider = EntriesFile(Path(file)) if file else None
    if provider is not None:
        checked((*entries, *provider.read()), settings.queues)
    return service.run(
        lambda stop: schedule(settings, entries, stop, provider=provider, fail_fast=fail_fast)
    )


async def schedule(
    settings: Settings,
    entries: Sequence[Entry],
    stop: asyncio.Event,
    *,
    provider: EntryProvider | None = None,
    fail_fast: bool = False,
) -> int:
    """Put everything together, tick until `stop` is set, take it apart again."""
    log = structlog.get_logger("duly.scheduler")
    registry = new_registry("scheduler")
    metrics = SchedulerMetrics(registry)
    contact = Contact(SystemClock())
    outage = service.Outage(on_error=metrics.broker_errors.inc)
    async with (
        Ticks.connect(settings.redis, history_age=settings.scheduler.history_age) as ticks,
        Housekeeper.open(
            settings.redis,
            lease=settings.worker.lease,
            bounds=settings.archive,
            on_recovered=lambda queue, back, _: metrics.recovered.labels(queue).inc(back),
            outage=outage,
        ) as housekeeper,
        Probes(settings.metrics, registry, ready=contact.missing) as probes,
    ):

        async def ping() -> None:
            await ticks.ping()
            contact.heard()

        log.info(
            "Scheduler started",
            entries=",".join(f"{entry.id}/{when(entry)}" for entry in entries),
            metrics_port=probes.port,
        )
        if fail_fast:
            try:
                await ping()
            except BrokerError as error:
                log.error("Broker unavailable", error=str(error))  # noqa: TRY400 - it says it all
                return 1
        await service.insist(
            ping,
            stop=stop,
            outage=service.Outage(on_error=metrics.broker_errors.inc, remind=REMIND_EVERY),
        )

        async def repeat(name: str, turn: service.Turn, every: timedelta) -> None:
            await service.repeat(
                turn,
                name=name,
                every=every,
                stop=stop,
                outage=outage,
                on_error=lambda _: metrics.chore_errors.labels(name).inc(),
            )

        async with asyncio.TaskGroup() as group:

            def start(entry: Entry) -> asyncio.Task[None]:
                turn = Ticker(ticks, entry, metrics).turn
                return group.create_task(repeat(f"tick {entry.id}", turn, RETRY_EVERY))

            roster = Roster(
                entries,
                provider,
                ticks=ticks,
                start=start,
                queues=settings.queues,
                metrics=metrics,
            )
            roster.begin()
            group.create_task(repeat("announce", roster.announce, ANNOUNCE_EVERY))
            group.create_task(repeat("entries", roster.turn, settings.scheduler.entries_interval))
            group.create_task(repeat("ping", ping, PING_EVERY))
            group.create_task(service.ending(stop, housekeeper.run(stop)))
    log.info("Scheduler stopped")
    return 0


def when(entry: Entry) -> str:
    """Return when an entry is due, in a word for the log."""
    if entry.interval is None:
        return f"{entry.cron} {entry.timezone}"
    return f"{entry.interval.total_seconds():g}s"
