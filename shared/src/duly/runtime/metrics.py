"""What Prometheus is told. Each service makes its own registry in its composition root."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
)

from duly import __version__

_WAITS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 1800)


def new_registry(service: str) -> CollectorRegistry:
    """Return a registry with what every service tells: its version, process and platform."""
    registry = CollectorRegistry()
    ProcessCollector(namespace="duly", registry=registry)
    PlatformCollector(registry=registry)
    info = Info("duly_build", "Version and name of the service.", registry=registry)
    info.info({"version": __version__, "service": service})
    return registry


class WorkerMetrics:
    """What a worker counts beside its attempts, which `duly.engine.middleware.metrics` counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.concurrency = Gauge(
            "duly_worker_concurrency", "Attempts that may run at once.", registry=registry
        )
        self.broker_errors = Counter(
            "duly_broker_errors", "Heartbeats that the broker did not answer.", registry=registry
        )
        self.leases_lost = Counter(
            "duly_leases_lost",
            "Times this server was taken for dead and its tasks were given away.",
            ("queue",),
            registry=registry,
        )
        self.recovered = Counter(
            "duly_tasks_recovered",
            "Tasks taken from dead servers by this one.",
            ("queue",),
            registry=registry,
        )


class SchedulerMetrics:
    """What a scheduler counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.ticks = Counter(
            "duly_ticks",
            "Ticks that this replica claimed, by what became of them.",
            ("entry", "outcome"),
            registry=registry,
        )
        self.lag = Histogram(
            "duly_tick_lag_seconds",
            "How long after its slot a tick was claimed.",
            ("entry",),
            buckets=_WAITS,
            registry=registry,
        )
        self.recovered = Counter(
            "duly_tasks_recovered",
            "Tasks taken from dead servers by this replica.",
            ("queue",),
            registry=registry,
        )
