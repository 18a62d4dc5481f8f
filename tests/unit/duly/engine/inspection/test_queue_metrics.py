"""What a scheduler exports of the queues: what it read last, as long as that is true."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from structlog.testing import capture_logs

from duly.engine.inspection.exporter import LEASE
from duly.engine.inspection.figures import Figures, QueueFigures
from duly.engine.inspection.queue_metrics import QueueMetrics
from duly.engine.storage.reports import BrokerReport
from duly.task import TaskState


class Clock:
    def __init__(self):
        self.seconds = 100.0

    def now(self):
        return datetime(2026, 11, 28, tzinfo=UTC)

    def monotonic(self):
        return self.seconds


class Exporter:
    def __init__(self, figures):
        self.figures = figures

    async def read(self):
        return self.figures


NODE = BrokerReport(
    address="broker:6379",
    version="Valkey 9",
    memory_bytes=1000,
    memory_limit_bytes=None,
    clients=3,
    queues=("default",),
    slots={},
)
FIGURES = Figures(
    queues={
        "default": QueueFigures(
            tasks={TaskState.WAITING: 1278, TaskState.ACTIVE: 2},
            unowned=1,
            oldest_waiting_seconds=252.0,
            servers=2,
            concurrency=6,
            outbox=5,
            joins=4,
            overdue_seconds={TaskState.AGGREGATING: 7.0},
            outcomes={"processed": 1000, "failed": 19, "archived_dropped": 3},
        ),
        "low": QueueFigures(tasks={}, paused_seconds=60.0),
    },
    unreadable={"odd": "key x is a string"},
    nodes=[NODE],
)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def metrics(registry, clock):
    return QueueMetrics(registry, {"default": 5000}, clock)


def text_of(registry):
    return generate_latest(registry).decode()


async def test_every_queue_and_node_is_told(metrics, registry):
    await metrics.run_once(Exporter(FIGURES))

    text = text_of(registry)
    for line in (
        "duly_queues_exported 1.0",
        'duly_queue_tasks{queue="default",state="waiting"} 1278.0',
        'duly_queue_tasks{queue="low",state="archived"} 0.0',
        'duly_queue_max_length{queue="default"} 5000.0',
        'duly_queue_oldest_waiting_seconds{queue="default"} 252.0',
        'duly_queue_paused{queue="default"} 0.0',
        'duly_queue_paused{queue="low"} 1.0',
        'duly_queue_servers{queue="default"} 2.0',
        'duly_queue_concurrency{queue="default"} 6.0',
        'duly_queue_unowned{queue="default"} 1.0',
        'duly_queue_outbox{queue="default"} 5.0',
        'duly_queue_joins{queue="default"} 4.0',
        'duly_queue_overdue_seconds{queue="default",state="aggregating"} 7.0',
        'duly_queue_processed_total{queue="default"} 1000.0',
        'duly_queue_archived_total{queue="default"} 0.0',
        'duly_queue_archive_dropped_total{queue="default"} 3.0',
        'duly_broker_memory_bytes{node="broker:6379"} 1000.0',
        'duly_broker_memory_limit_bytes{node="broker:6379"} 0.0',
        'duly_broker_clients{node="broker:6379"} 3.0',
    ):
        assert f"\n{line}\n" in text


async def test_of_a_queue_that_cannot_be_read_only_that_is_told(metrics, registry):
    await metrics.run_once(Exporter(FIGURES))

    text = text_of(registry)
    assert 'duly_queue_readable{queue="odd"} 0.0' in text
    assert 'duly_queue_readable{queue="low"} 1.0' in text
    assert 'duly_queue_paused{queue="odd"}' not in text


async def test_a_queue_that_cannot_be_read_is_logged_once_and_its_end_too(metrics):
    whole = replace(FIGURES, unreadable={})
    with capture_logs() as lines:
        for figures in (FIGURES, None, FIGURES, whole, whole, FIGURES):
            await metrics.run_once(Exporter(figures))

    odd = {"queue": "odd", "error": "key x is a string", "log_level": "error"}
    again = {"event": "Queue readable again", "queue": "odd", "log_level": "info"}
    assert lines == [
        {"event": "Queue unreadable", **odd},
        again,
        {"event": "Queue unreadable", **odd},
    ]


async def test_nothing_is_told_while_another_scheduler_exports(metrics, registry):
    await metrics.run_once(Exporter(FIGURES))
    await metrics.run_once(Exporter(None))

    text = text_of(registry)
    assert "duly_queues_exported 0.0" in text
    assert "duly_queue_" not in text


async def test_what_is_older_than_the_lease_is_told_no_more(metrics, registry, clock):
    await metrics.run_once(Exporter(FIGURES))
    clock.seconds += LEASE.total_seconds() + 1

    text = text_of(registry)
    assert "duly_queues_exported 0.0" in text
    assert "duly_queue_" not in text
