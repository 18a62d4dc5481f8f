import asyncio

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from duly.engine.middleware import Ended, Outcome
from duly.engine.middleware.tracing import TraceTasks, headers_of_current_span
from duly.task import TaskContext


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter):
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider
    provider.shutdown()


def context(**changes):
    return TaskContext(id="t1", queue="default", kind="check", **changes)


def test_an_attempt_is_a_span_in_the_trace_of_its_producer(provider, exporter):
    with provider.get_tracer("shop").start_as_current_span("order placed") as parent:
        headers = headers_of_current_span()
    tracing, attempt = TraceTasks(provider), context(headers=headers, attempt=2)

    tracing.began(attempt)
    current = trace.get_current_span().get_span_context()
    tracing.ended(Ended(attempt, Outcome.SUCCEEDED, 0.1))

    _, span = exporter.get_finished_spans()
    assert span.name == "run check"
    assert span.context.span_id == current.span_id
    assert span.parent.span_id == parent.get_span_context().span_id
    assert span.attributes["duly.attempt"] == 2
    assert span.attributes["duly.outcome"] == "succeeded"
    assert span.status.is_ok or span.status.is_unset


def test_a_failure_names_its_class_and_not_its_words(provider, exporter):
    tracing, attempt = TraceTasks(provider), context()

    tracing.began(attempt)
    tracing.ended(Ended(attempt, Outcome.ARCHIVED, 0.1, ValueError("ann@example.com")))

    (span,) = exporter.get_finished_spans()
    assert (span.status.status_code, span.status.description) == (
        trace.StatusCode.ERROR,
        "ValueError",
    )
    assert "ann@example.com" not in span.to_json()


async def test_attempts_at_the_same_time_do_not_meet(provider, exporter):
    tracing = TraceTasks(provider)

    async def attempt(number):
        own = TaskContext(id=str(number), queue="q", kind="k")
        tracing.began(own)
        await asyncio.sleep(0)
        inner = trace.get_current_span().get_span_context().span_id
        tracing.ended(Ended(own, Outcome.SUCCEEDED, 0.0))
        return inner

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(attempt(number)) for number in range(5)]

    assert len({task.result() for task in tasks}) == 5
    assert len(exporter.get_finished_spans()) == 5


def test_without_a_provider_nothing_is_added():
    assert headers_of_current_span() == {}
