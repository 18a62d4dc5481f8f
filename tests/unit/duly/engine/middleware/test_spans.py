"""The spans of tasks, on a real Valkey, as a collector would get them."""

import asyncio
from datetime import timedelta

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from duly.engine.enqueue.ticks import Ticks
from duly.engine.middleware import Ended, Outcome
from duly.engine.middleware.spans import MOST_HOPS, TraceTasks
from duly.engine.middleware.tracing import headers_of_current_span
from duly.job import Job, Policy
from duly.runtime.traceparent import written
from duly.runtime.tracer import Provider, current
from duly.schedule import Entry
from duly.task import ATTEMPTED_HEADER, TaskContext, TaskState
from duly.testing.waiting import until

TRACE, SPAN = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
SAMPLED = {"traceparent": written(TRACE, SPAN, sampled=True)}
IGNORED = {"traceparent": written(TRACE, SPAN, sampled=False)}
MAIL = "ann.seeded@example.com"


class Errand(Job, kind="errand", policy=Policy(backoff=lambda *_: timedelta(0))):
    name: str = MAIL


class Next(Job, kind="next"):
    pass


@pytest.fixture
def ended():
    return []


@pytest.fixture
def provider(ended, monkeypatch):
    """Our provider, which keeps all; the global one, too, as in a service."""
    provider = Provider(ended.append, 1.0)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return provider


def named(ended, name):
    return [span for span in ended if span.name == name]


async def arrived(ended, name, count=1):
    await until(lambda: _enough(ended, name, count))
    return named(ended, name)


async def _enough(ended, name, count):
    return len(named(ended, name)) >= count


def links(span):
    return {(context.span_id, said["duly.link"]) for context, said in span.links}


async def test_one_trace_leads_from_the_tick_to_the_settled_task(store, serving, ended, provider):
    async def handler(job, context):
        with trace.get_tracer("shop").start_as_current_span("own"):
            await asyncio.sleep(0)

    entry = Entry(id="nightly", job=Errand(), interval=timedelta(hours=1))
    async with serving({Errand: handler}, middlewares=[TraceTasks(provider)]):
        await Ticks(store).tick(entry)
        (settle,) = await arrived(ended, "settle default")

    tick, enqueue, wait, run, own = (
        named(ended, name)[0]
        for name in ("tick nightly", "enqueue default", "wait default", "run errand", "own")
    )
    assert len({span.context.trace_id for span in ended}) == 1
    assert tick.parent_id == 0
    assert enqueue.parent_id == tick.context.span_id
    assert {wait.parent_id, run.parent_id} == {enqueue.context.span_id}
    assert {own.parent_id, settle.parent_id} == {run.context.span_id}
    assert (enqueue.kind, run.kind) == (trace.SpanKind.PRODUCER, trace.SpanKind.CONSUMER)
    assert tick.attributes["duly.entry"] == "nightly"
    assert tick.attributes["duly.ticks"] == ["enqueued"]
    assert run.attributes["messaging.system"] == "duly"
    assert run.attributes["messaging.operation.name"] == "run"
    assert run.attributes["messaging.operation.type"] == "process"
    assert run.attributes["messaging.destination.name"] == "default"
    assert run.attributes["messaging.message.id"].startswith("nightly@")
    assert settle.attributes["messaging.operation.type"] == "settle"
    assert enqueue.attributes["messaging.operation.type"] == "send"
    assert MAIL not in str([(span.name, span.attributes, span.events) for span in ended])


async def test_a_retry_begins_a_trace_with_links_to_where_it_comes_from(
    client, serving, ended, provider
):
    async def fail_twice(job, context):
        if context.attempt < 3:
            raise ValueError(MAIL)

    async with serving({Errand: fail_twice}, middlewares=[TraceTasks(provider)]):
        await client.enqueue(Errand(), headers=SAMPLED)
        await arrived(ended, "settle default", 3)

    first, second, third = named(ended, "run errand")
    assert (first.context.trace_id, first.parent_id, first.links) == (TRACE, SPAN, [])
    assert len({span.context.trace_id for span in (first, second, third)}) == 3
    assert (second.parent_id, third.parent_id) == (0, 0)
    assert links(second) == {(SPAN, "producer"), (first.context.span_id, "attempt")}
    assert links(third) == {(SPAN, "producer"), (second.context.span_id, "attempt")}
    assert first.status_text == first.attributes["error.type"] == "ValueError"
    assert [span.attributes["duly.outcome"] for span in (first, third)] == ["retried", "succeeded"]
    assert MAIL not in str([(span.name, span.attributes, span.events) for span in ended])


async def test_a_rerun_is_linked_to_the_attempt_before_it(
    client, inspector, serving, ended, provider
):
    runs = []

    async def fail_once(job, context):
        runs.append(context.id)
        if len(runs) == 1:
            raise ValueError

    async with serving({Errand: fail_once}, middlewares=[TraceTasks(provider)]):
        task = await client.enqueue(Errand(), headers=SAMPLED, max_attempts=1)

        async def archived():
            found = await inspector.tasks.find(task.id)
            return found.state is TaskState.ARCHIVED

        await until(archived)
        await inspector.tasks.rerun("default", task.id)
        await arrived(ended, "settle default", 2)

    first, second = named(ended, "run errand")
    assert second.context.trace_id != first.context.trace_id
    assert links(second) == {(SPAN, "producer"), (first.context.span_id, "attempt")}


