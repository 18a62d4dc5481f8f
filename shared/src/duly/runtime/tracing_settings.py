"""`tracing`: where spans go, and how many of them."""

from datetime import timedelta
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from duly.runtime.section import Duration, Section

PROVIDER_VARIABLE: Final = "OTEL_PYTHON_TRACER_PROVIDER"
"""With it OpenTelemetry's API makes a provider by itself when it is first asked for one."""


class TracingSettings(Section):
    """`tracing`: spans for an OTLP collector. Without an endpoint nothing is traced."""

    endpoint: str = Field(
        "",
        description="address of a collector that takes OTLP over HTTP, such as "
        "http://tempo:4318; empty: that of OTEL_EXPORTER_OTLP_ENDPOINT, else no traces",
    )
    sample_ratio: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None,
        description="share of the traces begun here that are kept, 0 to 1; empty: that of "
        "OTEL_TRACES_SAMPLER, else 0.1",
    )
    headers_file: str | None = Field(
        None,
        description="file with lines `name: value`, sent to the collector as headers and read "
        "again for each request",
    )
    ca_file: str | None = Field(
        None, description="PEM file of the authority to trust, for an https:// endpoint"
    )
    timeout: Duration = Field(
        timedelta(seconds=5), description="maximum duration of one request to the collector"
    )
    queue_size: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        32_768, description="spans that may wait for the collector; more are dropped, and counted"
    )

    @field_validator("endpoint")
    @classmethod
    def _is_address(cls, value: str) -> str:
        if value and not is_address(value):
            message = "must be http://host:port or https://host:port, without user and password"
            raise ValueError(message)
        return value


def is_address(value: str) -> bool:
    """Tell whether a text is an address that spans can be sent to."""
    try:
        parts = urlsplit(value)
        return (
            parts.scheme in {"http", "https"}
            and bool(parts.hostname)
            and "@" not in parts.netloc
            and parts.port != 0
        )
    except ValueError:
        return False
