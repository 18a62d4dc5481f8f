"""The scheduler's composition root, on one screen."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from duly.app.declaration import App
from duly.app.provision import provided
from duly.clock import SystemClock
from duly.engine.enqueue.ticks import Ticks
from duly.engine.inspection.exporter import Exporter
from duly.engine.inspection.queue_metrics import READ_EVERY, QueueMetrics
from duly.engine.maintenance.maintainer import Maintainer
from duly.engine.middleware import Middleware
from duly.errors import BrokerError
from duly.runtime import logs, service
from duly.runtime.exporting import exporting
from duly.runtime.metrics import SchedulerMetrics, new_registry
from duly.runtime.probes import Probes
from duly.runtime.supervision import Supervisor
from duly.schedule import Entry
from duly_scheduler.broker_liveness import BrokerLiveness
from duly_scheduler.declared_entries import DeclaredEntries, declared_jobs, timetable
from duly_scheduler.entriesfile import EntriesFile
from duly_scheduler.entry_supervisor import EntrySupervisor, checked
from duly_scheduler.settings import Settings
from duly_scheduler.ticker import Ticker

ANNOUNCE_EVERY: Final = timedelta(seconds=30)
RETRY_EVERY: Final = timedelta(seconds=1)
"""After a tick that failed for another reason than the broker."""
PING_EVERY: Final = timedelta(seconds=2)
REMIND_EVERY: Final = timedelta(seconds=5)
"""At the start: how often to say that there is no broker."""


def run(settings: Settings, app: App, *, fail_fast: bool = False) -> int:
    """Schedule until SIGTERM or SIGINT; return the exit code.

    Args:
        settings: The configuration.
        app: The application whose schedules are kept.
        fail_fast: Return 1 when the broker does not answer at the start, instead of trying on.

    Raises:
        ConfigError: The timetable, the file of entries or a setting is wrong.
    """
    logs.configure(settings.log, service="scheduler")
    known = provided(app, settings)
    path = settings.scheduler.entries_file
    file = EntriesFile(Path(path), declared_jobs(app)) if path else None
    provider = DeclaredEntries(app, known, file)

    async def main(stop: asyncio.Event) -> int:
        entries = checked(await timetable(app, known), settings.queues)
        if file:
            checked((*entries, *file.read()), settings.queues)
        return await schedule(
            settings,
            entries,
            stop,
            app=app.name,
            provider=provider,
            middlewares=app.middlewares,
            fail_fast=fail_fast,
        )

    return service.run(main)


async def schedule(
    settings: Settings,
    entries: Sequence[Entry],
    stop: asyncio.Event,
    *,
    app: str = "",
    middlewares: Sequence[Middleware] = (),
    provider: DeclaredEntries | None = None,
    fail_fast: bool = False,
) -> int:
    """Assemble everything, tick until `stop` is set, and close everything."""
    log = structlog.get_logger("duly.scheduler")
    registry = new_registry("scheduler")
    metrics = SchedulerMetrics(registry, settings.queues)
    queue_metrics = QueueMetrics(
        registry, {name: queue.max_length for name, queue in settings.queues.items()}
    )
    broker_liveness = BrokerLiveness(SystemClock())
    outage = service.Outage(on_error=metrics.broker_errors.inc)
    supervisor = Supervisor(
        bound=settings.worker.lease, stopping=stop.is_set, asked={"log": logs.ended}
    )
    async with (
        exporting(settings.tracing, registry, service="scheduler", supervisor=supervisor),
        Ticks.connect(settings.redis, history_age=settings.scheduler.history_age, app=app) as ticks,
        Maintainer.open(
            settings.redis,
            lease=settings.worker.lease,
            bounds=settings.archive,
            on_recovered=metrics.count_recovered,
            outage=outage,
            middlewares=middlewares,
            supervisor=supervisor,
            on_error=metrics.count_loop_error,
        ) as maintainer,
        Exporter.open(settings.redis) as exporter,
        Probes(
            settings.metrics,
            registry,
            ready=broker_liveness.missing,
            live=supervisor.liveness,
            stall=supervisor.bound,
        ) as probes,
    ):
        ping = pinging(ticks, metrics, broker_liveness)
        log.info(
            "Scheduler started",
            app=app,
            entries=",".join(f"{entry.id}/{when(entry)}" for entry in entries),
            metrics_port=probes.port,
        )
        if fail_fast:
            try:
                await ping()
            except BrokerError as error:
                log.error("Broker unreachable", error=str(error))  # noqa: TRY400 - it says it all
                return 1
        await service.retry_until_success(
            ping,
            stop=stop,
            outage=service.Outage(on_error=metrics.broker_errors.inc, remind=REMIND_EVERY),
        )

        async def repeat(name: str, run_once: service.RunOnce, every: timedelta) -> None:
            await service.repeat(
                run_once,
                name=name,
                every=every,
                stop=stop,
                outage=outage,
                on_error=lambda _: metrics.count_loop_error(name),
                supervisor=supervisor,
            )

        async with asyncio.TaskGroup() as group:

            def start(entry: Entry) -> asyncio.Task[None]:
                ticker = Ticker(ticks, entry, metrics)
                return group.create_task(repeat(f"tick {entry.id}", ticker.run_once, RETRY_EVERY))

            entry_supervisor = EntrySupervisor(
                entries,
                partial(provider, ticks.job) if provider else None,
                ticks=ticks,
                start=start,
                queues=settings.queues,
                metrics=metrics,
            )
            entry_supervisor.begin()
            group.create_task(repeat("announce", entry_supervisor.announce, ANNOUNCE_EVERY))
            group.create_task(
                repeat("entries", entry_supervisor.run_once, settings.scheduler.entries_interval)
            )
            group.create_task(repeat("ping", ping, PING_EVERY))
            group.create_task(
                repeat("read queues", partial(queue_metrics.run_once, exporter), READ_EVERY)
            )
            group.create_task(service.ending(stop, maintainer.run(stop)))
    log.info("Scheduler stopped")
    return 0


def pinging(
    ticks: Ticks, metrics: SchedulerMetrics, liveness: BrokerLiveness
) -> Callable[[], Awaitable[None]]:
    """Return what pings the broker, and notes that it answered and how long it took."""

    async def ping() -> None:
        with metrics.broker_latency.time():
            await ticks.ping()
        liveness.answered()

    return ping


def when(entry: Entry) -> str:
    """Return when an entry is due, in a word for the log."""
    if entry.interval is None:
        return f"{entry.cron} {entry.timezone}"
    return f"{entry.interval.total_seconds():g}s"
