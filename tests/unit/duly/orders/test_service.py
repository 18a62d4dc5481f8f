"""The source `http`: the example's server, and servers that break the contract."""

import asyncio
import importlib.util
import json
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jsonschema
import pytest
import yaml
from pydantic import SecretStr

from duly.errors import ConfigError
from duly.orders.service import HttpSource, ServiceDownError
from duly.orders.source import Sweep
from duly.runtime.order_settings import HttpSourceSettings

EXAMPLE = Path(__file__).parents[4] / "examples/order_service"
LONG = timedelta(seconds=60)
ORDER = {"order_id": 1, "customer_username": "ann", "customer_email": "ann@example.com"}


@contextmanager
def serving(server):
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def answering():
    """Return a function that starts a server; its answers come one after the other."""
    asked = []

    @contextmanager
    def start(*answers):
        left = list(answers)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                asked.append((self.path, dict(self.headers)))
                answer = left.pop(0) if len(left) > 1 else left[0]
                answer(self)

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        with serving(server) as url:
            yield url, asked

    return start


def says(body, status=200, *, kind="application/json", **headers):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    def answer(handler):
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def hangs_up(handler):
    handler.close_connection = True


def source(url, **options):
    longest = options.pop("longest", LONG)
    given = {"timeout": LONG, **options}
    return HttpSource(HttpSourceSettings(url=f"{url}/pending", **given), longest=longest)


async def pages_of(source, **options):
    return [page async for page in source.pages(Sweep(**options))]


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("order_service", EXAMPLE / "server.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def shop(example, tmp_path):
    """The address of the example's server, with 17 open purchases."""
    file = str(tmp_path / "shop.db")
    example.create(file)
    with serving(example.server(file, 0, "open sesame")) as url:
        yield f"{url}{example.PATH}"


async def test_the_server_of_the_example_is_read_to_its_end(shop):
    settings = HttpSourceSettings(url=shop, token=SecretStr("open sesame"), timeout=LONG)
    async with HttpSource.open(settings, longest=LONG) as opened:
        pages = await pages_of(opened, page_size=7, items=True, times=True)

    assert [len(page.orders) for page in pages] == [7, 7, 3]
    assert pages[0].orders[0] == ("A-000001", "ann", "ann+1@example.com")
    assert pages[0].items[0] == [('Pot "blue"', 2, Decimal("14.25"))]
    assert [len(items) for items in pages[0].items] == [1] * 7
    assert pages[0].times[0] == (datetime(2026, 2, 3, 12, 1, tzinfo=UTC),) * 2
    assert min(page.oldest for page in pages) == datetime(2026, 2, 3, 12, 1, tzinfo=UTC)


def test_its_pages_are_those_of_the_contract(example, tmp_path):
    contract = yaml.safe_load((EXAMPLE / "openapi.yaml").read_text())
    schema = {"$ref": "#/components/schemas/Page", "components": contract["components"]}
    example.create(str(tmp_path / "shop.db"))

    given = example.page(str(tmp_path / "shop.db"), "", 5, items=True)

    jsonschema.validate(given, schema)
    assert len(given["orders"]) == 5


async def test_a_wrong_token_is_a_wrong_setting(shop):
    settings = HttpSourceSettings(url=shop, token=SecretStr("hunter2"), timeout=LONG)

    with pytest.raises(ConfigError, match=r"^orders\.http\.token: .*status 401") as raised:
        await pages_of(HttpSource(settings, longest=LONG))

    assert "hunter2" not in str(raised.value)


async def test_a_token_in_a_file_is_read_again_for_each_check(answering, tmp_path):
    path = tmp_path / "token"
    path.write_text("first\n")

    with answering(says({"orders": [ORDER]})) as (url, asked):
        service = HttpSource(HttpSourceSettings(url=url, token_file=str(path)), longest=LONG)
        await pages_of(service)
        path.write_text("second\n")
        await pages_of(service)
        path.unlink()  # It is being replaced: the last one may still do.
        await pages_of(service)

    sent = [headers["Authorization"] for _, headers in asked]
    assert sent == ["Bearer first", "Bearer second", "Bearer second"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        pytest.param({}, r"^orders\.http\.token_file: /nowhere: ", id="missing"),
        pytest.param({"token": SecretStr("hunter2")}, r"^orders\.http\.token: is given", id="both"),
    ],
)
def test_a_wrong_file_with_a_token_is_told_at_the_start(options, problem):
    settings = HttpSourceSettings(url="http://host/", token_file="/nowhere", **options)

    with pytest.raises(ConfigError, match=problem):
        HttpSource(settings, longest=LONG)


