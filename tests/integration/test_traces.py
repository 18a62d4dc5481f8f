"""Traces as a collector gets them: a scheduler and a worker as processes, over real servers."""

import json
import sys
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from duly.testing.environment import inherited
from duly.testing.processes import spawn, stop
from duly.testing.waiting import wait_until

SECONDS = 120.0
pytestmark = pytest.mark.timeout(400)
MAIL = "seeded.ann@example.com"
ORDERS = [
    {"order_id": number, "customer_username": "seeded-ann", "customer_email": MAIL}
    for number in range(1, 4)
]


class Orders(BaseHTTPRequestHandler):
    """An order service with one page; it keeps the headers that it gets."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append(self.headers.get("traceparent"))
        body = json.dumps({"orders": ORDERS, "next": None}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(OSError):  # who asked may not have waited
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def order_service():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Orders)
    server.daemon_threads, server.asked = True, []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def start(tmp_path, broker_settings):
    """Start a service, or run a command of one to its end."""
    processes = []

    def begin(name, *words, end=False, **variables):
        log = tmp_path / f"{name}.log"
        process = spawn(
            [sys.executable, "-m", f"duly_{name}", *words],
            log=log,
            folder=tmp_path,
            environment={
                **inherited(),
                "DULY_REDIS__PORT": str(broker_settings.port),
                "DULY_DATABASE__URL": f"sqlite:///{tmp_path}/orders.db",
                "DULY_METRICS__PORT": "0",
                "DULY_SCHEDULER__INTERVAL": "1s",
                "DULY_TRACING__SAMPLE_RATIO": "1",
                **variables,
            },
        )
        processes.append(process)
        if end:
            assert process.wait(SECONDS) == 0, log.read_text()
        return log

    yield begin
    for process in processes:
        stop(process, grace_seconds=10)


def whole(spans, *names):
    """Return the spans of a trace that has all of these names, by name; None: none has."""
    by_trace = {}
    for span in spans:
        by_trace.setdefault(span.trace_id, {}).setdefault(span.name, span)
    return next((found for found in by_trace.values() if set(names) <= set(found)), None)


TREE = ("tick check-pending-orders", "enqueue default", "wait default")
REST = ("run check_pending_orders", "read page", "settle default")


def traced(collector, *names):
    wait_until(
        lambda: whole(collector.spans(), *names), timeout=SECONDS, what="a whole trace has arrived"
    )
    return whole(collector.spans(), *names)


def test_a_trace_leads_from_the_tick_over_the_database_to_the_settled_task(start, collector):
    start("worker", "migrate", end=True)
    start("worker", "seed", end=True)
    for name, words in (("scheduler", ()), ("worker", ("--queue", "default"))):
        start(name, *words, DULY_TRACING__ENDPOINT=collector.url)

    found = traced(collector, *TREE, *REST, "SELECT")

    tick, enqueue, wait, run, page, settle, select = (
        found[name] for name in (*TREE, *REST, "SELECT")
    )
    assert tick.parent == ""
    assert enqueue.parent == tick.id
    assert {wait.parent, run.parent} == {enqueue.id}
    assert {page.parent, settle.parent} == {run.id}
    assert select.parent == page.id
    assert tick.resource["service.name"] == "duly-scheduler"
    assert run.resource["service.name"] == "duly-worker"
    assert select.attributes["db.system.name"] == "sqlite"
    assert select.attributes["db.operation.name"] == "SELECT"
    assert select.attributes["db.response.returned_rows"] > 0
    assert page.attributes["duly.orders"] == 40
    assert run.attributes["messaging.message.id"] == settle.attributes["messaging.message.id"]
    sent = b"".join(collector.bodies)
    assert b"@example" not in sent
    assert b"customer" not in sent


def test_the_order_service_belongs_to_the_trace(start, collector):
    with order_service() as server:
        start("scheduler", DULY_TRACING__ENDPOINT=collector.url)
        start(
            "worker",
            "--queue",
            "default",
            DULY_TRACING__ENDPOINT=collector.url,
            DULY_ORDERS__SOURCE="http",
            DULY_ORDERS__HTTP__URL=f"http://127.0.0.1:{server.server_address[1]}/pending?a={MAIL}",
        )

        found = traced(collector, *TREE, *REST, "GET")

        get = found["GET"]
        sent = list(server.asked)
    assert get.parent == found["read page"].id
    assert f"00-{get.trace_id}-{get.id}-01" in sent
    assert get.attributes["http.response.status_code"] == 200
    assert get.attributes["url.path"] == "/pending"
    assert b"seeded" not in b"".join(collector.bodies)


@pytest.mark.parametrize("trouble", ["away", "slow"])
def test_checks_go_on_and_stop_in_time_without_a_collector(start, collector, trouble):
    start("worker", "migrate", end=True)
    start("worker", "seed", end=True)
    collector.hold.clear()  # It answers nothing.
    url = collector.url
    if trouble == "away":
        url = "http://127.0.0.1:9"
    start("scheduler", DULY_TRACING__ENDPOINT=url)
    log = start(
        "worker",
        "--queue",
        "default",
        DULY_TRACING__ENDPOINT=url,
        DULY_TRACING__QUEUE_SIZE="4",
        DULY_TRACING__TIMEOUT="1s",
    )

    def lines(text):
        return log.read_text().count(text)

    wait_until(lambda: lines("Spans dropped"), timeout=SECONDS, what="spans were dropped")
    checked = lines("Pending orders checked")
    wait_until(
        lambda: lines("Pending orders checked") > checked + 2,
        timeout=SECONDS,
        what="checks go on",
    )
    assert lines("Spans dropped") == 1
    assert lines("Collector of traces failed") == 1
