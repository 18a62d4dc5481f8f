"""The spans of tasks, on a real Valkey, as a collector would get them."""

import asyncio
from datetime import timedelta

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from tests.otlp import Received

from duly.engine.enqueue.ticks import Ticks
from duly.engine.middleware import Ended, Hooks, Outcome
from duly.engine.middleware.attempts import TraceAttempts
from duly.engine.middleware.spans import MOST_HOPS, TraceTasks
from duly.engine.middleware.tracing import headers_of_current_span
from duly.job import Job, Policy
from duly.runtime.tracer import Provider, current
from duly.schedule import Entry
from duly.task import ATTEMPTED_HEADER, TaskContext, TaskState
from duly.testing.waiting import until

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
IGNORED = {"traceparent": f"00-{TRACE}-{SPAN}-00"}
MAIL = "ann.seeded@example.com"


class Errand(Job, kind="errand", policy=Policy(backoff=lambda *_: timedelta(0))):
    name: str = MAIL


class Next(Job, kind="next"):
    pass


@pytest.fixture
def ended():
    return Received()


@pytest.fixture
def provider(ended, monkeypatch):
    """Our provider, which keeps all; the global one, too, as in a service."""
    provider = Provider(ended, 1.0)
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
    return span.linked


async def test_one_trace_leads_from_the_tick_to_the_settled_task(store, serving, ended, provider):
    async def handler(job, context):
        with trace.get_tracer("shop").start_as_current_span("own"):
            await asyncio.sleep(0)

    entry = Entry(id="nightly", job=Errand(), interval=timedelta(hours=1))
    async with serving({Errand: handler}, middlewares=[TraceAttempts(provider)]):
        await Ticks(store).tick(entry)
        (settle,) = await arrived(ended, "settle default")

    tick, enqueue, wait, run, own = (
        named(ended, name)[0]
        for name in ("tick nightly", "enqueue default", "wait default", "run errand", "own")
    )
    assert len({span.trace_id for span in ended}) == 1
    assert tick.parent == ""
    assert enqueue.parent == tick.id
    assert {wait.parent, run.parent} == {enqueue.id}
    assert {own.parent, settle.parent} == {run.id}
    assert (enqueue.kind, run.kind) == (4, 5)
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

    async with serving({Errand: fail_twice}, middlewares=[TraceAttempts(provider)]):
        await client.enqueue(Errand(), headers=SAMPLED)
        await arrived(ended, "settle default", 3)

    first, second, third = named(ended, "run errand")
    assert (first.trace_id, first.parent, first.links) == (TRACE, SPAN, set())
    assert len({span.trace_id for span in (first, second, third)}) == 3
    assert (second.parent, third.parent) == ("", "")
    assert links(second) == {(SPAN, "producer"), (first.id, "attempt")}
    assert links(third) == {(SPAN, "producer"), (second.id, "attempt")}
    assert first.status.message == first.attributes["error.type"] == "ValueError"
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

    async with serving({Errand: fail_once}, middlewares=[TraceAttempts(provider)]):
        task = await client.enqueue(Errand(), headers=SAMPLED, max_attempts=1)

        async def archived():
            found = await inspector.tasks.find(task.id)
            return found.state is TaskState.ARCHIVED

        await until(archived)
        await inspector.tasks.rerun("default", task.id)
        await arrived(ended, "settle default", 2)

    first, second = named(ended, "run errand")
    assert second.trace_id != first.trace_id
    assert links(second) == {(SPAN, "producer"), (first.id, "attempt")}


async def test_successors_stay_in_the_trace_and_name_their_predecessor(
    client, serving, ended, provider
):
    async def first(job, context):
        context.then(Next(), Next())

    async def nothing(*_):
        pass

    async with serving({Errand: first, Next: nothing}, middlewares=[TraceAttempts(provider)]):
        await client.enqueue(Errand(), headers=SAMPLED)
        await arrived(ended, "run next", 2)

    (run,) = named(ended, "run errand")
    for span in named(ended, "run next"):
        assert (span.trace_id, span.parent) == (TRACE, run.id)
        assert span.state == "duly=2"


