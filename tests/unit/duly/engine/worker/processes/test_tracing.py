"""What handlers trace in processes, as a collector gets it from their worker."""

from datetime import timedelta

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from tests.otlp import Received

from duly.engine.middleware.attempts import TraceAttempts
from duly.engine.middleware.spans import TraceTasks
from duly.engine.worker.processes.child_spans import ChildSpans
from duly.engine.worker.processes.messages import FRAME_LIMIT_BYTES, Run, Spans
from duly.engine.worker.processes.tracing import take_spans
from duly.runtime import otlp
from duly.runtime.collector import Collector
from duly.runtime.spanexport import SpanExport
from duly.runtime.tracer import Provider
from duly.task import TaskState

TRACE, PRODUCER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = {"traceparent": f"00-{TRACE}-{PRODUCER}-01"}
IGNORED = {"traceparent": f"00-{TRACE}-{PRODUCER}-00"}


@pytest.fixture
async def exported(collector, monkeypatch):
    """Export to a collector, as a worker does; give the middlewares."""
    export = SpanExport(
        Collector(f"{collector.url}/v1/traces", timeout=timedelta(seconds=10)),
        otlp.resource({"service.name": "duly-worker"}),
        version="1",
        size=10_000,
        every=timedelta(milliseconds=1),
    )
    provider = Provider(export, 1.0)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield [TraceAttempts(provider)]
    await export.close()


def by_name(spans):
    return {span.name: span for span in spans}


async def test_spans_of_a_process_are_below_its_attempt_and_exported(
    server_with, crunch, ended, collector, exported
):
    async with server_with(middlewares=exported):
        task = await ended(await crunch("trace_it", headers=PARENT))
        again = await ended(await crunch("trace_it", headers=PARENT))
    await collector.wait_for(
        lambda spans: len(spans) == 12, "all spans of two attempts have arrived"
    )

    assert (task.state, again.state) == (TaskState.COMPLETED, TaskState.COMPLETED)
    spans = [span for span in collector.spans() if span.trace_id == TRACE]
    mine = [s for s in spans if s.attributes.get("messaging.message.id") == task.id]
    run = by_name(mine)["run crunch"]
    found = by_name(span for span in spans if span.parent == run.id)
    assert run.parent == PRODUCER
    assert {"outer", "failed", "settle default"} == set(found)
    outer, failed = found["outer"], found["failed"]
    assert (outer.scope, outer.attributes, outer.events) == (
        "shop",
        {"shop.order": 7},
        [("seen", {})],
    )
    assert outer.resource == {"service.name": "duly-worker"}
    assert [span.name for span in spans if span.parent == outer.id] == ["inner"]
    assert (failed.status.code, failed.status.message) == (2, "ValueError")
    assert b"ann@" not in b"".join(collector.bodies)
    assert task.result["traceparent"] == f"00-{TRACE}-{run.id}-01"


async def test_many_spans_of_a_process_arrive(server_with, crunch, ended, collector, exported):
    async with server_with(middlewares=exported):
        await ended(await crunch("trace_much", headers=PARENT))

    spans = await collector.wait_for(lambda spans: len(spans) == 2003, "all spans have arrived")
    assert sorted(s.attributes["n"] for s in spans if s.name == "one") == list(range(2000))


async def test_a_process_whose_attempts_are_not_kept_loads_nothing(
    server_with, crunch, ended, collector, exported
):
    async with server_with(middlewares=exported):
        task = await ended(await crunch("loaded", headers=IGNORED))
        await ended(await crunch("trace_it", headers=IGNORED))

    assert task.result == []
    assert collector.spans() == []


async def test_a_tracer_provider_of_the_application_stays_and_has_the_parent(
    server_with, crunch, ended, monkeypatch
):
    provider = TracerProvider()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)

    async with server_with(middlewares=[TraceTasks(provider)]):
        task = await ended(await crunch("trace_by_itself", headers=PARENT))

    parent, trace_id = task.result
    assert trace_id == int(TRACE, 16)
    assert parent not in {0, int(PRODUCER, 16)}


def test_what_is_too_large_for_a_message_is_lost_and_counted(monkeypatch):
    sent, received = [], Received()
    spans = ChildSpans(sent.append)

    spans.add_encoded("shop", b"x" * FRAME_LIMIT_BYTES, 3)
    spans.flush()
    spans.flush()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", Provider(received, 1.0))
    for each in sent:
        take_spans(each)

    assert sent == [Spans("", lost=3)]
    assert (received, received.lost) == ([], 3)


def test_what_cannot_be_written_is_lost_and_counted():
    sent = []
    spans = ChildSpans(sent.append)
    span = Provider(spans, 1.0).get_tracer("shop").start_span("x")
    span.attributes["n"] = object()

    span.end()
    spans.flush()

    assert sent == [Spans("", lost=1)]


def test_without_a_span_nothing_becomes_current():
    spans = ChildSpans(lambda _: None)
    run = Run("h", "j", "{}", None, 0, keeps=False)

    with spans.below_attempt(run):
        assert trace.get_current_span() is trace.INVALID_SPAN


def test_a_copy_of_the_process_sends_none_of_its_spans():
    sent = []
    spans = ChildSpans(sent.append)
    spans.add_encoded("shop", b"x", 1)

    spans._lock.acquire()
    spans.forked()
    spans.flush()

    assert sent == []
