"""Whatever a request to the monitor holds, the answer is no incident: never a status of 500."""

import importlib.util
from pathlib import Path
from urllib.parse import quote, urlencode

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from duly.engine.inspection.pages import _PLACE, stream_id
from duly.runtime.settings import MonitorSettings, Settings
from duly_monitor.app import build_app
from duly_monitor.redaction import pretty

FAKE = Path(__file__).parents[1] / "unit/duly_monitor/fake_inspector.py"
PROFILE = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
PATHS = [
    *("", "queues/default", "failures", "tasks/default/x", "schedules", "servers", "static/x"),
    *("api/v1/queues", "api/v1/queues/default", "api/v1/queues/default/minutes"),
    *("api/v1/queues/default/tasks", "api/v1/tasks/x", "api/v1/schedules/e/ticks"),
    *("queues/default/pause", "tasks/default/x/run", "tasks/default/x/delete"),
    *("api/v1/queues/default/resume", "api/v1/tasks/x/archive"),
    *("search", "bulk", "bulk/selected", f"bulk/{'0' * 16}", f"bulk/{'0' * 16}/stop"),
    *("queues/default/enqueue", "queues/default/remove", "tasks/default/x/message"),
    *("tasks/default/x/rerun", "tasks/default/x/edit", "tasks/default/x/cancel"),
]
NAMES = [
    *("state", "limit", "cursor", "count", "back", "name", "flash", "done", "queue", "q", "kind"),
    *("columns", "order", "at", "before", "last", "window", "operation", "task", "pace"),
    *("outcome", "payload", "delay", "reason"),
]
WORDS = [
    *("kind:", "state:", "queue:", "since:", "until:", "args.", "id:", "error:", "cause:", '"'),
    *("archived", "run", "delete", "2h", "low", "default/x", "{}", ":", ",", " ", "send_invoice"),
]
texts = st.text(max_size=30)
numbers = st.integers().map(str) | st.sampled_from(["9" * 5000, "²", "-0", "1e9", "NaN", "1_0"])
cursors = st.builds("{}-{}".format, numbers, numbers) | st.builds("{}:{}".format, numbers, texts)
words = st.lists(st.sampled_from(WORDS) | texts, max_size=5).map("".join)
queries = st.dictionaries(
    st.sampled_from(NAMES) | texts, texts | numbers | cursors | words, max_size=4
)  # fmt: skip
HEADERS = ["accept", "origin", "sec-fetch-site", "host", "cookie", "authorization", "last-event-id",
           "content-type", "x-forwarded-for", "hx-request"]  # fmt: skip
headers = st.dictionaries(
    st.sampled_from(HEADERS), st.text(st.characters(codec="latin-1", categories=["L", "N", "P"]))
)


@pytest.fixture(scope="module")
def app():
    spec = importlib.util.spec_from_file_location("fake_inspector_of_fuzz", FAKE)
    fake = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fake)
    access = Settings(monitor=MonitorSettings(access="local"))
    return build_app(access, fake.FakeInspector(), fake.FakeClient(), fake.FrozenClock())


async def ask(app, method, path, **request):
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 5), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        try:
            answer = await client.request(method, path, **request)
        except (httpx.InvalidURL, UnicodeError):
            return 400  # no client can send it
    return answer.status_code


@PROFILE
@given(st.sampled_from(PATHS), queries)
@example("api/v1/queues/default/tasks", {"limit": "9" * 5000})
@example("api/v1/queues/default/minutes", {"count": "²"})
async def test_queries(app, path, query):
    assert await ask(app, "GET", f"/monitoring/{path}", params=query) < 500


@PROFILE
@given(st.sampled_from(["GET", "POST"]), st.sampled_from(PATHS), texts)
async def test_paths(app, method, path, word):
    odd = path.replace("default", quote(word, safe="")).replace("x", quote(word, safe=""))

    assert await ask(app, method, f"/monitoring/{odd}", headers=OWN) < 500


def form(fields):
    return urlencode(fields, errors="surrogatepass").encode()


OWN = {"sec-fetch-site": "same-origin"}
BACK = b"&".join([b"back=failures"] * 9)


@PROFILE
@given(st.sampled_from(PATHS), st.binary(max_size=200) | queries.map(form))
@example("tasks/default/x/run", BACK)
@example("tasks/default/x/run", b"back=%ff%ed%a0%80")
async def test_bodies(app, path, body):
    assert await ask(app, "POST", f"/monitoring/{path}", content=body, headers=OWN) < 500


@PROFILE
@given(st.sampled_from(["GET", "POST"]), st.sampled_from(PATHS), headers)
@example("GET", "", {"authorization": "Basic ÿ"})
@example("POST", "queues/default/pause", {"origin": "http://[::1"})
@example("GET", "", {"host": "[::1"})
async def test_headers(app, method, path, sent):
    encoded = {name: value.encode("latin-1") for name, value in sent.items()}

    assert await ask(app, method, f"/monitoring/{path}", headers=encoded) < 500


@PROFILE
@given(cursors | texts)
def test_cursors(cursor):
    try:
        number, _, rest = stream_id(cursor).partition("-")
    except ValueError:
        found = _PLACE.fullmatch(cursor)
        if found is not None:
            float(found[1])
    else:
        assert int(number) < 2**64
        assert int(rest) < 2**64


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
)


@PROFILE
@given(json, st.sampled_from(["password", "api_key", "Authorization", "e-mail"]))
def test_payloads_are_shown_without_their_secrets(payload, key):
    assert "open-sesame" not in pretty({"shown": payload, key: "open-sesame"})
