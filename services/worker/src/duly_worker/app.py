"""The worker's composition root, on one screen."""

import asyncio

import structlog

from duly.app.declaration import App
from duly.app.serving import StoppedError, serving
from duly.engine.middleware.log import LogTasks
from duly.engine.middleware.metrics import CountTasks
from duly.engine.middleware.tracing import tracing
from duly.engine.worker.server import Server, ServerOptions
from duly.engine.worker.server_metrics import ServerMetrics
from duly.errors import ConfigError, DulyError
from duly.integrations.relaying import relaying
from duly.runtime import logs, service
from duly.runtime.exporting import exporting
from duly.runtime.metrics import WorkerMetrics, new_registry
from duly.runtime.probes import Probes
from duly.runtime.supervision import Supervisor
from duly_worker.settings import Settings


def run(
    settings: Settings,
    app: App,
    queues: dict[str, int],
    concurrency: int,
    *,
    most: dict[str, int],
    strict: bool,
) -> int:
    """Work for an application on queues (name → weight) until SIGTERM; return the exit code.

    `most` limits how many tasks of a queue run at once (name → number).
    """
    logs.configure(settings.log, service="worker")
    options = ServerOptions(
        queues=queues,
        concurrency=concurrency,
        most=most,
        strict=strict,
        drain=settings.worker.drain,
        lease=settings.worker.lease,
        unknown_grace=settings.worker.unknown_grace,
        archive=settings.archive,
        app=app.name,
    )
    return service.run(lambda stop: work(settings, app, options, stop))


async def work(settings: Settings, app: App, options: ServerOptions, stop: asyncio.Event) -> int:
    """Assemble everything, work until `stop` is set, and close everything."""
    log = structlog.get_logger("duly.worker")
    registry = new_registry("worker")
    metrics = WorkerMetrics(registry, options.queues)
    metrics.concurrency.set(options.concurrency)
    asked = {"log": logs.ended}
    supervisor = Supervisor(bound=options.lease, stopping=stop.is_set, asked=asked)
    counts = CountTasks(registry, metrics.quarantined)
    try:
        async with (
            exporting(settings.tracing, registry, service="worker", supervisor=supervisor),
            Server.open(
                settings.redis,
                options,
                middlewares=(
                    *tracing(),
                    LogTasks(debug=settings.log.level == "DEBUG", levels=logs.levels()),
                    counts,
                    *app.middlewares,
                ),
                on_recovered=metrics.count_recovered,
                on_lease_lost=lambda queue: metrics.leases_lost.labels(queue).inc(),
                on_broker_error=metrics.broker_errors.inc,
            ) as server,
            relaying(settings, registry, supervisor),
            Probes(
                settings.metrics,
                registry,
                ready=server.ready,
                live=lambda: server.liveness() or supervisor.liveness(),
                stall=options.lease,
            ) as probes,
        ):
            server.on_answer = metrics.broker_latency.observe
            ServerMetrics(registry, server, options.queues)
            log.info(
                "Worker started",
                app=app.name,
                server=server.id,
                queues=",".join(f"{name}={weight}" for name, weight in options.queues.items()),
                concurrency=options.concurrency,
                metrics_port=probes.port,
            )
            with service.signal_handlers({"SIGTSTP": server.quiet, "SIGCONT": server.resume}):
                async with serving(app, server, settings, stop, registry):
                    for job in server.jobs.classes():
                        if job.policy.queue in options.queues:
                            counts.know(job.policy.queue, job.kind)
                    await server.run(stop)
    except StoppedError:
        log.info("Stopped before it was open", app=app.name)
    except ConfigError:
        raise
    except DulyError as error:
        log.error("Worker failed", error=str(error))  # noqa: TRY400 - the sentence says it all
        log.debug("Worker failed there", exc_info=error)
        return 1
    log.info("Worker stopped")
    return 0
