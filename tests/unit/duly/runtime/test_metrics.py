import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from duly.engine.middleware.metrics import CountTasks
from duly.engine.reports import QueueReport
from duly.runtime.metrics import SchedulerMetrics, WorkerMetrics, new_registry
from duly_monitor.metrics import QueueCollector

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


def of_monitor():
    registry = CollectorRegistry(auto_describe=False)
    registry.register(QueueCollector((QueueReport(name="default"),), up=True))
    return exported(registry, lambda family: family.samples[0].labels)


def of_services():
    worker, scheduler = new_registry("worker"), new_registry("scheduler")
    WorkerMetrics(worker)
    CountTasks(worker)
    SchedulerMetrics(scheduler)
    return of_instruments(worker) | of_instruments(scheduler)


def test_the_document_lists_exactly_what_is_exported():
    assert documented() == of_services() | of_monitor()


def test_our_metrics_are_called_duly_and_use_base_units():
    ours = {name for name, *_ in documented() if not name.startswith("process_")}

    assert all(name.startswith("duly_") for name in ours)
    assert not [name for name in ours if re.search(r"_(ms|minutes|kb|mb)\b", name)]


def test_a_worker_exports_every_metric_once():
    registry = new_registry("worker")
    WorkerMetrics(registry)
    CountTasks(registry)

    names = [family.name for family in registry.collect()]

    assert sorted(set(names)) == sorted(names)


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
