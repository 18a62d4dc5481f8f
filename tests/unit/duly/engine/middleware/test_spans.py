"""An application's tracer provider gets the spans that a collector gets of duly's own."""

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.otlp import Received

from duly.engine.middleware import Ended, Outcome
from duly.engine.middleware.attempts import TraceAttempts
from duly.engine.middleware.spans import TraceTasks
from duly.runtime.tracer import Provider
from duly.task import ATTEMPTED_HEADER, TaskContext

TRACE, PRODUCER, BEFORE = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "c" * 16
PARENT = {"traceparent": f"00-{TRACE}-{PRODUCER}-01"}
EARLIER = {ATTEMPTED_HEADER: f"00-{'d' * 32}-{BEFORE}-01"}


def passed_through(tracing, context, outcome, error):
    tracing.began(context)
    with trace.get_tracer("shop").start_as_current_span("own"):
        pass
    tracing.ended(Ended(context, outcome, 0.1, error))
    tracing.settled(context.queue, [context.id])


def ours(monkeypatch, *attempt):
    received = Received()
    provider = Provider(received, 1.0)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    passed_through(TraceAttempts(provider), *attempt)
    names = {span.id: span.name for span in received}
    return {
        span.name: (
            names.get(span.parent, span.parent),
            span.kind,
            span.attributes,
            span.linked,
            (span.status.code, span.status.message),
            span.state,
            span.trace_id == TRACE,
        )
        for span in received
    }


def theirs(monkeypatch, *attempt):
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    passed_through(TraceTasks(provider), *attempt)
    spans = exporter.get_finished_spans()
    names = {f"{span.context.span_id:016x}": span.name for span in spans}
    codes = {trace.StatusCode.UNSET: 0, trace.StatusCode.ERROR: 2}

    def above(span):
        return f"{span.parent.span_id:016x}" if span.parent else ""

    return {
        span.name: (
            names.get(above(span), above(span)),
            span.kind.value + 1,
            dict(span.attributes),
            {(f"{it.context.span_id:016x}", it.attributes["duly.link"]) for it in span.links},
            (codes[span.status.status_code], span.status.description or ""),
            span.context.trace_state.to_header(),
            span.context.trace_id == int(TRACE, 16),
        )
        for span in spans
    }


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="none"),
        pytest.param(PARENT, id="parent"),
        pytest.param({**PARENT, "tracestate": "shop=1,duly=3"}, id="state"),
        pytest.param({**PARENT, "tracestate": "duly=16"}, id="too-far"),
        pytest.param({**PARENT, **EARLIER}, id="again"),
        pytest.param(EARLIER, id="again-alone"),
    ],
)
@pytest.mark.parametrize("attempt", [1, 2])
@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (Outcome.SUCCEEDED, None),
        (Outcome.RETRIED, ValueError("ann@example.com")),
        (Outcome.ARCHIVED, None),
        (Outcome.CANCELLED, None),
        (Outcome.REQUEUED, None),
        (Outcome.LOST, None),
    ],
)
def test_both_tracers_say_the_same(monkeypatch, headers, attempt, outcome, error):
    context = TaskContext(
        id="t1",
        queue="default",
        kind="check",
        attempt=attempt,
        waiting_since_ms=1_780_000_000_000,
        started_ms=1_780_000_000_250,
        headers=headers,
    )

    found = ours(monkeypatch, context, outcome, error)

    assert found == theirs(monkeypatch, context, outcome, error)
    assert "ann@" not in str(found)
