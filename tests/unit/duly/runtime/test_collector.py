import asyncio
import contextlib
import socket
import ssl
import threading
from datetime import timedelta

import pytest

from duly.errors import ConfigError
from duly.runtime.collector import Collector, CollectorError, headers_of, headers_of_variable
from duly.testing.certificates import Certificates
from duly.testing.processes import free_port
from duly.testing.waiting import until

SECOND = timedelta(seconds=10)


async def test_a_body_is_posted_with_the_headers_of_the_file(collector, tmp_path):
    file = tmp_path / "headers"
    file.write_text("Authorization: Bearer one\n")
    known = Collector(f"{collector.url}/v1/traces", timeout=SECOND, headers_file=str(file))

    await known.send(b"")
    file.write_text("Authorization: Bearer two\nX-Scope-OrgID: shop\n")
    await known.send(b"")
    known.close()

    assert collector.paths == ["/v1/traces"] * 2
    assert [sent["Authorization"] for sent in collector.headers] == ["Bearer one", "Bearer two"]
    assert collector.headers[1]["X-Scope-OrgID"] == "shop"
    assert collector.headers[0]["Content-Type"] == "application/x-protobuf"


@pytest.mark.parametrize(
    ("status", "again"), [(400, False), (401, False), (429, True), (503, True)]
)
async def test_a_refusal_says_whether_to_try_again(collector, status, again):
    collector.answer = status
    known = Collector(collector.url, timeout=SECOND)

    with pytest.raises(CollectorError, match=str(status)) as found:
        await known.send(b"")

    assert found.value.again is again


async def test_a_collector_that_is_away_is_worth_another_try():
    known = Collector(f"http://127.0.0.1:{free_port()}", timeout=SECOND)

    with pytest.raises(CollectorError) as found:
        await known.send(b"")

    assert found.value.again


async def test_a_collector_that_says_nothing_is_left(collector):
    collector.hold.clear()
    known = Collector(collector.url, timeout=timedelta(milliseconds=50))

    with pytest.raises(CollectorError, match="no answer in time"):
        await known.send(b"")


@pytest.fixture
def raw_collector():
    """Serve each connection by a function of its socket; give how many there have been."""
    over, threads, accepted = threading.Event(), [], []

    def start(serve):
        listener = socket.create_server(("127.0.0.1", 0))

        def accept():
            with listener:
                while True:
                    client, _ = listener.accept()
                    with client, contextlib.suppress(OSError):
                        if over.is_set():
                            return
                        accepted.append(client)
                        serve(client, over)

        thread = threading.Thread(target=accept)
        thread.start()
        threads.append((thread, listener.getsockname()))
        return f"http://127.0.0.1:{listener.getsockname()[1]}", accepted

    yield start
    over.set()
    for thread, address in threads:
        socket.create_connection(address).close()
        thread.join()


def dripping(client, over):
    """Answer for ever, a byte after the other."""
    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
    while not over.wait(0.01):
        client.sendall(b"x")


async def test_a_collector_that_drips_is_left_in_the_time_of_one_request(raw_collector):
    url, _ = raw_collector(dripping)
    known = Collector(url, timeout=timedelta(milliseconds=200))

    with pytest.raises(CollectorError, match="no answer in time"):
        await known.send(b"")


def refusing_early(client, _):
    """Refuse a request by its head, and read no more of it."""
    client.recv(1)
    client.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    client.recv(1)


async def test_a_refusal_before_the_body_is_there_counts(raw_collector):
    url, _ = raw_collector(refusing_early)

    with pytest.raises(CollectorError, match="413") as found:
        await Collector(url, timeout=SECOND).send(b"x" * 30_000_000)

    assert not found.value.again


def answering(answer, *, times):
    """Return a function that answers so many requests of a connection, and then closes it."""

    def serve(client, _):
        for _ in range(times):
            while not client.recv(100_000).endswith(b"end"):
                pass
            client.sendall(answer)

    return serve


async def connections_of(requests, raw_collector, serve):
    """Send so many requests one after the other; return how many connections they took."""
    url, accepted = raw_collector(serve)
    known = Collector(url, timeout=SECOND)
    for _ in range(requests):
        await known.send(b"end")
    known.close()
    return len(accepted)


def over_tls(serve, keys):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(keys.certificate, keys.key)

    def secured(client, over):
        with context.wrap_socket(client, server_side=True) as connection:
            serve(connection, over)

    return secured


TAKEN = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"


@pytest.mark.parametrize("answer", [TAKEN, CHUNKED, PROCESSING + TAKEN])
async def test_a_connection_serves_many_requests(raw_collector, answer):
    assert await connections_of(5, raw_collector, answering(answer, times=5)) == 1


