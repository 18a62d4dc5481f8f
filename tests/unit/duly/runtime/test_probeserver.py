"""The HTTP server of probes is bounded in size, time and connections."""

import asyncio
import http.client
import socket
import threading
import time
from contextlib import asynccontextmanager
from http import HTTPStatus

import pytest

from duly.runtime.probeserver import TEXT, ProbeServer
from duly.testing.waiting import until


@asynccontextmanager
async def probes():
    """Serve "ok" at every path; give the port."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    server = ProbeServer(listener, lambda *_: (HTTPStatus.OK, TEXT, b"ok\n"))
    server.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.stop()


async def ask(port):
    def exchange():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request("GET", "/livez")
            return connection.getresponse().status
        finally:
            connection.close()

    return await asyncio.to_thread(exchange)


async def send(port, data):
    """Send raw bytes and return what comes back until the end."""

    def exchange():
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.sendall(data)
            answer = b""
            while part := connection.recv(65_536):
                answer += part
            return answer

    return await asyncio.to_thread(exchange)


async def test_head_has_the_headers_and_no_body():
    async with probes() as port:
        answer = await send(port, b"HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\n")

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Length: 3" in head
    assert body == b""


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(b"\x16\x03\x01 hello\r\n\r\n", b"400", id="no HTTP"),
        pytest.param(b"GET /livez HTTP/2.0\r\n\r\n", b"505", id="HTTP 2"),
        pytest.param(b"GET /livez HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n", b"431", id="many"),
        pytest.param(b"GET /" + b"x" * 1_000_000, b"414", id="long path"),
        pytest.param(b"GET /livez HTTP/1.1\r\nX: " + b"x" * 1_000_000, b"431", id="long"),
        pytest.param(b"POST /livez HTTP/1.1\r\n\r\n" + b"x" * 1_000_000, b"405", id="body"),
    ],
)
async def test_bad_requests_are_refused(data, status):
    async with probes() as port:
        answer = await send(port, data)

    assert answer.startswith(b"HTTP/1.1 " + status)


async def test_idle_connections_keep_nobody_from_an_answer_nor_cost_a_thread_each():
    async with probes() as port:
        threads = threading.active_count()
        idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(300)]
        try:
            assert await ask(port) == 200
            await until(lambda: threading.active_count() <= threads + 70)
        finally:
            for connection in idle:
                connection.close()


async def test_a_request_that_never_ends_is_cut_off(stopwatch):
    async with probes() as port:
        started, counted = time.monotonic(), stopwatch()
        answer = await send(port, b"GET /livez HTTP/1.1\r\n")

    assert answer == b""
    assert time.monotonic() - started > 4
    assert stopwatch() - counted < 12


async def test_a_request_that_trickles_is_cut_off_in_the_same_time(stopwatch):
    def trickle(port):
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.sendall(b"GET /livez HTTP/1.1\r\nX: ")
            connection.settimeout(0.1)
            while True:
                try:
                    connection.sendall(b"x")
                    if connection.recv(100) == b"":
                        return
                except TimeoutError:
                    continue
                except OSError:
                    return

    async with probes() as port:
        counted = stopwatch()
        await asyncio.to_thread(trickle, port)

    assert stopwatch() - counted < 12
