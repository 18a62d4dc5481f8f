"""Spans of OpenTelemetry for each attempt: its wait, its run, and the writing of its outcome.

The first attempt belongs to the trace of whoever enqueued the task. Later ones, reruns, and what
is too many successors away begin a trace of their own with links to where they come from: a trace
is to end.
"""

import random
from collections.abc import Iterable
from contextvars import Token
from functools import lru_cache
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from typing_extensions import override

from duly import __version__
from duly.engine.middleware import Ended, Middleware, Outcome
from duly.runtime import tracer as own
from duly.runtime.traceparent import TRACESTATE, Parent, members, parent_of, read
from duly.task import ATTEMPTED_HEADER, TaskContext

SYSTEM: Final = "duly"
MOST_HOPS: Final = 16
"""Tasks one after the other in a trace; the next one begins another."""
_STATE: Final = "duly"
_MOST_UNSETTLED: Final = 100_000
_FAILED: Final = {Outcome.RETRIED, Outcome.ARCHIVED, Outcome.LOST}
_UNWRITTEN: Final = {Outcome.LOST, Outcome.REQUEUED}
"""Outcomes that this worker does not write, or not always."""
_KINDS: Final = trace.SpanKind
_MS: Final = 1_000_000


class TraceTasks(Middleware):
    """Makes a span `run <kind>` of attempts, current while the handler runs, and two around it.

    A task whose trace is not kept costs one look at its headers.
    """

    def __init__(self, provider: trace.TracerProvider | None = None) -> None:
        provider = provider or trace.get_tracer_provider()
        self._tracer = provider.get_tracer("duly.engine", __version__)
        # Of ours it is known which traces they keep; to begin one costs more than to ask.
        self._ratio = provider.ratio if isinstance(provider, own.Provider) else 1.0
        self._open: dict[int, tuple[trace.Span, Token[Context]]] = {}
        self._unsettled: dict[tuple[str, str], trace.Span] = {}

    @override
    def began(self, context: TaskContext) -> None:
        """Start the attempt's span; called in the task of its handler."""
        parent = parent_of(context.headers) if context.headers else None
        if parent is not None:
            if not parent.sampled:
                return
        elif random.random() >= self._ratio and ATTEMPTED_HEADER not in context.headers:  # noqa: S311
            return
        where, links = _place(context, parent)
        tracer, facts = self._tracer, _facts(context.queue, context.kind)
        waited_ms = max(0, context.started_ms - context.waiting_since_ms)
        if parent is not None and not links and context.waiting_since_ms:
            since = context.waiting_since_ms * _MS
            wait = tracer.start_span(
                f"wait {context.queue}",
                where,
                attributes={**_waits(context.queue), "messaging.message.id": context.id},
                start_time=since,
            )
            wait.end(since + waited_ms * _MS)
        span = tracer.start_span(
            f"run {context.kind}",
            where,
            _KINDS.CONSUMER,
            {
                **facts,
                "messaging.message.id": context.id,
                "duly.attempt": context.attempt,
                "duly.wait_ms": waited_ms if context.waiting_since_ms else 0,
            },
            links,
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
        span.set_attribute("duly.outcome", end.outcome.value)
        if end.outcome in _FAILED:
            # The class only: messages may hold what belongs in no trace.
            name = type(end.error).__name__ if end.error is not None else end.outcome.value
            span.set_attribute("error.type", name)
            span.set_status(trace.StatusCode.ERROR, name)
        span.end()
        context = end.context
        if end.outcome in _UNWRITTEN or len(self._unsettled) >= _MOST_UNSETTLED:
            return
        self._unsettled[context.queue, context.id] = self._tracer.start_span(
            f"settle {context.queue}",
            trace.set_span_in_context(span, Context()),
            _KINDS.CLIENT,
            {
                **_settles(context.queue),
                "messaging.message.id": context.id,
                "duly.outcome": end.outcome.value,
            },
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


def _place(context: TaskContext, parent: Parent | None) -> tuple[Context, list[trace.Link]]:
    """Return where an attempt's span belongs, and what it is linked to.

    Without a parent, or with links, it begins a trace.
    """
    before = context.headers.get(ATTEMPTED_HEADER, "")
    earlier = read(before) if before else None
    if parent is None:
        return own.KEPT, _links(attempt=earlier)
    state = context.headers.get(TRACESTATE, "")
    known = members(state) if state else []
    hops = _hops(known)
    if earlier is not None or context.attempt > 1 or context.crashes or hops >= MOST_HOPS:
        return own.KEPT, _links(producer=parent, attempt=earlier)
    others = [pair for pair in known if pair[0] != _STATE]
    found = trace.TraceState([(_STATE, str(hops + 1)), *others]) if others else _state(hops + 1)
    return trace.set_span_in_context(_named(parent, found), Context()), []


def _links(**spans: Parent | None) -> list[trace.Link]:
    return [
        trace.Link(_named(span).get_span_context(), {"duly.link": what})
        for what, span in spans.items()
        if span is not None
    ]


def _named(parent: Parent, state: trace.TraceState | None = None) -> trace.NonRecordingSpan:
    """Return the span of another process."""
    return trace.NonRecordingSpan(
        trace.SpanContext(
            int(parent.trace_id, 16),
            int(parent.span_id, 16),
            is_remote=True,
            trace_flags=trace.TraceFlags(parent.sampled),
            trace_state=state,
        )
    )


def _hops(known: list[tuple[str, str]]) -> int:
    text = dict(known).get(_STATE, "")
    return int(text) if text.isdecimal() and len(text) < 4 else 0  # noqa: PLR2004 - digits


@lru_cache(MOST_HOPS + 1)
def _state(hops: int) -> trace.TraceState:
    return trace.TraceState([(_STATE, str(hops))])


@lru_cache(1024)
def _facts(queue: str, kind: str) -> dict[str, Any]:
    return {
        "messaging.system": SYSTEM,
        "messaging.operation.name": "run",
        "messaging.operation.type": "process",
        "messaging.destination.name": queue,
        "duly.kind": kind,
    }


@lru_cache(256)
def _waits(queue: str) -> dict[str, Any]:
    return {"messaging.system": SYSTEM, "messaging.destination.name": queue}


@lru_cache(256)
def _settles(queue: str) -> dict[str, Any]:
    return {
        **_waits(queue),
        "messaging.operation.name": "settle",
        "messaging.operation.type": "settle",
    }
