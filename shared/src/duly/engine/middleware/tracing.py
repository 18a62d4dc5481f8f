"""Traces of OpenTelemetry: each task carries the context in which it was enqueued.

The context travels in the task's headers, as W3C's `traceparent`. Which spans are kept, and where
they go, is the tracer provider's matter: without one nothing is recorded and nothing is added.

A process has a provider only where something else has imported OpenTelemetry, where the
environment names one, or where `tracing.endpoint` is set. Nothing here imports it otherwise: it
takes 4 MB.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final

from duly import __version__
from duly.runtime.attemptlog import ATTEMPT
from duly.runtime.traceparent import HEADERS, parent_of, written
from duly.runtime.tracing_settings import PROVIDER_VARIABLE

if TYPE_CHECKING:
    from opentelemetry.trace import Span, TracerProvider

    from duly.engine.middleware import Middleware
    from duly.runtime.tracer import Sink

_NO_SPAN: Final = nullcontext(None)


def headers_of_current_span() -> dict[str, str]:
    """Return the headers that carry the current trace; none when nothing is being traced.

    Within a task whose trace is not recorded here, they are the task's own.
    """
    get_current = getattr(sys.modules.get("opentelemetry.context"), "get_current", None)
    # Where nothing is in the context there is nothing to carry; to ask all propagators for that
    # took as long as all else that a task is made of.
    if get_current is not None and get_current():
        from opentelemetry import propagate

        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        return carrier
    attempt = ATTEMPT.get()
    return {} if attempt is None or not attempt.headers else inherited(attempt.headers)


def inherited(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the trace in a task's headers, for those that come after it; none if it is invalid."""
    if parent_of(headers) is None:
        return {}
    return {name: headers[name] for name in HEADERS if name in headers}


def current_traceparent() -> str:
    """Return the current span as a `traceparent`, if it is kept; else ""."""
    span = recorded()
    if span is None:
        return ""
    here = span.get_span_context()
    if not here.trace_flags.sampled:
        return ""
    return written(here.trace_id, here.span_id, sampled=True)


def recorded() -> "Span | None":
    """Return the current span, if it is recorded; looks at two dictionaries where there is none."""
    get_current = getattr(sys.modules.get("opentelemetry.context"), "get_current", None)
    if get_current is None or not get_current():
        return None
    from opentelemetry import trace

    span = trace.get_current_span()
    return span if span.is_recording() else None


def provider() -> "TracerProvider | None":
    """Return the tracer provider of this process; None: there is none."""
    named = os.environ.get(PROVIDER_VARIABLE)  # noqa: TID251 - OpenTelemetry's, not a setting
    if "opentelemetry.trace" not in sys.modules and not named:
        return None
    from opentelemetry import trace

    found = trace.get_tracer_provider()
    return None if isinstance(found, trace.ProxyTracerProvider) else found


def own_sink() -> "Sink | None":
    """Return where this process's spans go, if its tracer provider is ours."""
    found = provider()
    if found is None:
        return None
    from duly.runtime.tracer import Provider

    return found.sink if isinstance(found, Provider) else None


def tracing() -> "tuple[Middleware, ...]":
    """Return the middleware where this process has a tracer provider, nothing where not.

    `opentelemetry-instrument` sets one from the standard OTEL_ variables.
    """
    found = provider()
    if found is None:
        return ()
    from duly.runtime.tracer import Provider

    if isinstance(found, Provider):
        from duly.engine.middleware.attempts import TraceAttempts

        return (TraceAttempts(found),)
    from duly.engine.middleware.spans import TraceTasks

    return (TraceTasks(found),)


def child(
    name: str, kind: str, attributes: Mapping[str, Any], *, scope: str = "duly.engine"
) -> "AbstractContextManager[Span | None]":
    """Make a span below the current one, and the current one itself, for the body of a `with`.

    It gives None, and does nothing, where no span is being recorded. Of an error only the class is
    kept.

    Args:
        name: Of few values.
        kind: `INTERNAL`, `CLIENT` or `PRODUCER`.
        attributes: The first ones.
        scope: What makes it.
    """
    return _NO_SPAN if recorded() is None else begun(name, kind, attributes, scope=scope)


@contextmanager
def root(name: str, attributes: Mapping[str, Any]) -> "Iterator[Span | None]":
    """Begin a trace for the body of a `with`; it gives None where nothing is traced."""
    if provider() is None:
        yield None
        return
    with begun(name, "INTERNAL", attributes) as span:
        yield span


@contextmanager
def begun(
    name: str, kind: str, attributes: Mapping[str, Any], *, scope: str = "duly.engine"
) -> "Iterator[Span]":
    """Make a span below the current one, if there is one, for the body of a `with`."""
    from opentelemetry import trace

    with trace.get_tracer(scope, __version__).start_as_current_span(
        name,
        kind=trace.SpanKind[kind],
        attributes=dict(attributes),
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield span
        except Exception as error:
            # The class only: messages may hold what belongs in no trace.
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(trace.StatusCode.ERROR, type(error).__name__)
            raise


def sending(queue: str, kind: str) -> "AbstractContextManager[Span | None]":
    """Make a span of a call that enqueues, where a span is being recorded.

    Where none is, it gives None and costs next to nothing: whoever enqueues one task after the
    other would feel more.

    Args:
        queue: Where to; "": to several.
        kind: Of the jobs; "": several.
    """
    if recorded() is None:
        return _NO_SPAN
    attributes: dict[str, Any] = {
        "messaging.system": "duly",
        "messaging.operation.name": "enqueue",
        "messaging.operation.type": "send",
    }
    if queue:
        attributes["messaging.destination.name"] = queue
    if kind:
        attributes["duly.kind"] = kind
    return begun(f"enqueue {queue or 'several'}", "PRODUCER", attributes)


def with_attempted(headers: Mapping[str, str], name: str) -> dict[str, str] | None:
    """Return a task's headers with the current attempt under a name; None: it is not kept."""
    text = current_traceparent()
    return {**headers, name: text} if text else None
