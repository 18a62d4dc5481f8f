import contextlib
import socket
import threading
from datetime import timedelta

import pytest

from duly.errors import ConfigError
from duly.runtime.collector import Collector, CollectorError, headers_of, headers_of_variable
from duly.testing.processes import free_port

SECOND = timedelta(seconds=10)


def test_a_body_is_posted_with_the_headers_of_the_file(collector, tmp_path):
    file = tmp_path / "headers"
    file.write_text("Authorization: Bearer one\n")
    known = Collector(f"{collector.url}/v1/traces", timeout=SECOND, headers_file=str(file))

    known.send(b"")
    file.write_text("Authorization: Bearer two\nX-Scope-OrgID: shop\n")
    known.send(b"")
    known.close()

    assert collector.paths == ["/v1/traces"] * 2
    assert [sent["Authorization"] for sent in collector.headers] == ["Bearer one", "Bearer two"]
    assert collector.headers[1]["X-Scope-OrgID"] == "shop"
    assert collector.headers[0]["Content-Type"] == "application/x-protobuf"


@pytest.mark.parametrize(
    ("status", "again"), [(400, False), (401, False), (429, True), (503, True)]
)
def test_a_refusal_says_whether_to_try_again(collector, status, again):
    collector.answer = status
    known = Collector(collector.url, timeout=SECOND)

    with pytest.raises(CollectorError, match=str(status)) as found:
        known.send(b"")

    assert found.value.again is again


def test_a_collector_that_is_away_is_worth_another_try():
    known = Collector(f"http://127.0.0.1:{free_port()}", timeout=SECOND)

    with pytest.raises(CollectorError) as found:
        known.send(b"")

    assert found.value.again


def test_a_collector_that_says_nothing_is_left(collector):
    collector.hold.clear()
    known = Collector(collector.url, timeout=timedelta(milliseconds=50))

    with pytest.raises(CollectorError, match="no answer in time"):
        known.send(b"")


@pytest.fixture
def dripping():
    """A collector that answers for ever, a byte after the other."""
    over = threading.Event()

    def serve() -> None:
        with listener.accept()[0] as client, contextlib.suppress(OSError):
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
            while not over.wait(0.01):
                client.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        over.set()
        thread.join()


def test_a_collector_that_drips_is_left_in_the_time_of_one_request(dripping):
    known = Collector(dripping, timeout=timedelta(milliseconds=200))

    with pytest.raises(CollectorError, match="no answer in time"):
        known.send(b"")


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
