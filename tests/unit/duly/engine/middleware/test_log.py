"""The lines about the ends of attempts, as they are written while a real worker runs tasks."""

import io
import json
from datetime import timedelta

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.otlp import Received

from duly.engine.middleware.attempts import TraceAttempts
from duly.engine.middleware.log import LogTasks
from duly.engine.middleware.spans import TraceTasks
from duly.job import Job, Policy
from duly.runtime import logs
from duly.runtime.settings import LogSettings
from duly.runtime.tracer import Provider

TRACE = "0af7651916cd43dd8448eb211c80319c"
PRODUCED = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}


class Errand(Job, kind="errand", policy=Policy(max_attempts=2, backoff=lambda *_: timedelta(0))):
    pass


@pytest.fixture
def lines():
    """Return the lines of tasks, as dictionaries."""
    stream = io.StringIO()
    logs.configure(LogSettings(format="json"), service="worker", stream=stream)

    def found():
        all_lines = [json.loads(line) for line in stream.getvalue().splitlines()]
        return [line for line in all_lines if line["message"].startswith("Task ")]

    return found


@pytest.fixture
def ours():
    """duly's own tracer, and the traces of the attempts that it has seen end."""
    ended = Received()
    return TraceAttempts(Provider(ended, 1.0)), lambda: {
        span.attributes["duly.attempt"]: span.trace_id for span in ended if span.name[:3] == "run"
    }


@pytest.fixture
def theirs():
    """The same with the tracer of an application."""
    ended, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(ended))
    return TraceTasks(provider), lambda: {
        span.attributes["duly.attempt"]: f"{span.context.trace_id:032x}"
        for span in ended.get_finished_spans()
        if span.name[:3] == "run"
    }


@pytest.mark.parametrize("tracer", ["ours", "theirs"])
@pytest.mark.parametrize("headers", [PRODUCED, {}], ids=["traced by who enqueued it", "not"])
@pytest.mark.parametrize("tracer_first", [True, False])
async def test_each_line_names_the_trace_of_its_attempt(  # noqa: PLR0917
    client, serving, until, request, lines, tracer, headers, tracer_first
):
    middleware, traces = request.getfixturevalue(tracer)

    async def handler(job, context):
        raise ValueError("no")

    async def archived():
        return len(lines()) == 2 and len(traces()) == 2

    given = [middleware, LogTasks()][:: 1 if tracer_first else -1]
    async with serving({Errand: handler}, middlewares=given):
        await client.enqueue(Errand(), headers=headers)
        await until(archived)

    messages = [line["message"] for line in lines()]
    assert messages == ["Task failed, will be retried", "Task archived"]
    assert {line["attempt"]: line.get("trace_id") for line in lines()} == traces()
    assert (traces()[1] == TRACE) is bool(headers)
    assert not trace.get_current_span().get_span_context().is_valid


async def test_successes_are_logged_while_the_file_of_levels_says_so(
    client, serving, until, tmp_path
):
    file, stream = tmp_path / "levels", io.StringIO()
    settings = LogSettings(format="json", levels_file=str(file))
    output = logs.configure(settings, service="worker", stream=stream)
    ran = []

    async def handler(job, context):
        ran.append(context.id)

    async def run_one():
        task = await client.enqueue(Errand())
        await until(lambda: task.id in ran)
        return task.id

    async with serving({Errand: handler}, middlewares=[LogTasks(levels=output.levels)]) as server:
        await run_one()
        file.write_text("duly: DEBUG")
        output.levels.look()
        told = await run_one()
        await until(lambda: not server.receiver.running())
        file.write_text("duly: INFO")
        output.levels.look()
        await run_one()
        await until(lambda: not server.receiver.running())

    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    found = [line["task_id"] for line in lines if line["message"] == "Task succeeded"]
    assert found == [told]
