import asyncio
import http.client
import socket

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


async def test_what_has_ended_or_hangs_is_an_answer_in_one_line():
    answers = iter([None, "loop 'promoter default' ended: ValueError"])

    async with probes(live=lambda: next(answers)) as server:
        assert (await ask(server, "/livez"))[:2] == (200, "ok\n")
        assert (await ask(server, "/livez"))[:2] == (
            503,
            "loop 'promoter default' ended: ValueError\n",
        )


async def test_a_loop_that_stands_still_is_not_alive_and_says_so_meanwhile():
    clock = FrozenClock()

    async with probes(clock=clock) as server:
        clock.advance(16)
        # This blocks the watched loop, so that it cannot beat: the thread answers all the same.
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.request("GET", "/livez")
        answer = connection.getresponse()
        connection.close()

    assert answer.status == 503


async def test_other_methods_and_paths_are_refused():
    async with probes() as server:
        status, _, headers = await ask(server, "/metrics", method="DELETE")
        missing, body, _ = await ask(server, "/admin")

    assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert (missing, body) == (404, "there are only /metrics, /livez, /readyz\n")


async def test_a_port_that_is_taken_names_the_setting():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        with pytest.raises(ConfigError, match=rf"^metrics\.port: cannot listen on .*{port}.*use"):
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