async def test_what_a_handler_enqueues_belongs_to_its_trace(client, serving, ended, provider):
    async def first(job, context):
        await client.enqueue(Next())

    async def nothing(*_):
        pass

    async with serving({Errand: first, Next: nothing}, middlewares=[TraceAttempts(provider)]):
        await client.enqueue(Errand(), headers=SAMPLED)
        await arrived(ended, "run next")

    (run,), (enqueue,), (after,) = (
        named(ended, name) for name in ("run errand", "enqueue default", "run next")
    )
    assert enqueue.parent == run.id
    assert after.parent == enqueue.id
    assert enqueue.attributes["messaging.message.id"] == after.attributes["messaging.message.id"]


def test_a_chain_that_goes_on_for_ever_begins_another_trace(ended, provider):
    state = f"duly={MOST_HOPS},shop=1"
    context = TaskContext(id="t", queue="q", kind="k", headers={**SAMPLED, "tracestate": state})

    begin_and_end(TraceAttempts(provider), context)

    (run,) = named(ended, "run k")
    assert run.trace_id != TRACE
    assert links(run) == {(SPAN, "producer")}


def test_the_state_of_others_is_kept(ended, provider):
    headers = {**SAMPLED, "tracestate": "shop=1,duly=3"}

    begin_and_end(
        TraceAttempts(provider), TaskContext(id="t", queue="q", kind="k", headers=headers)
    )

    assert ended[0].state == "duly=4,shop=1"


def test_a_task_after_a_crash_begins_another_trace(ended, provider):
    context = TaskContext(id="t", queue="q", kind="k", crashes=1, headers=SAMPLED)

    begin_and_end(TraceAttempts(provider), context)

    assert ended[0].trace_id != TRACE
    assert links(ended[0]) == {(SPAN, "producer")}


@pytest.mark.parametrize(
    "text",
    ["00-" + "0" * 32 + "-b7ad6b7169203331-01", "x" * 100_000, "\x00", "00-1-2-3", ""],
)
@pytest.mark.parametrize("header", ["traceparent", "tracestate", ATTEMPTED_HEADER])
def test_foreign_headers_break_nothing(ended, provider, header, text):
    context = TaskContext(id="t", queue="q", kind="k", headers={**SAMPLED, header: text})

    begin_and_end(TraceAttempts(provider), context)

    (run,) = named(ended, "run k")
    assert (run.trace_id == TRACE) is (header != "traceparent")


def test_a_trace_that_is_not_kept_makes_no_span_and_is_handed_on(ended, provider):
    async def enqueue():
        from duly.runtime.attemptlog import ATTEMPT

        context = TaskContext(id="t", queue="q", kind="k", headers=IGNORED)
        ATTEMPT.set(context)
        tracing = TraceAttempts(provider)
        tracing.began(context)
        handed = headers_of_current_span()
        tracing.ended(Ended(context, Outcome.SUCCEEDED, 0.1))
        return handed

    assert asyncio.run(enqueue()) == IGNORED
    assert ended == []


def test_a_ratio_of_zero_begins_no_trace(ended):
    tracing = TraceAttempts(Provider(ended, 0.0))

    begin_and_end(tracing, TaskContext(id="t", queue="q", kind="k"))

    assert ended == []


def test_outcomes_that_were_lost_wait_for_nothing(ended, provider):
    tracing = TraceAttempts(provider)

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
        begin_and_end(TraceAttempts(provider), TaskContext(id="t", queue="q", kind="k"))

    assert ended[0].parent == ""


def begin_and_end(tracing, context, outcome=Outcome.SUCCEEDED):
    tracing.began(context)
    tracing.ended(Ended(context, outcome, 0.1))
    tracing.settled(context.queue, [context.id])


def waited(**facts):
    return TaskContext(
        **{"id": "t1", "queue": "q", "kind": "k", "waiting_since_ms": 5, "started_ms": 12, **facts}
    )


