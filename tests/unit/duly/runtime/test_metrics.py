import re
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from duly.clock import SystemClock
from duly.engine.inspection.figures import Figures
from duly.engine.inspection.queue_metrics import QueueMetrics
from duly.engine.middleware.metrics import CountTasks
from duly.engine.worker.server_metrics import ServerMetrics
from duly.integrations.relay import RelayMetrics
from duly.orders.metrics import CountedSource
from duly.runtime.metrics import (
    MOST_VALUES,
    Bounded,
    LoopLag,
    SchedulerMetrics,
    WorkerMetrics,
    new_registry,
)
from duly.runtime.spanexport import SpanMetrics
from duly_monitor.metrics import Vitals

DOCUMENT = Path(__file__).parents[4] / "docs" / "telemetry.md"
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| ([\w, ]*?) ?\| (.+) \|$", re.MULTILINE)


def documented():
    """Return (name, type, labels, meaning) of every row."""
    text = DOCUMENT.read_text(encoding="utf-8")
    return {
        (name, kind, labels.replace(" ", ""), meaning)
        for name, kind, labels, meaning in ROW.findall(text)
    }


def exported(registry, labels_of):
    found = set()
    for family in registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = ",".join(labels_of(family))
        found.add((name, family.type, labels, family.documentation.rstrip(".")))
    return found


def of_instruments(registry):
    names = {
        name: getattr(collector, "_labelnames", ())
        for collector, all_names in registry._collector_to_names.items()
        for name in all_names
    }
    return exported(registry, lambda family: names.get(family.name) or labels_of(family))


def labels_of(family):
    return getattr(family, "_labelnames", ())


class Exporter:
    async def read(self):
        return Figures(queues={})


class Idle:
    """A server that serves nothing, and exports no spans."""

    exported = dropped = 0

    class receiver:  # noqa: N801
        permits = list


async def every_registry():
    worker, scheduler = new_registry("worker"), new_registry("scheduler")
    for registry in (worker, scheduler):
        LoopLag(registry)
    CountTasks(worker, WorkerMetrics(worker).quarantined)
    ServerMetrics(worker, Idle(), ())
    RelayMetrics(worker)
    CountedSource(None, worker, replica=True)
    SchedulerMetrics(scheduler)
    await QueueMetrics(scheduler, {}, SystemClock()).run_once(Exporter())
    scheduler.register(SpanMetrics(Idle))
    return worker, scheduler, Vitals(None, lambda: None).registry


async def test_the_document_lists_exactly_what_is_exported():
    found = set()
    for registry in await every_registry():
        found |= of_instruments(registry)

    assert documented() == found


async def test_every_service_exports_every_metric_once():
    for registry in await every_registry():
        names = [family.name for family in registry.collect()]

        assert sorted(set(names)) == sorted(names)


def test_counters_of_a_queue_are_born_at_zero():
    worker, scheduler = new_registry("worker"), new_registry("scheduler")
    WorkerMetrics(worker, ["low"])
    SchedulerMetrics(scheduler, ["low"]).know_entry("check")

    for line in (
        'duly_lease_lost_total{queue="low"} 0.0',
        'duly_tasks_recovered_total{queue="low"} 0.0',
        'duly_tasks_quarantined_total{queue="low",reason="crashes"} 0.0',
    ):
        assert line in generate_latest(worker).decode()
    for line in (
        'duly_tasks_recovered_total{queue="low"} 0.0',
        'duly_tasks_quarantined_total{queue="low",reason="unknown_kind"} 0.0',
        'duly_ticks_total{entry="check",outcome="skipped"} 0.0',
        'duly_loop_errors_total{loop="reaper"} 0.0',
        'duly_tick_lag_seconds_count{entry="check"} 0.0',
    ):
        assert line in generate_latest(scheduler).decode()


def test_tasks_quarantined_after_crashes_are_counted():
    registry = new_registry("scheduler")

    SchedulerMetrics(registry).count_recovered("low", 4, 2)

    text = generate_latest(registry).decode()
    assert 'duly_tasks_recovered_total{queue="low"} 4.0' in text
    assert 'duly_tasks_quarantined_total{queue="low",reason="crashes"} 2.0' in text


def test_an_error_of_a_loop_is_counted_without_the_queue_that_it_is_for():
    registry = new_registry("scheduler")

    SchedulerMetrics(registry).count_loop_error("promoter default")

    assert 'duly_loop_errors_total{loop="promoter"} 1.0' in generate_latest(registry).decode()


def test_a_label_has_a_hundred_values_and_other():
    label = Bounded()
    first = [label(f"kind-{number}") for number in range(MOST_VALUES)]

    assert first == [f"kind-{number}" for number in range(MOST_VALUES)]
    assert label("one more") == "other"
    assert label("kind-7") == "kind-7"


def test_our_metrics_are_called_duly_and_use_base_units():
    ours = {name for name, *_ in documented() if not name.startswith("process_")}

    assert all(name.startswith("duly_") for name in ours)
    assert not [name for name in ours if re.search(r"_(ms|minutes|kb|mb)\b", name)]


def test_registries_are_independent():
    WorkerMetrics(new_registry("worker"))
    WorkerMetrics(new_registry("worker"))


@pytest.mark.parametrize("service", ["worker", "scheduler"])
def test_the_build_tells_service_and_version(service):
    text = generate_latest(new_registry(service)).decode()

    assert re.search(
        rf'duly_build_info{{python="3[^"]+",service="{service}",version="[0-9.]+"}} 1.0', text
    )
    assert "_created" not in text