async def test_what_may_pass_is_asked_for_again(answering):
    answers = (says({}, 503), hangs_up, says({"orders": [ORDER]}))
    with answering(*answers) as (url, asked):
        (page,) = await pages_of(source(url))

    assert page.orders == [(1, "ann", "ann@example.com")]
    assert len(asked) == 3


async def test_after_the_last_attempt_the_service_is_down(answering):
    with (
        answering(says({}, 500)) as (url, asked),
        pytest.raises(ServiceDownError, match=r"127\.0\.0\.1:\d+/pending .*: .*status 500$"),
    ):
        await pages_of(source(url, attempts=2))

    assert len(asked) == 2


async def test_one_connection_serves_all_pages(answering):
    ports = set()

    def page(handler):
        ports.add(handler.client_address[1])
        after = handler.path.partition("after=")[2]
        number = int(after or 0) + 1
        order = {**ORDER, "order_id": number}
        says({"orders": [order], "next": str(number) if number < 5 else None})(handler)

    with answering(page) as (url, _):
        pages = await pages_of(source(url, attempts=1))

    assert [page.orders[0][0] for page in pages] == [1, 2, 3, 4, 5]
    assert len(ports) == 1


async def test_a_long_wait_is_left_to_the_next_attempt_of_the_task(answering):
    with (
        answering(says({}, 429, Retry_After="30")) as (url, asked),
        pytest.raises(ServiceDownError, match="status 429, and asks to wait 30 s"),
    ):
        await pages_of(source(url))

    assert len(asked) == 1


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (says({}, 302, Location="http://elsewhere/"), "redirections are not followed"),
        (says({}, 404), "answers with status 404"),
    ],
)
async def test_an_address_that_is_wrong_is_a_wrong_setting(answering, answer, problem):
    with (
        answering(answer) as (url, asked),
        pytest.raises(ConfigError, match=rf"^orders\.http\.url: .*{problem}"),
    ):
        await pages_of(source(url))

    assert len(asked) == 1


SECRET = "open-sesame"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"\x80\x81" + SECRET.encode(), "breaks the contract"),
        (b"[" * 100_000, "breaks the contract"),
        ({"orders": None}, r"at `\$.orders`"),
        ({"orders": [{**ORDER, "customer_email": {SECRET: 1}}]}, "customer_email"),
        ({"orders": [{"order_id": 1, "customer_email": SECRET}]}, "customer_username"),
        ({"orders": [{**ORDER, "customer_username": SECRET * 500}]}, "customer_username"),
        ({"orders": [{**ORDER, "created_at": SECRET}]}, "created_at"),
        ({"orders": [{**ORDER, "created_at": "2026-01-01T00:00:00"}]}, "created_at"),
        ({"orders": [ORDER] * 2}, "an order comes twice"),
        ({"orders": [{**ORDER, "order_id": n} for n in range(5)]}, "a page holds 5 orders"),
        ({"orders": [ORDER], "next": ""}, "do not go on"),
        (
            {
                "orders": [
                    {
                        **ORDER,
                        "items": [{"product_name": "x", "quantity": 1, "unit_price": "1e999999"}],
                    }
                ]
            },
            "a unit_price",
        ),
    ],
)
async def test_an_answer_that_breaks_the_contract_is_refused_and_not_quoted(
    answering, body, problem
):
    with (
        answering(says(body)) as (url, asked),
        pytest.raises(ServiceDownError, match=problem) as raised,
    ):
        await pages_of(source(url), page_size=4, items=True)

    assert SECRET not in str(raised.value)
    assert "\n" not in str(raised.value)
    assert len(asked) == 1


def leading(*cursors):
    """Return the answer with the first of them, then that with the second, and so on."""
    return [
        says({"orders": [{**ORDER, "order_id": place}], "next": cursor})
        for place, cursor in enumerate(cursors)
    ]


