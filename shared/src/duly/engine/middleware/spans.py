"""Spans of OpenTelemetry for each attempt: its wait, its run, and the writing of its outcome.

The first attempt belongs to the trace of whoever enqueued the task. Later ones, reruns, and what
is too many successors away begin a trace of their own with links to where they come from: a trace
is to end.

This is for the tracer provider of an application. What duly does with its own is in `attempts`,
which costs less; both make the same spans.
"""

from collections.abc import Iterable
from contextvars import Token
from functools import lru_cache
from typing import Any, Final, NamedTuple

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from typing_extensions import override

from duly import __version__
from duly.engine.middleware import Ended, Middleware, Outcome
from duly.runtime.traceparent import TRACESTATE, Parent, members, parent_of, read
from duly.task import ATTEMPTED_HEADER, TaskContext

SYSTEM: Final = "duly"
MOST_HOPS: Final = 16
"""Tasks one after the other in a trace; the next one begins another."""
MOST_UNSETTLED: Final = 100_000
FAILED: Final = {Outcome.RETRIED, Outcome.ARCHIVED, Outcome.LOST}
UNWRITTEN: Final = {Outcome.LOST, Outcome.REQUEUED}
"""Outcomes that this worker does not write, or not always."""
_STATE: Final = "duly"
_MS: Final = 1_000_000


class TraceTasks(Middleware):
    """Makes a span `run <kind>` of attempts, current while the handler runs, and two around it.

    Args:
        provider: Makes them; None: the one of this process.
    """

    encloses = True  # what is logged and counted of an attempt names its trace

    def __init__(self, provider: trace.TracerProvider | None = None) -> None:
        provider = provider or trace.get_tracer_provider()
        self._tracer = provider.get_tracer("duly.engine", __version__)
        self._open: dict[int, tuple[trace.Span, Token[Context]]] = {}
        self._unsettled: dict[tuple[str, str], trace.Span] = {}

    @override
    def began(self, context: TaskContext) -> None:
        """Start the attempt's span; called in the task of its handler."""
        parent = parent_of(context.headers) if context.headers else None
        if parent is not None and not parent.sampled:
            return
        found = place(context, parent)
        where, tracer = Context(), self._tracer
        if found.parent is not None:
            named = trace.NonRecordingSpan(span_context(found.parent, found.state()))
            where = trace.set_span_in_context(named, where)
            if context.waiting_since_ms:
                attributes = waits(context)
                since_ns, until_ns = waited_ns(context)
                wait = tracer.start_span(
                    f"wait {context.queue}", where, attributes=attributes, start_time=since_ns
                )
                wait.end(until_ns)
        links = [trace.Link(each, said) for each, said in found.links()]
        span = tracer.start_span(
            f"run {context.kind}", where, trace.SpanKind.CONSUMER, runs(context), links
        )
        if span.is_recording():
            token = otel_context.attach(trace.set_span_in_context(span))
            self._open[id(context)] = (span, token)

    @override
    def ended(self, end: Ended) -> None:
        """End the span with how the attempt ended."""
        opened = self._open.pop(id(end.context), None)
        if opened is None:
            return
        span, token = opened
        otel_context.detach(token)
        conclude(span, end)
        span.end()
        context = end.context
        if end.outcome in UNWRITTEN or len(self._unsettled) >= MOST_UNSETTLED:
            return
        self._unsettled[context.queue, context.id] = self._tracer.start_span(
            f"settle {context.queue}",
            trace.set_span_in_context(span, Context()),
            trace.SpanKind.CLIENT,
            settles(context, end.outcome.value),
        )

    @override
    def settled(self, queue: str, task_ids: Iterable[str]) -> None:
        """End the spans of outcomes that the broker has."""
        unsettled = self._unsettled
        if not unsettled:
            return
        for task_id in task_ids:
            span = unsettled.pop((queue, task_id), None)
            if span is not None:
                span.end()


