import json
import os
import subprocess
import sys

import pytest

from duly.errors import ConfigError
from duly.runtime.exporting import endpoint, has_provider, ratio, resource
from duly.runtime.tracing_settings import TracingSettings

OFF = TracingSettings()
ON = TracingSettings(endpoint="http://tempo:4318", sample_ratio=0.5)


@pytest.mark.parametrize(
    ("settings", "variables", "url"),
    [
        pytest.param(OFF, {}, "", id="off"),
        pytest.param(ON, {}, "http://tempo:4318/v1/traces", id="setting"),
        pytest.param(
            TracingSettings(endpoint="https://t/otlp/"), {}, "https://t/otlp/v1/traces", id="path"
        ),
        pytest.param(
            TracingSettings(endpoint="https://t/v1/traces"), {}, "https://t/v1/traces", id="whole"
        ),
        pytest.param(
            OFF,
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:1"},
            "http://c:1/v1/traces",
            id="variable",
        ),
        pytest.param(
            OFF,
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:1",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t:2/own",
            },
            "http://t:2/own",
            id="variable of traces",
        ),
        pytest.param(
            ON,
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:1"},
            "http://tempo:4318/v1/traces",
            id="the setting wins",
        ),
        pytest.param(ON, {"OTEL_SDK_DISABLED": "TRUE"}, "", id="disabled"),
        pytest.param(
            OFF,
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:1", "OTEL_TRACES_EXPORTER": "none"},
            "",
            id="another exporter",
        ),
    ],
)
def test_spans_go_where_the_settings_or_the_variables_say(settings, variables, url):
    assert endpoint(settings, variables) == url


@pytest.mark.parametrize(
    ("settings", "variables", "share"),
    [
        pytest.param(OFF, {}, 0.1, id="default"),
        pytest.param(ON, {"OTEL_TRACES_SAMPLER": "always_on"}, 0.5, id="the setting wins"),
        pytest.param(OFF, {"OTEL_TRACES_SAMPLER": "parentbased_always_on"}, 1.0, id="all"),
        pytest.param(OFF, {"OTEL_TRACES_SAMPLER": "always_off"}, 0.0, id="none"),
        pytest.param(
            OFF,
            {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"},
            0.25,
            id="ratio",
        ),
    ],
)
def test_the_share_is_that_of_the_settings_or_the_variables(settings, variables, share):
    assert ratio(settings, variables) == share


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_TRACES_SAMPLER": "jaeger_remote"},
        {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"},
        {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "many"},
    ],
)
def test_a_sampler_that_there_is_not_is_refused(variables):
    with pytest.raises(ConfigError, match="OTEL_TRACES_SAMPLER"):
        ratio(OFF, variables)


@pytest.mark.parametrize(
    "value", ["tempo:4318", "grpc://tempo:4317", "http://", "http://u:secret@t", "http://t:99999"]
)
def test_what_is_no_address_is_refused_and_not_quoted(value):
    with pytest.raises(ValueError, match="must be http") as found:
        TracingSettings(endpoint=value)
    with pytest.raises(ConfigError, match="is no http") as refused:
        endpoint(OFF, {"OTEL_EXPORTER_OTLP_ENDPOINT": value})

    assert "secret" not in f"{found.value}{refused.value}"


def test_the_variables_say_more_of_the_resource():
    said = resource(
        "worker",
        {
            "OTEL_SERVICE_NAME": "shop-worker",
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=pro%20d,broken,service.name=x",
        },
    )

    assert said["service.name"] == "shop-worker"
    assert said["deployment.environment.name"] == "pro d"
    assert resource("worker", {})["service.name"] == "duly-worker"


def test_a_provider_of_the_environment_is_none_of_ours():
    assert has_provider({"OTEL_PYTHON_TRACER_PROVIDER": "sdk_tracer_provider"})


CODE = """
import asyncio, json, sys
from prometheus_client import CollectorRegistry
from duly.runtime.exporting import exporting
from duly.runtime.tracing_settings import TracingSettings

async def main():
    registry = CollectorRegistry()
    async with exporting(TracingSettings(**json.loads(sys.argv[1])), registry, service="worker"):
        if "opentelemetry.trace" in sys.modules:
            from opentelemetry import trace
            with trace.get_tracer("shop").start_as_current_span("order placed"):
                pass
    print("opentelemetry" in sys.modules, registry.get_sample_value("duly_spans_exported_total"))

asyncio.run(main())
"""


def run(before="", variables=None, **settings):
    done = subprocess.run(
        [sys.executable, "-c", before + CODE, json.dumps(settings)],
        env={**os.environ, **(variables or {})},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout.splitlines()


def test_without_a_collector_nothing_is_imported():
    assert run() == ["False None"]


def test_spans_of_the_application_arrive_with_those_of_duly(collector):
    said = run(endpoint=f"{collector.url}/?api-key=secret-17", sample_ratio=1.0)

    (span,) = collector.spans()
    assert (span.name, span.scope) == ("order placed", "shop")
    assert span.resource["service.name"] == "duly-worker"
    assert said[-1] == "True 1"
    assert "Traces on" in said[0]
    assert f"endpoint={collector.url}/v1/traces " in said[0]
    assert "secret-17" not in "".join(said)
    assert collector.paths[0].endswith("?api-key=secret-17")


def test_the_variables_alone_switch_traces_on(collector):
    run(
        variables={
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_EXPORTER_OTLP_HEADERS": "x-scope-orgid=shop",
            "OTEL_TRACES_SAMPLER": "always_on",
        }
    )

    assert len(collector.spans()) == 1
    assert collector.headers[0]["x-scope-orgid"] == "shop"


def test_a_provider_of_the_application_keeps_its_spans(collector):
    own = (
        "from opentelemetry import trace\n"
        "from opentelemetry.sdk.trace import TracerProvider\n"
        "trace.set_tracer_provider(TracerProvider())\n"
    )

    said = run(own, endpoint=collector.url, sample_ratio=1.0)

    assert said[-1] == "True None"
    assert "Spans go to the tracer provider of the application" in said[0]
    assert collector.spans() == []
