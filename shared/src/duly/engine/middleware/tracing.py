"""Spans of OpenTelemetry: one an attempt, in the trace of whoever enqueued the task.

The context travels in the task's headers, as W3C's `traceparent`. Which spans are kept, and where
they go, is the tracer provider's matter: without one nothing is recorded and nothing is added.
"""

import re
from collections.abc import Mapping
from contextvars import Token

from opentelemetry import context as otel_context
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from typing_extensions import override

from duly import __version__
from duly.engine.middleware import Ended, Middleware, Outcome
from duly.task import TaskContext

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_FAILED = {Outcome.RETRIED, Outcome.ARCHIVED, Outcome.LOST}


def headers_of_current_span() -> dict[str, str]:
    """Return the headers that carry the current trace; none when nothing is being traced."""
    carrier: dict[str, str] = {}
    # Where nothing is in the context there is nothing to carry; to ask all propagators for that
    # took as long as all else that a task is made of.
    if otel_context.get_current():
        propagate.inject(carrier)
    return carrier


def trace_id_of(headers: Mapping[str, str]) -> str:
    """Return the id of the current trace, else of the one that a task's headers name, or ""."""
    here = trace.get_current_span().get_span_context()
    if here.is_valid:
        return trace.format_trace_id(here.trace_id)
    found = _TRACEPARENT.match(headers.get("traceparent", ""))
    return found[1] if found else ""


def tracing() -> tuple["TraceTasks", ...]:
    """Return the middleware where this process has a tracer provider, nothing where not.

    `opentelemetry-instrument` sets one from the standard OTEL_ variables.
    """
    provider = trace.get_tracer_provider()
    return () if isinstance(provider, trace.ProxyTracerProvider) else (TraceTasks(provider),)


class TraceTasks(Middleware):
    """Makes a span `run <kind>` of every attempt, current while its handler runs."""

    def __init__(self, provider: trace.TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("duly.engine", __version__, tracer_provider=provider)
        self._open: dict[int, tuple[trace.Span, Token[Context]]] = {}

    @override
    def began(self, context: TaskContext) -> None:
        """Start the attempt's span; called in the task of its handler."""
        span = self._tracer.start_span(
            f"run {context.kind}",
            context=propagate.extract(context.headers),
            kind=trace.SpanKind.CONSUMER,
            attributes={
                "messaging.system": "duly",
                "messaging.destination.name": context.queue,
                "messaging.message.id": context.id,
                "duly.attempt": context.attempt,
            },
        )
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
            span.set_status(trace.StatusCode.ERROR, name)
        span.end()