async def test_successors_stay_in_the_trace_and_name_their_predecessor(
    client, serving, ended, provider
):
    async def first(job, context):
        context.then(Next(), Next())

    async def nothing(*_):
        pass

    async with serving({Errand: first, Next: nothing}, middlewares=[TraceTasks(provider)]):
        await client.enqueue(Errand(), headers=SAMPLED)
        await arrived(ended, "run next", 2)

    (run,) = named(ended, "run errand")
    for span in named(ended, "run next"):
        assert (span.context.trace_id, span.parent_id) == (TRACE, run.context.span_id)
        assert span.context.trace_state["duly"] == "2"


async def test_what_a_handler_enqueues_belongs_to_its_trace(client, serving, ended, provider):
    async def first(job, context):
        await client.enqueue(Next())

    async def nothing(*_):
        pass

    async with serving({Errand: first, Next: nothing}, middlewares=[TraceTasks(provider)]):
        await client.enqueue(Errand(), headers=SAMPLED)
        await arrived(ended, "run next")

    (run,), (enqueue,), (after,) = (
        named(ended, name) for name in ("run errand", "enqueue default", "run next")
    )
    assert enqueue.parent_id == run.context.span_id
    assert after.parent_id == enqueue.context.span_id
    assert enqueue.attributes["messaging.message.id"] == after.attributes["messaging.message.id"]


def test_a_chain_that_goes_on_for_ever_begins_another_trace(ended, provider):
    state = f"duly={MOST_HOPS},shop=1"
    context = TaskContext(id="t", queue="q", kind="k", headers={**SAMPLED, "tracestate": state})

    begin_and_end(TraceTasks(provider), context)

    (run,) = named(ended, "run k")
    assert run.context.trace_id != TRACE
    assert links(run) == {(SPAN, "producer")}


def test_the_state_of_others_is_kept(ended, provider):
    headers = {**SAMPLED, "tracestate": "shop=1,duly=3"}

    begin_and_end(TraceTasks(provider), TaskContext(id="t", queue="q", kind="k", headers=headers))

    assert ended[0].context.trace_state.to_header() == "duly=4,shop=1"


def test_a_task_after_a_crash_begins_another_trace(ended, provider):
    context = TaskContext(id="t", queue="q", kind="k", crashes=1, headers=SAMPLED)

    begin_and_end(TraceTasks(provider), context)

    assert ended[0].context.trace_id != TRACE
    assert links(ended[0]) == {(SPAN, "producer")}


@pytest.mark.parametrize(
    "text",
    ["00-" + "0" * 32 + "-b7ad6b7169203331-01", "x" * 100_000, "\x00", "00-1-2-3", ""],
)
@pytest.mark.parametrize("header", ["traceparent", "tracestate", ATTEMPTED_HEADER])
def test_foreign_headers_break_nothing(ended, provider, header, text):
    context = TaskContext(id="t", queue="q", kind="k", headers={**SAMPLED, header: text})

    begin_and_end(TraceTasks(provider), context)

    (run,) = named(ended, "run k")
    assert (run.context.trace_id == TRACE) is (header != "traceparent")


def test_a_trace_that_is_not_kept_makes_no_span_and_is_handed_on(ended, provider):
    async def enqueue():
        from duly.runtime.attemptlog import ATTEMPT

        context = TaskContext(id="t", queue="q", kind="k", headers=IGNORED)
        ATTEMPT.set(context)
        tracing = TraceTasks(provider)
        tracing.began(context)
        handed = headers_of_current_span()
        tracing.ended(Ended(context, Outcome.SUCCEEDED, 0.1))
        return handed

    assert asyncio.run(enqueue()) == IGNORED
    assert ended == []


def test_a_ratio_of_zero_begins_no_trace(ended):
    tracing = TraceTasks(Provider(ended.append, 0.0))

    begin_and_end(tracing, TaskContext(id="t", queue="q", kind="k"))

    assert ended == []


def test_outcomes_that_were_lost_wait_for_nothing(ended, provider):
    tracing = TraceTasks(provider)

    begin_and_end(tracing, TaskContext(id="t", queue="q", kind="k"), Outcome.LOST)
    tracing.settled("q", ["t"])

    assert [span.name for span in ended] == ["run k"]


def test_a_provider_of_the_application_decides_itself(ended):
    tracing = TraceTasks(TracerProvider())
    context = TaskContext(id="t", queue="q", kind="k")

    tracing.began(context)
    here = trace.get_current_span()
    tracing.ended(Ended(context, Outcome.SUCCEEDED, 0.1))

    assert here.name == "run k"


def test_the_current_span_of_the_caller_is_not_the_parent_of_an_attempt(ended, provider):
    with current(provider.get_tracer("shop").start_span("other")):
        begin_and_end(TraceTasks(provider), TaskContext(id="t", queue="q", kind="k"))

    assert ended[0].parent_id == 0


def begin_and_end(tracing, context, outcome=Outcome.SUCCEEDED):
    tracing.began(context)
    tracing.ended(Ended(context, outcome, 0.1))