class Place(NamedTuple):
    """Where the span of an attempt belongs."""

    parent: Parent | None
    """What it is below; None: it begins a trace."""
    hops: int = 0
    """How many tasks the trace has then had one after the other."""
    others: tuple[tuple[str, str], ...] = ()
    """What others have written into the state of the trace."""
    producer: Parent | None = None
    """To be linked to, as what enqueued the task."""
    attempt: Parent | None = None
    """To be linked to, as the attempt before."""

    def state(self) -> trace.TraceState:
        """Return the state of the trace."""
        if self.others:
            return trace.TraceState([(_STATE, str(self.hops)), *self.others])
        return _state(self.hops)

    def links(self) -> list[tuple[trace.SpanContext, dict[str, Any]]]:
        """Return what the span is linked to."""
        found = ("producer", self.producer), ("attempt", self.attempt)
        return [(span_context(span), {"duly.link": what}) for what, span in found if span]


def place(context: TaskContext, parent: Parent | None) -> Place:
    """Return where the span of an attempt belongs; `parent`: what its headers name."""
    before = context.headers.get(ATTEMPTED_HEADER, "") if context.headers else ""
    earlier = read(before) if before else None
    if parent is None:
        return Place(None, attempt=earlier)
    state = context.headers.get(TRACESTATE, "")
    known = members(state) if state else []
    hops = _hops(known)
    if earlier is not None or context.attempt > 1 or context.crashes or hops >= MOST_HOPS:
        return Place(None, producer=parent, attempt=earlier)
    others = tuple(pair for pair in known if pair[0] != _STATE) if known else ()
    return Place(parent, hops + 1, others)


def span_context(parent: Parent, state: trace.TraceState | None = None) -> trace.SpanContext:
    """Return the span of another process."""
    return trace.SpanContext(
        int(parent.trace_id, 16),
        int(parent.span_id, 16),
        is_remote=True,
        trace_flags=trace.TraceFlags(parent.sampled),
        trace_state=state,
    )


def conclude(span: trace.Span, end: Ended) -> None:
    """Write how an attempt ended into its span."""
    span.set_attribute("duly.outcome", end.outcome.value)
    if end.outcome in FAILED:
        # The class only: messages may hold what belongs in no trace.
        name = type(end.error).__name__ if end.error is not None else end.outcome.value
        span.set_attribute("error.type", name)
        span.set_status(trace.StatusCode.ERROR, name)


def waited_ms(context: TaskContext) -> int:
    """Return how long a task waited for an attempt."""
    since_ms = context.waiting_since_ms
    return max(0, context.started_ms - since_ms) if since_ms else 0


def waited_ns(context: TaskContext) -> tuple[int, int]:
    """Return from when to when a task waited for an attempt."""
    since_ms = context.waiting_since_ms
    return since_ms * _MS, (since_ms + waited_ms(context)) * _MS


def runs(context: TaskContext) -> dict[str, Any]:
    """Return the attributes of an attempt that begins."""
    return {
        "messaging.system": SYSTEM,
        "messaging.operation.name": "run",
        "messaging.operation.type": "process",
        "messaging.destination.name": context.queue,
        "duly.kind": context.kind,
        "messaging.message.id": context.id,
        "duly.attempt": context.attempt,
        "duly.wait_ms": waited_ms(context),
    }


def waits(context: TaskContext) -> dict[str, Any]:
    """Return the attributes of a task's wait."""
    return {
        "messaging.system": SYSTEM,
        "messaging.destination.name": context.queue,
        "messaging.message.id": context.id,
    }


def settles(context: TaskContext, outcome: str) -> dict[str, Any]:
    """Return the attributes of the writing of an outcome."""
    return {
        "messaging.system": SYSTEM,
        "messaging.destination.name": context.queue,
        "messaging.operation.name": "settle",
        "messaging.operation.type": "settle",
        "messaging.message.id": context.id,
        "duly.outcome": outcome,
    }


def _hops(known: list[tuple[str, str]]) -> int:
    text = dict(known).get(_STATE, "")
    return int(text) if text.isdecimal() and len(text) < 4 else 0  # noqa: PLR2004 - digits


@lru_cache(MOST_HOPS + 1)
def _state(hops: int) -> trace.TraceState:
    return trace.TraceState([(_STATE, str(hops))])