async def test_a_connection_that_has_been_closed_meanwhile_is_replaced(raw_collector):
    assert await connections_of(3, raw_collector, answering(TAKEN, times=1)) == 3


@pytest.mark.parametrize(
    "answer",
    [
        TAKEN.replace(b"0\r", b"99999\r") + b"x" * 99_999,
        TAKEN.replace(b"HTTP/1.1", b"HTTP/1.0"),
        TAKEN.replace(b"\r\n", b"\r\nConnection: close\r\n", 1),
    ],
)
async def test_a_connection_of_no_more_use_is_left(raw_collector, answer):
    assert await connections_of(2, raw_collector, answering(answer, times=1)) == 2


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 x\r\n\r\n", b"\0" * 200_000]
)
async def test_what_is_no_http_is_worth_another_try(raw_collector, answer):
    url, _ = raw_collector(answering(answer, times=1))

    with pytest.raises(CollectorError) as found:
        await Collector(url, timeout=SECOND).send(b"end")

    assert found.value.again
    assert "SSH" not in str(found.value)


async def test_only_a_collector_of_the_authority_is_trusted(raw_collector, tmp_path):
    keys = Certificates.create(tmp_path)
    url, _ = raw_collector(over_tls(answering(TAKEN, times=2), keys))
    address = url.replace("http://", "https://")

    trusting = Collector(address, timeout=SECOND, ca_file=str(keys.authority))
    await trusting.send(b"end")
    await trusting.send(b"end")
    trusting.close()
    with pytest.raises(CollectorError, match="verify failed") as found:
        await Collector(address, timeout=SECOND).send(b"end")
    assert found.value.again
    with pytest.raises(ConfigError, match=r"tracing\.ca_file: cannot be read"):
        Collector(address, timeout=SECOND, ca_file=str(tmp_path / "none.pem"))


async def test_a_request_that_is_given_up_leaves_no_connection(collector):
    collector.hold.clear()
    known = Collector(collector.url, timeout=SECOND)
    task = asyncio.create_task(known.send(b"1"))
    await until(lambda: known._connection, what="it is connected")

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert known._connection is None
    collector.hold.set()
    await known.send(b"2")
    known.close()

    # The collector may be done with the first one later than with the second.
    assert b"2" in collector.bodies


async def test_a_given_host_wins(collector):
    known = Collector(collector.url, timeout=SECOND, headers={"host": "traces.example.com"})

    await known.send(b"")
    known.close()

    (sent,) = collector.headers
    assert [sent[name] for name in sent if name.lower() == "host"] == ["traces.example.com"]


async def test_headers_of_duly_win_and_each_is_sent_once(collector, tmp_path):
    file = tmp_path / "headers"
    file.write_text("content-type: text/plain\nHOST: traces.example.com\n")
    known = Collector(collector.url, timeout=SECOND, headers_file=str(file))

    await known.send(b"")
    known.close()

    (sent,) = collector.headers
    names = sorted(name.lower() for name in sent)
    assert names == ["content-length", "content-type", "host"]
    assert sent["Content-Type"] == "application/x-protobuf"
    assert sent["HOST"] == "traces.example.com"


@pytest.mark.parametrize("name", ["Transfer-Encoding", "content-length", "Connection"])
def test_a_header_of_the_connection_is_refused(name, tmp_path):
    file = tmp_path / "headers"
    file.write_text(f"ok: 1\n{name}: chunked\n")

    with pytest.raises(ConfigError, match="line 2 names a header that belongs to the connection"):
        Collector("http://h", timeout=SECOND, headers_file=str(file))
    assert headers_of_variable(f"{name}=chunked,a=b") == {"a": "b"}


@pytest.mark.parametrize(
    "text", ["no colon", "a b: c", ": x", "Name: line\rbreak", "Nämé: x", "Name: ä"]
)
def test_what_is_no_header_is_refused_and_not_quoted(text, tmp_path):
    file = tmp_path / "headers"
    file.write_text("ok: 1\n" + text)

    with pytest.raises(ConfigError, match=r"line [23] is no header") as found:
        Collector("http://h", timeout=SECOND, headers_file=str(file))

    assert text not in str(found.value)


def test_headers_are_read_from_lines_and_from_the_variable():
    assert headers_of("A: b\n\nC:d:e\n") == {"A": "b", "C": "d:e"}
    assert headers_of_variable("a=b%20c, d=e,broken,x y=1") == {"a": "b c", "d": "e"}
