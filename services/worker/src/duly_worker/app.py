"""The worker's composition root: what runs, on what, in one screen."""

import asyncio
from functools import partial

import structlog

from duly.engine.middleware.log import LogTasks
from duly.engine.middleware.metrics import CountTasks
from duly.engine.middleware.tracing import tracing
from duly.engine.server import Server, ServerOptions
from duly.errors import DulyError
from duly.jobs import CheckPendingOrders
from duly.orders.session import open_engine
from duly.runtime import logs, service
from duly.runtime.lines import LineWriter
from duly.runtime.metrics import WorkerMetrics, new_registry
from duly.runtime.probes import Probes
from duly_worker.handlers.orders import PendingOrdersCheck
from duly_worker.settings import Settings


def run(
    settings: Settings,
    queues: dict[str, int],
    concurrency: int,
    *,
    most: dict[str, int],
    strict: bool,
) -> int:
    """Work on the queues (name → weight) until SIGTERM; return the exit code.

    `most` names queues of which no more than so many tasks run at once.
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
    )
    return service.run(lambda stop: work(settings, options, stop))


async def work(settings: Settings, options: ServerOptions, stop: asyncio.Event) -> int:
    """Put everything together, work until `stop` is set, take it apart again."""
    log = structlog.get_logger("duly.worker")
    registry = new_registry("worker")
    metrics = WorkerMetrics(registry)
    metrics.concurrency.set(options.concurrency)
    try:
        async with (
            open_engine(settings.database) as orders,
            Server.open(
                settings.redis,
                options,
                middlewares=(
                    *tracing(),
                    LogTasks(debug=settings.log.level == "DEBUG"),
                    CountTasks(registry),
                ),
                on_recovered=lambda queue, back, _: metrics.recovered.labels(queue).inc(back),
                on_lease_lost=lambda queue: metrics.leases_lost.labels(queue).inc(),
                on_broker_error=metrics.broker_errors.inc,
            ) as server,
            Probes(settings.metrics, registry, ready=server.ready) as probes,
        ):
            for queue in options.queues:
                metrics.stuck.labels(queue).set_function(partial(server.stuck, queue))
            server.handle(CheckPendingOrders, PendingOrdersCheck(orders, LineWriter(settings.log)))
            log.info(
                "Worker started",
                server=server.id,
                queues=",".join(f"{name}={weight}" for name, weight in options.queues.items()),
                concurrency=options.concurrency,
                metrics_port=probes.port,
            )
            with service.heeding({"SIGTSTP": server.quiet, "SIGCONT": server.wake}):
                await server.run(stop)
    except DulyError as error:
        log.error("Worker failed", error=str(error))  # noqa: TRY400 - the sentence says it all
        return 1
    log.info("Worker stopped")
    return 0
