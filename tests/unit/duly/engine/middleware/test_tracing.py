import asyncio
import os
import subprocess
import sys

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from duly.engine.middleware import Ended, Outcome
from duly.engine.middleware.spans import TraceTasks
from duly.engine.middleware.tracing import headers_of_current_span
from duly.runtime.attemptlog import trace_id_of
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
    tracing, attempt = TraceTasks(provider), context(headers=headers, attempt=1)

    tracing.began(attempt)
    current = trace.get_current_span().get_span_context()
    tracing.ended(Ended(attempt, Outcome.SUCCEEDED, 0.1))

    _, span = exporter.get_finished_spans()
    assert span.name == "run check"
    assert span.context.span_id == current.span_id
    assert span.parent.span_id == parent.get_span_context().span_id
    assert span.attributes["duly.attempt"] == 1
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


NO_PROVIDER = ""
OWN_PROVIDER = (
    "from opentelemetry import trace\n"
    "from opentelemetry.sdk.trace import TracerProvider\n"
    "trace.set_tracer_provider(TracerProvider())\n"
)
API_ONLY = "from opentelemetry import trace\n"


@pytest.mark.parametrize(
    ("before", "variables", "middlewares", "imported"),
    [
        pytest.param(NO_PROVIDER, {}, 0, False, id="no provider"),
        pytest.param(API_ONLY, {}, 0, True, id="the API alone"),
        pytest.param(OWN_PROVIDER, {}, 1, True, id="a provider of the process"),
        pytest.param(
            NO_PROVIDER,
            {"OTEL_PYTHON_TRACER_PROVIDER": "sdk_tracer_provider"},
            1,
            True,
            id="a provider of the environment",
        ),
    ],
)
def test_opentelemetry_is_imported_only_for_a_provider(before, variables, middlewares, imported):
    code = (
        "import sys\n"
        f"{before}"
        "from duly.engine.middleware.tracing import headers_of_current_span, tracing\n"
        "from duly.runtime.attemptlog import trace_id_of\n"
        "print(len(tracing()), headers_of_current_span(), repr(trace_id_of({})))\n"
        "print('opentelemetry' in sys.modules)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert done.stdout.splitlines() == [f"{middlewares} {{}} ''", str(imported)]


def test_the_trace_of_a_task_is_read_from_its_headers():
    headers = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}

    assert trace_id_of(headers) == "0af7651916cd43dd8448eb211c80319c"


def test_the_current_trace_precedes_that_of_the_headers(provider):
    with provider.get_tracer("shop").start_as_current_span("order placed") as span:
        current = trace.format_trace_id(span.get_span_context().trace_id)

        assert trace_id_of({"traceparent": "garbage"}) == current
