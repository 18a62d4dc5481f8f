"""Where spans go: the values `tracing`."""

import pytest

ON = {"tracing.endpoint": "https://tempo.example.com:4318", "tracing.sampleRatio": 0.25}
HEADERS = {**ON, "tracing.headers.existingSecret": "tempo"}
TRACED = ("-worker-default", "-scheduler")


def pod(documents, name):
    return documents.one("Deployment", name)["spec"]["template"]["spec"]


def environment(documents, name):
    container = pod(documents, name)["containers"][0]
    return {item["name"]: item.get("value") for item in container["env"]}


def secrets(documents, name):
    volumes = {it["name"]: it for it in pod(documents, name)["volumes"]}
    sources = volumes["secrets"]["projected"]["sources"] if "secrets" in volumes else []
    return [source["secret"] for source in sources]


@pytest.mark.parametrize("name", TRACED)
def test_nothing_is_traced_by_default(render, name):
    assert not [key for key in environment(render(), name) if "TRACING" in key]


@pytest.mark.parametrize("name", TRACED)
def test_schedulers_and_workers_are_told_of_the_collector(render, name):
    found = environment(render(values=ON), name)

    assert found["DULY_TRACING__ENDPOINT"] == "https://tempo.example.com:4318"
    assert found["DULY_TRACING__SAMPLE_RATIO"] == "0.25"
    assert "DULY_TRACING__HEADERS_FILE" not in found


@pytest.mark.parametrize("name", TRACED)
def test_headers_are_a_file_of_a_secret(render, name):
    documents = render(values=HEADERS)

    assert environment(documents, name)["DULY_TRACING__HEADERS_FILE"] == (
        "/etc/duly/secrets/tracing-headers"
    )
    expected = {"name": "tempo", "items": [{"key": "headers", "path": "tracing-headers"}]}
    assert expected in secrets(documents, name)


def test_the_monitor_sends_no_spans(render):
    found = environment(render(values=HEADERS), "-monitor")

    assert not [key for key in found if "TRACING" in key]
