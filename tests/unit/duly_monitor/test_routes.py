"""Every address: answered, escaped, below the prefix."""

import re
from html import unescape
from html.parser import HTMLParser
from urllib.parse import quote

import pytest
from sample_tasks import XSS

from duly.task import TaskState

PAGES = [
    "/monitoring",
    "/monitoring/",
    "/monitoring/queues/default",
    "/monitoring/queues/low",
    "/monitoring/queues/critical/groups",
    f"/monitoring/queues/critical/group?kind=mention&group={quote(XSS)}",
    "/monitoring/queues/default/joins",
    "/monitoring/queues/critical/joins",
    "/monitoring/queues/default/locks",
    "/monitoring/broker",
    "/monitoring/audit",
    "/monitoring/settings",
    "/monitoring/throughput",
    "/monitoring/failures",
    "/monitoring/tasks/default/0f1e2d3c4b5a6978",
    "/monitoring/tasks/critical/c0c0c0c000000001",
    "/monitoring/tasks/low/1764041400000-0",
    "/monitoring/schedules",
    "/monitoring/servers",
    *(f"/monitoring/queues/default?state={state.value}" for state in TaskState),
]
LEADS_NOWHERE = re.compile("tick-|41d8e0b71|tasks/default/%3Cimg|/group(.csv)?$")
"""Tasks that have gone, and an address whose query is left out here."""


class Inline(HTMLParser):
    """Finds code and styles that a strict policy would block."""

    def __init__(self, html):
        super().__init__()
        self.found = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        names = dict(attrs)
        if tag == "style" or (tag == "script" and "src" not in names):
            self.found.append(tag)
        for name, value in names.items():
            if name == "style" or name.startswith("on") or "javascript:" in (value or ""):
                self.found.append(f"{tag} {name}")


@pytest.mark.parametrize("path", PAGES)
async def test_page_is_html_without_inline_code(client, path):
    answer = await client.get(path)

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert Inline(answer.text).found == []
    assert not re.search(r"(src|href)=\"(https?:)?//", answer.text)


@pytest.mark.parametrize("path", PAGES)
async def test_page_escapes_what_comes_from_the_broker(client, path):
    assert XSS not in (await client.get(path)).text


LISTS = [
    "/monitoring/",
    "/monitoring/queues/default?state=archived&order=oldest",
    "/monitoring/queues/default?state=archived&q=kind:send_invoice",
    "/monitoring/search?q=state:archived",
    "/monitoring/queues/critical/groups",
    f"/monitoring/queues/critical/group?kind=mention&group={quote(XSS)}",
    "/monitoring/queues/default/joins",
    "/monitoring/queues/default/locks",
    "/monitoring/broker",
    "/monitoring/throughput?span=72h",
    "/monitoring/failures",
    "/monitoring/schedules",
    "/monitoring/servers",
]


@pytest.mark.parametrize("path", LISTS)
async def test_a_page_offers_its_list_as_csv(client, path):
    page = await client.get(path)
    (address,) = re.findall(r'<a href="([^"]+)" download>This list as CSV</a>', page.text)
    answer = await client.get(unescape(address))

    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert len(answer.text.splitlines()) > 1


@pytest.mark.parametrize("prefix", ["", "/ops/duly"])
async def test_every_link_and_form_stays_below_the_prefix(connect, prefix):
    async with connect(prefix=prefix) as client:
        seen, waiting = set(), {f"{prefix}/"}
        while waiting:
            path = waiting.pop()
            seen.add(path)
            answer = await client.get(path)
            assert answer.status_code == 200, path
            links = set(re.findall(r"<a [^>]*href=\"([^\"#?]+)", answer.text))
            files = set(re.findall(r"(?:src|href)=\"(/[^\"?#]+)\?v=", answer.text))
            actions = set(re.findall(r"action=\"([^\"]+)", answer.text))
            assert all(link.startswith(f"{prefix}/") for link in links | files | actions)
            waiting |= {link for link in (links | files) - seen if not LEADS_NOWHERE.search(link)}

    assert {f"{prefix}/failures", f"{prefix}/servers", f"{prefix}/static/app.css"} <= seen


async def test_root_leads_to_the_prefix(client):
    answer = await client.get("/")

    assert (answer.status_code, answer.headers["Location"]) == (307, "/monitoring/")


async def test_what_a_page_names_by_its_digest_is_never_asked_for_again(client):
    page = await client.get("/monitoring/")
    named = re.findall(r"(?:src|href)=\"([^\"]+\?v=[^\"]+)\"", page.text)
    answers = [await client.get(address) for address in named]

    assert len(answers) > 4
    assert {each.headers["Cache-Control"] for each in answers} == {
        "public, max-age=31536000, immutable"
    }
    plain = await client.get("/monitoring/static/app.css")
    assert plain.headers["Cache-Control"] == "public, max-age=60"


async def test_the_first_view_is_small_on_the_wire(connect):
    """What a first visit transfers, headers left aside, stays below 60 KB."""
    async with connect(headers={"Accept-Encoding": "gzip"}) as client:
        page = await client.get("/monitoring/")
        named = re.findall(r"(?:src|href)=\"([^\"]+\?v=[^\"]+)\"", page.text)
        sizes = {}
        for address in ["/monitoring/", *named]:
            async with client.stream("GET", address) as answer:
                sizes[address] = sum([len(each) async for each in answer.aiter_raw()])

    assert sum(sizes.values()) < 60_000, sizes
