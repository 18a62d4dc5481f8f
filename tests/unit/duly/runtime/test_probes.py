import asyncio
import http.client
import socket
import time

import pytest

from duly.errors import ConfigError
from duly.runtime.metrics import new_registry
from duly.runtime.probes import Probes
from duly.runtime.settings import MetricsSettings
from duly.testing.clock import FrozenClock
from duly.testing.processes import free_port


def probes(*, ready=lambda: None, port=0, **options):
    settings = MetricsSettings(host="127.0.0.1", port=port)
    return Probes(settings, new_registry("worker"), ready=ready, **options)


async def ask(server, path, *, method="GET", headers=None):
    def exchange():
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        try:
            connection.request(method, path, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), answer.headers
        finally:
            connection.close()

    return await asyncio.to_thread(exchange)


async def send(server, data):
    """Send raw bytes and return what comes back until the end."""

    def exchange():
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
            connection.sendall(data)
            answer = b""
            while part := connection.recv(65_536):
                answer += part
            return answer

    return await asyncio.to_thread(exchange)


async def test_metrics_are_text_for_prometheus():
    async with probes() as server:
        status, body, headers = await ask(server, "/metrics")

    assert status == 200
    assert "duly_build_info{" in body
    assert headers["Content-Type"].startswith("text/plain")


async def test_metrics_are_openmetrics_for_those_who_accept_it():
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}

    async with probes() as server:
        _, body, headers = await ask(server, "/metrics?name=x", headers=accept)

    assert body.endswith("# EOF\n")
    assert headers["Content-Type"].startswith("application/openmetrics-text")


async def test_a_service_is_ready_or_says_why_not():
    answers = iter([None, "the broker has not answered for 12 s"])

    async with probes(ready=lambda: next(answers)) as server:
        assert (await ask(server, "/readyz"))[:2] == (200, "ok\n")
        assert (await ask(server, "/readyz"))[:2] == (
            503,
            "the broker has not answered for 12 s\n",
        )


async def test_a_readiness_that_fails_is_an_answer_too():
    async with probes(ready=lambda: 1 / 0) as server:
        assert (await ask(server, "/readyz"))[:2] == (500, "ZeroDivisionError\n")
        assert (await ask(server, "/livez"))[0] == 200


async def test_a_loop_that_runs_is_alive():
    async with probes() as server:
        assert (await ask(server, "/livez"))[:2] == (200, "ok\n")


async def test_a_loop_that_stands_still_is_not_alive_and_says_so_meanwhile():
    clock = FrozenClock()

    async with probes(clock=clock) as server:
        clock.advance(16)
        # This blocks the watched loop, so that it can not beat: the thread answers all the same.
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.request("GET", "/livez")
        answer = connection.getresponse()
        connection.close()

    assert answer.status == 503


async def test_head_has_the_headers_and_no_body():
    async with probes() as server:
        answer = await send(server, b"HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\n")

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Length: 3" in head
    assert body == b""


async def test_other_methods_and_paths_are_refused():
    async with probes() as server:
        status, _, headers = await ask(server, "/metrics", method="DELETE")
        missing, body, _ = await ask(server, "/admin")

    assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert (missing, body) == (404, "there are only /metrics, /livez, /readyz\n")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(b"\x16\x03\x01 hello\r\n\r\n", b"400", id="no HTTP"),
        pytest.param(b"GET /livez\r\n\r\n", b"400", id="HTTP 0.9"),
        pytest.param(b"GET /livez HTTP/1.1\r\nX: " + b"x" * 1_000_000, b"431", id="long"),
        pytest.param(b"POST /livez HTTP/1.1\r\n\r\n" + b"x" * 1_000_000, b"405", id="body"),
    ],
)
async def test_bad_requests_are_refused(data, status):
    async with probes() as server:
        answer = await send(server, data)

    assert answer.startswith(b"HTTP/1.1 " + status)


async def test_many_idle_connections_keep_nobody_from_an_answer():
    async with probes() as server:
        idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(100)]
        try:
            assert (await ask(server, "/livez"))[0] == 200
        finally:
            for connection in idle:
                connection.close()


async def test_a_request_that_never_ends_is_cut_off(stopwatch):
    async with probes() as server:
        started, counted = time.monotonic(), stopwatch()
        answer = await send(server, b"GET /livez HTTP/1.1\r\n")

    assert answer == b""
    assert time.monotonic() - started > 4
    assert stopwatch() - counted < 12


async def test_a_port_that_is_taken_names_the_setting():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        with pytest.raises(ConfigError, match=rf"^metrics\.port: can not listen on .*{port}.*use"):
            await probes(port=port).__aenter__()


async def test_a_host_that_is_unknown_names_the_setting():
    settings = MetricsSettings(host="no.such.host.invalid", port=0)

    with pytest.raises(ConfigError, match=r"^metrics\.host"):
        await Probes(settings, new_registry("x"), ready=lambda: None).__aenter__()


async def test_the_port_is_free_again_afterwards():
    port = free_port()

    for _ in range(2):
        async with probes(port=port) as server:
            assert (await ask(server, "/livez"))[0] == 200


async def test_switched_off_it_does_not_listen():
    settings = MetricsSettings(enabled=False)

    async with Probes(settings, new_registry("x"), ready=lambda: None) as server:
        assert server.port == 0
