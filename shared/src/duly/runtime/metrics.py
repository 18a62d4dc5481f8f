"""The metrics that workers and schedulers export. `docs/telemetry.md` lists every one of them.

A registry is made once by a composition root and handed down; there is no global one. The
children of labels are kept by their labels: looking one up costs a dictionary access.
"""

import platform
from importlib.metadata import version
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

SECONDS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0),
)
"""Upper bounds of histogram buckets, from a millisecond to five minutes."""


def new_registry(service: str) -> CollectorRegistry:
    """Return a registry that knows the process and `duly_build_info`."""
    # A second series for each counter, saying when it was made, is of no use to anybody here.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    build = Gauge(
        "duly_build_info",
        "Always 1; its labels say what runs",
        ("service", "version", "python"),
        registry=registry,
    )
    build.labels(service, version("duly"), platform.python_version()).set(1)
    return registry


class WorkerMetrics:
    """What a worker counts beside its attempts: those are `duly.engine.middleware.metrics`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.stuck = Gauge(
            "duly_tasks_stuck",
            "Attempts that were told to stop more than 5 s ago and go on",
            ("queue",),
            registry=registry,
        )
        self.concurrency = Gauge(
            "duly_worker_concurrency", "Attempts that may run at once", registry=registry
        )
        self.leases_lost = Counter(
            "duly_lease_lost",
            "Times this worker found that its lease had run out",
            ("queue",),
            registry=registry,
        )
        self.broker_errors = _broker_errors(registry)
        self.recovered = _recovered(registry)


class SchedulerMetrics:
    """What a scheduler counts and times."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.ticks = Counter(
            "duly_ticks",
            "Ticks that this scheduler claimed, by what became of them",
            ("entry", "outcome"),
            registry=registry,
        )
        self.lag = Histogram(
            "duly_tick_lag_seconds",
            "How long after the beginning of its slot a tick was claimed",
            ("entry",),
            buckets=SECONDS,
            registry=registry,
        )
        self.provider_errors = Counter(
            "duly_entries_errors",
            "Times the entries beside the timetable could not be read; the last ones stayed",
            registry=registry,
        )
        self.chore_errors = Counter(
            "duly_chore_errors",
            "Unexpected errors of a background loop, which went on",
            ("chore",),
            registry=registry,
        )
        self.broker_errors = _broker_errors(registry)
        self.recovered = _recovered(registry)


def _broker_errors(registry: CollectorRegistry) -> Counter:
    return Counter(
        "duly_broker_errors", "Calls to the broker that failed, by this process", registry=registry
    )


def _recovered(registry: CollectorRegistry) -> Counter:
    return Counter(
        "duly_tasks_recovered",
        "Tasks of dead workers that this process made wait again",
        ("queue",),
        registry=registry,
    )
