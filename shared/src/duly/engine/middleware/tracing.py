"""Traces of OpenTelemetry: each task carries the context in which it was enqueued.

The context travels in the task's headers, as W3C's `traceparent`. Which spans are kept, and where
they go, is the tracer provider's matter: without one nothing is recorded and nothing is added.

A process has a provider only where something else has imported OpenTelemetry, or where the
environment names one. Nothing here imports it otherwise: it takes 4 MB.
"""

import os
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from duly.engine.middleware.spans import TraceTasks

PROVIDER_VARIABLE: Final = "OTEL_PYTHON_TRACER_PROVIDER"
"""With it OpenTelemetry's API makes a provider by itself when it is first asked for one."""


def headers_of_current_span() -> dict[str, str]:
    """Return the headers that carry the current trace; none when nothing is being traced."""
    carrier: dict[str, str] = {}
    get_current = getattr(sys.modules.get("opentelemetry.context"), "get_current", None)
    # Where nothing is in the context there is nothing to carry; to ask all propagators for that
    # took as long as all else that a task is made of.
    if get_current is not None and get_current():
        from opentelemetry import propagate

        propagate.inject(carrier)
    return carrier


def tracing() -> "tuple[TraceTasks, ...]":
    """Return the middleware where this process has a tracer provider, nothing where not.

    `opentelemetry-instrument` sets one from the standard OTEL_ variables.
    """
    named = os.environ.get(PROVIDER_VARIABLE)  # noqa: TID251 - OpenTelemetry's, not a setting
    if "opentelemetry.trace" not in sys.modules and not named:
        return ()
    from opentelemetry import trace

    from duly.engine.middleware.spans import TraceTasks

    provider = trace.get_tracer_provider()
    return () if isinstance(provider, trace.ProxyTracerProvider) else (TraceTasks(provider),)
