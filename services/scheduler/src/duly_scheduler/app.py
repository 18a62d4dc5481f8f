"""The scheduler's composition root: what runs, on what, in one screen."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import structlog

from duly.clock import SystemClock
from duly.engine.client import Client
from duly.engine.housekeeper import Housekeeper
from duly.errors import BrokerError, ConfigError
from duly.runtime import logs, service
from duly.runtime.metrics import SchedulerMetrics, new_registry
from duly.runtime.probes import Probes
from duly.schedule import Entry
from duly_scheduler.contact import Contact
from duly_scheduler.settings import Settings
from duly_scheduler.ticker import Ticker
from duly_scheduler.timetable import timetable

ANNOUNCE_EVERY: Final = timedelta(seconds=30)
PING_EVERY: Final = timedelta(seconds=2)
REMIND_EVERY: Final = timedelta(seconds=5)
"""At the start: how often to say that there is no broker."""


def run(settings: Settings, *, fail_fast: bool = False) -> int:
    """Schedule until SIGTERM or SIGINT; return the exit code.

    Args:
        settings: The configuration.
        fail_fast: Return 1 when the broker does not answer at the start, instead of trying on.

    Raises:
        ConfigError: The timetable or a setting is wrong.
    """
    logs.configure(settings.log, service="scheduler")
    entries = checked(timetable(settings), settings)
    return service.run(lambda stop: schedule(settings, entries, stop, fail_fast=fail_fast))


async def schedule(
    settings: Settings, entries: Sequence[Entry], stop: asyncio.Event, *, fail_fast: bool = False
) -> int:
    """Put everything together, tick until `stop` is set, take it apart again."""
    log = structlog.get_logger("duly.scheduler")
    registry = new_registry("scheduler")
    metrics = SchedulerMetrics(registry)
    contact = Contact(SystemClock())
    outage = service.Outage(on_error=metrics.broker_errors.inc)
    async with (
        Client.connect(settings.redis, settings.queues) as client,
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
            await client.ping()
            contact.heard()

        log.info(
            "Scheduler started",
            entries=",".join(f"{e.id}/{e.interval.total_seconds():g}s" for e in entries),
            metrics_port=probes.port,
        )
        if fail_fast:
            try:
                await ping()
            except BrokerError as error:
                log.error("Broker unavailable", error=str(error))  # noqa: TRY400 - it says it all
                return 1
        patient = service.Outage(on_error=metrics.broker_errors.inc, remind=REMIND_EVERY)
        await service.insist(ping, stop=stop, outage=patient)

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
            for entry in entries:
                turn = Ticker(client, entry, metrics).turn
                group.create_task(repeat(f"tick {entry.id}", turn, entry.interval))
            group.create_task(
                repeat("announce", lambda: client.announce(tuple(entries)), ANNOUNCE_EVERY)
            )
            group.create_task(repeat("ping", ping, PING_EVERY))
            group.create_task(service.ending(stop, housekeeper.run(stop)))
    log.info("Scheduler stopped")
    return 0


def checked(entries: tuple[Entry, ...], settings: Settings) -> tuple[Entry, ...]:
    """Return the entries, if they can be scheduled.

    Raises:
        ConfigError: Two have one id, an interval is no whole seconds, or no such queue is known.
    """
    ids = Counter(entry.id for entry in entries)
    for entry in entries:
        place, queue = f"timetable entry {entry.id}", entry.queue or entry.job.policy.queue
        if ids[entry.id] > 1:
            raise ConfigError(place, "there are two of this id", remedy="give each its own")
        if entry.interval < timedelta(seconds=1) or entry.interval % timedelta(seconds=1):
            raise ConfigError(place, f"{entry.interval} is no number of whole seconds, 1 at least")
        if queue not in settings.queues:
            known = ", ".join(settings.queues)
            remedy = f"declare it as queues.{queue}, or name one of: {known}"
            raise ConfigError(place, f"there is no queue {queue!r}", remedy=remedy)
    return entries
