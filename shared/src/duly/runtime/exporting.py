"""Switches traces on where a collector is named, by our settings or by OpenTelemetry's variables.

Ours win. Nothing of OpenTelemetry is imported, and nothing runs, where neither names a collector.
"""

import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit, urlunsplit

import structlog
from prometheus_client import CollectorRegistry

from duly.errors import ConfigError
from duly.runtime.supervision import Supervisor
from duly.runtime.tracing_settings import PROVIDER_VARIABLE, TracingSettings, is_address

if TYPE_CHECKING:
    from duly.runtime.spanexport import SpanExport
    from duly.runtime.tracer import Provider

DEFAULT_RATIO: Final = 0.1
_PATH: Final = "/v1/traces"
_FIXED: Final = {"always_on": 1.0, "always_off": 0.0}
_MOST_RESOURCE: Final = 64


@asynccontextmanager
async def exporting(
    settings: TracingSettings,
    registry: CollectorRegistry,
    *,
    service: str,
    supervisor: Supervisor | None = None,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[None]:
    """Export the spans of this process during an `async with`; do nothing without a collector.

    Where the application or the environment has set a tracer provider of its own, that one takes
    all spans, and these settings do nothing.

    Args:
        settings: The section `tracing`.
        registry: Where the metrics are registered.
        service: `worker` or `scheduler`.
        supervisor: Watches the task that exports; None: nobody does.
        environment: The variables; None: those of this process.

    Raises:
        ConfigError: A setting or a variable is wrong.
    """
    variables = os.environ if environment is None else environment  # noqa: TID251 - OpenTelemetry's
    url = endpoint(settings, variables)
    log = structlog.get_logger("duly.tracing")
    if not url:
        yield
    elif has_provider(variables):
        log.warning("Spans go to the tracer provider of the application, not to tracing.endpoint")
        yield
    else:
        export, provider = _opened(settings, registry, url, service, variables)
        shown = urlunsplit(urlsplit(url)._replace(query=""))  # which may hold a key
        log.info("Traces on", endpoint=shown, sample_ratio=ratio(settings, variables))
        if supervisor is not None:
            supervisor.ask("spans", export.ended)
        try:
            yield
        finally:
            if supervisor is not None:
                supervisor.forget("spans")
            provider.flush()
            await export.close()


def _opened(
    settings: TracingSettings,
    registry: CollectorRegistry,
    url: str,
    service: str,
    variables: Mapping[str, str],
) -> "tuple[SpanExport, Provider]":
    from opentelemetry import trace

    from duly.runtime import otlp
    from duly.runtime.collector import Collector, headers_of_variable
    from duly.runtime.spanexport import SpanExport, SpanMetrics
    from duly.runtime.tracer import Provider

    given = _variable(variables, "HEADERS")
    collector = Collector(
        url,
        timeout=settings.timeout,
        headers=None if settings.headers_file else headers_of_variable(given),
        headers_file=settings.headers_file,
        ca_file=settings.ca_file or _variable(variables, "CERTIFICATE") or None,
    )
    export = SpanExport(
        collector,
        otlp.resource(resource(service, variables)),
        version=version("duly"),
        size=settings.queue_size,
    )
    registry.register(SpanMetrics(export))
    provider = Provider(export, ratio(settings, variables))
    trace.set_tracer_provider(provider)
    return export, provider


def has_provider(variables: Mapping[str, str]) -> bool:
    """Tell whether something else than us has set a tracer provider, or will."""
    if variables.get(PROVIDER_VARIABLE):
        return True
    api = sys.modules.get("opentelemetry.trace")
    return api is not None and not isinstance(api.get_tracer_provider(), api.ProxyTracerProvider)


def endpoint(settings: TracingSettings, variables: Mapping[str, str]) -> str:
    """Return the whole address that spans are sent to; "": traces are off.

    Raises:
        ConfigError: A variable holds no address.
    """
    if variables.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return ""
    if settings.endpoint:
        return _with_path(settings.endpoint)
    if variables.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower() not in {"", "otlp"}:
        return ""
    for name in ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        value = variables.get(name, "").strip()
        if not value:
            continue
        if not is_address(value):
            remedy = "write http://host:4318, or set tracing.endpoint, which wins"
            raise ConfigError(name, "is no http:// or https:// address", remedy=remedy)
        return value if "TRACES" in name else _with_path(value)
    return ""


def _with_path(base: str) -> str:
    """Return an address with the path of OTLP, unless it names that already."""
    parts = urlsplit(base)
    path = parts.path.rstrip("/")
    return urlunsplit(parts._replace(path=path if path.endswith(_PATH) else path + _PATH))


def ratio(settings: TracingSettings, variables: Mapping[str, str]) -> float:
    """Return the share of traces that are kept of those that begin here.

    Raises:
        ConfigError: A variable names a sampler that there is not, or no ratio.
    """
    if settings.sample_ratio is not None:
        return settings.sample_ratio
    name = "OTEL_TRACES_SAMPLER"
    sampler = variables.get(name, "").strip().removeprefix("parentbased_")
    if not sampler:
        return DEFAULT_RATIO
    if sampler in _FIXED:
        return _FIXED[sampler]
    if sampler != "traceidratio":
        remedy = "use parentbased_traceidratio, parentbased_always_on or parentbased_always_off"
        raise ConfigError(name, f"there is no sampler {sampler!r}", remedy=remedy)
    try:
        found = float(variables.get("OTEL_TRACES_SAMPLER_ARG", "") or 1.0)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 1:
        raise ConfigError("OTEL_TRACES_SAMPLER_ARG", "is no ratio", remedy="write 0 to 1")
    return found


def resource(service: str, variables: Mapping[str, str]) -> dict[str, Any]:
    """Return who spans are of; the variables win."""
    found = {
        "service.name": f"duly-{service}",
        "service.version": version("duly"),
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "duly",
        "telemetry.sdk.version": version("duly"),
    }
    pairs = (
        part.partition("=") for part in variables.get("OTEL_RESOURCE_ATTRIBUTES", "").split(",")
    )
    given = {name.strip(): unquote(value.strip()) for name, equals, value in pairs if equals}
    found.update(list(given.items())[:_MOST_RESOURCE])
    if name := variables.get("OTEL_SERVICE_NAME", "").strip():
        found["service.name"] = name
    return found


def _variable(variables: Mapping[str, str], name: str) -> str:
    """Return a variable of the exporter: that for traces, else that for all signals."""
    own = variables.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}", "").strip()
    return own or variables.get(f"OTEL_EXPORTER_OTLP_{name}", "").strip()