def add_to_it(span):
    span.set_attribute("shop", 1)
    span.add_event("seen", {"n": 1})
    span.add_link(trace.SpanContext(7, 8, True, trace.TraceFlags(1)))
    span.update_name("own")
    span.set_status(trace.StatusCode.ERROR, "late")


def test_what_a_handler_adds_to_the_span_of_its_attempt_is_kept(ended, provider):
    tracing, context = TraceAttempts(provider), waited(headers=SAMPLED)

    tracing.began(context)
    add_to_it(trace.get_current_span())
    tracing.ended(Ended(context, Outcome.SUCCEEDED, 0.1))
    tracing.settled("q", ["t1"])

    assert [span.name for span in ended] == ["wait q", "own", "settle q"]
    wait, run, settle = ended
    assert (wait.parent, run.parent, settle.parent) == (SPAN, SPAN, run.id)
    assert (wait.start_ns, wait.end_ns) == (5_000_000, 12_000_000)
    assert (run.attributes["shop"], run.attributes["duly.outcome"]) == (1, "succeeded")
    assert run.attributes["duly.wait_ms"] == 7
    assert run.events == [("seen", {"n": 1})]
    assert run.links == {("0" * 31 + "7", "0" * 15 + "8")}
    assert (run.status.code, run.status.message) == (2, "late")


def test_a_handler_that_ends_the_span_of_its_attempt_has_it_given_away_once(ended, provider):
    tracing, context = TraceAttempts(provider), waited()

    tracing.began(context)
    trace.get_current_span().end()
    assert [span.name for span in ended] == ["run k"]
    tracing.ended(Ended(context, Outcome.SUCCEEDED, 0.1))
    tracing.settled("q", ["t1"])

    assert [span.name for span in ended] == ["run k", "settle q"]
    assert ended[1].attributes["duly.outcome"] == "succeeded"


def test_what_is_added_after_the_end_changes_nothing(ended, provider):
    tracing, context = TraceAttempts(provider), waited()

    tracing.began(context)
    span = trace.get_current_span()
    tracing.ended(Ended(context, Outcome.SUCCEEDED, 0.1))
    add_to_it(span)
    tracing.settled("q", ["t1"])

    assert ended[0].attributes["duly.outcome"] == "succeeded"
    assert "shop" not in ended[0].attributes
    assert ended[0].events == []


def test_a_stop_gives_away_the_spans_of_outcomes_that_the_broker_does_not_have(ended, provider):
    tracing, context = TraceAttempts(provider), waited(headers=SAMPLED)
    tracing.began(context)
    tracing.ended(Ended(context, Outcome.SUCCEEDED, 0.1))
    assert ended == []

    provider.flush()
    provider.flush()

    assert [span.name for span in ended] == ["wait q", "run k"]


def test_all_spans_of_many_tasks_settled_together_arrive(ended, provider):
    tracing, ids = TraceAttempts(provider), [str(number) for number in range(500)]
    for id_ in ids:
        context = waited(id=id_)
        tracing.began(context)
        tracing.ended(Ended(context, Outcome.SUCCEEDED, 0.1))

    tracing.settled("q", ["other", *ids])

    assert {span.attributes["messaging.message.id"] for span in named(ended, "run k")} == set(ids)
    assert len(ended) == 1000
    assert len({span.id for span in ended}) == 1000
    assert len({span.trace_id for span in ended}) == 500


def test_a_handler_that_breaks_its_context_costs_no_others_their_spans(ended, provider, capsys):
    tracing, broken, good = TraceAttempts(provider), waited(id="bad"), waited(id="good")
    for context in (broken, good):
        tracing.began(context)
        tracing.ended(Ended(context, Outcome.SUCCEEDED, 0.1))
    broken.started_ms = "x"

    Hooks([tracing]).settled("q", ["bad", "good"])

    assert {span.attributes["messaging.message.id"] for span in ended} == {"good"}
    assert "Middleware failed" in capsys.readouterr().out