@pytest.mark.parametrize("cursors", ["AA", "ABA", "ABCDB", ["A", ""]])
async def test_pages_that_lead_back_are_refused(answering, cursors):
    with (
        answering(*leading(*cursors)) as (url, asked),
        pytest.raises(ServiceDownError, match="do not go on"),
    ):
        await pages_of(source(url))

    assert len(asked) == len(cursors)


async def test_an_order_that_comes_again_in_the_next_page_is_refused(answering):
    again = [says({"orders": [ORDER], "next": cursor}) for cursor in "AB"]
    with (
        answering(again[0], says({"orders": [], "next": "X"}), again[1]) as (url, asked),
        pytest.raises(ServiceDownError, match="an order comes again in the next page"),
    ):
        await pages_of(source(url))

    assert len(asked) == 3


@pytest.mark.parametrize(
    ("asks", "problem"),
    [
        ("123456abc", "status 503$"),
        ("Wed, 21 Oct 2026 07:28:00 GMT", "status 503$"),
        ("-1", "status 503$"),
        ("9" * 5_000, "asks to wait 999999999 s$"),
    ],
)
async def test_whatever_a_service_asks_to_wait_is_read(answering, asks, problem):
    with (
        answering(says({}, 503, Retry_After=asks)) as (url, _),
        pytest.raises(ServiceDownError, match=problem),
    ):
        await pages_of(source(url, attempts=1))


@pytest.mark.parametrize("announced", [True, False])
async def test_a_page_that_is_too_large_is_not_read(answering, announced):
    def answer(handler):
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        if announced:
            handler.send_header("Content-Length", str(10**9))
        else:
            handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        try:
            while True:
                handler.wfile.write(chunk)
        except OSError:
            handler.close_connection = True

    with (
        answering(answer) as (url, _),
        pytest.raises(ServiceDownError, match="more than 100000 bytes"),
    ):
        await pages_of(source(url, max_page_bytes=100_000))


async def test_a_silent_service_is_left(answering):
    released = threading.Event()

    def answer(handler):
        released.wait(60)
        handler.close_connection = True

    with answering(answer) as (url, _):
        try:
            with pytest.raises(ServiceDownError, match=r"no answer within 0\.2 s"):
                await pages_of(source(url, attempts=1, longest=timedelta(seconds=0.2)))
        finally:
            released.set()


async def test_a_service_that_drips_is_left(answering):
    ended = threading.Event()

    def answer(handler):
        handler.send_response(200)
        try:
            while not ended.wait(0.05):
                handler.wfile.write(b"X-Drip: 1\r\n")
                handler.wfile.flush()
        except OSError:
            handler.close_connection = True

    with answering(answer) as (url, _):
        try:
            with pytest.raises(ServiceDownError, match=r"no answer within|does not speak HTTP"):
                await pages_of(source(url, attempts=1, longest=timedelta(seconds=0.3)))
        finally:
            ended.set()


async def test_nobody_there_is_one_clear_error():
    with pytest.raises(ServiceDownError, match=r"http://127\.0\.0\.1:1/pending cannot be used"):
        await pages_of(source("http://127.0.0.1:1", attempts=1))


async def test_a_cancelled_sweep_leaves_no_thread(answering):
    released = threading.Event()
    asked_for = threading.Event()

    def answer(handler):
        asked_for.set()
        released.wait(60)
        handler.close_connection = True

    with answering(answer) as (url, _):
        task = asyncio.create_task(pages_of(source(url)))
        await asyncio.to_thread(asked_for.wait, 60)
        waiting = [each for each in threading.enumerate() if each.name == "blocking function"]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for thread in waiting:
            await asyncio.to_thread(thread.join, 60)
        released.set()

    assert waiting
    assert not any(thread.is_alive() for thread in waiting)


async def test_a_query_of_the_address_is_kept(answering):
    with answering(says({"orders": []})) as (url, asked):
        settings = HttpSourceSettings(url=f"{url}/p?shop=7", timeout=LONG)
        assert await pages_of(HttpSource(settings, longest=LONG), page_size=3) == []

    ((path, headers),) = asked
    assert path == "/p?shop=7&limit=3"
    assert "Authorization" not in headers
