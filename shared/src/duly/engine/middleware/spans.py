"""A span of OpenTelemetry for each attempt, in the trace of whoever enqueued the task."""

from contextvars import Token

from opentelemetry import context as otel_context
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from typing_extensions import override

from duly import __version__
from duly.engine.middleware import Ended, Middleware, Outcome
from duly.task import TaskContext

_FAILED = {Outcome.RETRIED, Outcome.ARCHIVED, Outcome.LOST}


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
