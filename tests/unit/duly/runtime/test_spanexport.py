import asyncio
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry
from tests.otlp import Collector as StandIn
from tests.otlp import found_in

from duly.runtime import otlp
from duly.runtime.collector import Collector
from duly.runtime.spanexport import BATCH, SpanExport, SpanMetrics
from duly.runtime.tracer import Provider
from duly.testing.processes import free_port
from duly.testing.waiting import until

SOON = timedelta(milliseconds=1)
SECONDS = 60.0


@pytest.fixture
async def exporting():
    opened = []

    def start(url, *, size=10_000, timeout=timedelta(seconds=10), every=SOON):
        export = SpanExport(
            Collector(f"{url}/v1/traces", timeout=timeout),
            otlp.resource({"service.name": "duly-worker"}),
            version="1",
            size=size,
            every=every,
        )
        opened.append(export)
        return export, Provider(export, 1.0).get_tracer("duly.engine")

    yield start
    for export in opened:
        await export.close(timedelta(0))


def spans(tracer, count):
    for _ in range(count):
        tracer.start_span("x").end()


async def test_spans_arrive_in_batches(exporting, collector):
    export, tracer = exporting(collector.url)

    spans(tracer, 3 * BATCH + 7)
    await until(lambda: export.exported == 3 * BATCH + 7, timeout=SECONDS, what="all exported")

    assert len(collector.spans()) == 3 * BATCH + 7
    assert export.dropped == 0


async def test_a_few_spans_wait_for_others(exporting, collector):
    """While a request is under way a few arrive: they are no reason for another one."""
    collector.hold.clear()
    export, tracer = exporting(collector.url, every=timedelta(hours=1))
    spans(tracer, BATCH)
    await until(lambda: export._batch, timeout=SECONDS, what="a request is under way")
    spans(tracer, 5)

    collector.hold.set()
    await until(lambda: export.exported, timeout=SECONDS, what="it is answered")

    assert (export.exported, export._count, export._batch) == (BATCH, 5, [])
    await export.close(timedelta(seconds=SECONDS))
    assert [len(found_in(body)) for body in collector.bodies] == [BATCH, 5]


async def test_a_stop_sends_what_is_left(exporting, collector):
    export, tracer = exporting(collector.url, every=timedelta(hours=1))
    spans(tracer, 5)

    await export.close(timedelta(seconds=SECONDS))

    assert len(collector.spans()) == 5
    assert (export.exported, export.dropped) == (5, 0)


async def test_spans_of_threads_arrive(exporting, collector):
    export, tracer = exporting(collector.url)

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(asyncio.to_thread(spans, tracer, 1000))
    await until(lambda: export.exported == 4000, timeout=SECONDS, what="all exported")

    assert len({span.id for span in collector.spans()}) == 4000
    assert (export.dropped, export._count) == (0, 0)


def test_a_span_that_ends_after_the_loop_is_no_error(collector):
    async def opened():
        known = Collector(f"{collector.url}/v1/traces", timeout=timedelta(seconds=10))
        return SpanExport(known, b"", version="1", size=10)

    export = asyncio.run(opened())

    spans(Provider(export, 1.0).get_tracer("duly.engine"), 1)

    assert export.ended() == "the export of spans has ended"


async def test_what_comes_after_the_stop_is_dropped(exporting, collector):
    export, tracer = exporting(collector.url)
    await export.close()

    spans(tracer, 1)

    assert export.dropped == 1


async def test_a_slow_collector_costs_spans_and_nothing_else(exporting, collector, capsys):
    collector.hold.clear()
    export, tracer = exporting(collector.url, size=100)

    spans(tracer, 1000)  # Returns: nobody waits for the collector.

    assert export._count == 100
    assert export.dropped == 900
    collector.hold.set()
    await until(lambda: export.exported == 100, timeout=SECONDS, what="the others are exported")
    assert len(collector.spans()) == 100


async def test_a_collector_that_is_away_is_told_of_once_and_asked_again(exporting, capsys):
    port = free_port()
    export, tracer = exporting(f"http://127.0.0.1:{port}", size=10)

    spans(tracer, 50)
    await until(lambda: export._failing, timeout=SECONDS, what="it has failed")
    spans(tracer, 50)

    back = StandIn(port)
    try:
        await until(lambda: export.exported >= 10, timeout=SECONDS, what="it is asked again")
    finally:
        back.close()
    await export.close()
    said = capsys.readouterr().out
    assert said.count("Collector of traces failed") == 1
    assert said.count("Spans dropped") <= 2
    assert said.count("Collector of traces reachable again") == 1


@pytest.mark.parametrize("place", ["_next", "_export", "_rest"])
async def test_whatever_fails_in_its_task_it_goes_on(exporting, collector, monkeypatch, place):
    broken = []
    true = getattr(SpanExport, place)

    def fail_once(export, *args):
        if not broken:
            broken.append(True)
            if export._waiting:
                export._waiting.popleft()
            raise MemoryError
        return true(export, *args)

    export, tracer = exporting(collector.url)
    spans(tracer, 1)
    await until(lambda: export.exported == 1, timeout=SECONDS, what="it waits")
    monkeypatch.setattr(SpanExport, place, fail_once)
    spans(tracer, 2)
    await until(lambda: broken, timeout=SECONDS, what="it has failed")
    spans(tracer, 5)
    await until(lambda: not export._count, timeout=SECONDS, what="it has gone on")

    assert export.exported + export.dropped == 8
    assert export.exported >= 5
    assert export.ended() is None


async def test_a_stop_waits_for_no_collector_that_is_away(exporting):
    export, tracer = exporting(f"http://127.0.0.1:{free_port()}")
    spans(tracer, 5)

    await export.close(timedelta(hours=1))

    assert (export.exported, export.dropped) == (0, 5)


async def test_a_stop_waits_for_no_collector_that_says_nothing(exporting, collector):
    collector.hold.clear()
    export, tracer = exporting(collector.url, timeout=timedelta(hours=1))
    spans(tracer, 5)

    await export.close(timedelta(milliseconds=50))

    assert export.dropped == 5


async def test_what_a_collector_refuses_for_good_is_dropped(exporting, collector):
    collector.answer = 400
    export, tracer = exporting(collector.url)

    spans(tracer, 5)
    await until(lambda: export.dropped == 5, timeout=SECONDS, what="they are dropped")
    collector.answer = 200
    spans(tracer, 3)

    await until(lambda: export.exported == 3, timeout=SECONDS, what="later ones are exported")


async def test_a_span_that_cannot_be_encoded_ends_no_task(exporting, collector):
    export, tracer = exporting(collector.url)
    span = tracer.start_span("x")
    span.attributes["n"] = object()
    span.end()
    await until(lambda: export.dropped == 1, timeout=SECONDS, what="it is dropped")

    spans(tracer, 3)

    await until(lambda: export.exported == 3, timeout=SECONDS, what="later ones are exported")


async def test_what_became_of_spans_is_exported(exporting, collector):
    export, tracer = exporting(collector.url)
    registry = CollectorRegistry()
    registry.register(SpanMetrics(export))
    spans(tracer, 2)
    await until(lambda: export.exported == 2, timeout=SECONDS, what="they are exported")

    assert registry.get_sample_value("duly_spans_exported_total") == 2
    assert registry.get_sample_value("duly_spans_dropped_total") == 0
