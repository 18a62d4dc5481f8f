"""The monitor over a fake inspector, and a real browser that looks at it."""

import asyncio
import importlib.util
import queue
import shutil
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from duly.clock import to_unix_ms
from duly.engine.storage.reports import BulkRunReport, BulkRunState
from duly.runtime.settings import MonitorSettings, Settings
from duly.testing.environment import in_ci
from duly_monitor.app import build_app
from duly_monitor.serving import listen, serve

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SERVED = "/monitoring"
PATIENCE_MS = 120_000
"""Chromium begins in a second, on a machine under load in half a minute."""


@pytest.fixture(scope="module")
def fake():
    """The fake inspector's module."""
    name = "fake_inspector"
    if name not in sys.modules:
        path = Path(__file__).parents[2] / "unit" / "duly_monitor" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture
def inspector(fake):
    """A fake inspector that also has two bulk operations."""
    inspector = fake.FakeInspector()
    at = to_unix_ms(inspector.at)
    run = BulkRunReport(
        id="0ne", operation="run", selection="state:archived", by="ada", total=900, done=300,
        started_ms=at, updated_ms=at,
    )  # fmt: skip
    failed = replace(
        run, id="f4iled", state=BulkRunState.FAILED, failed=3, gone=1, error="<b>no memory</b>"
    )
    inspector.runs = {each.id: each for each in (run, failed)}
    return inspector


@pytest.fixture
def address(serving):
    """Serve the monitor to whoever is on this machine; yield its address."""
    with serving(access="local", environment="staging") as address:
        yield address


@pytest.fixture
def serving(fake, inspector):
    """`serving(**settings)` serves the monitor from a thread for the body."""
    return contextmanager(partial(_serving, fake, inspector))


def _serving(fake, inspector, **monitor):
    settings = Settings(monitor=MonitorSettings(**monitor))
    app = build_app(settings, inspector, fake.FakeClient(), fake.FrozenClock())
    stop, loops = asyncio.Event(), queue.SimpleQueue()

    async def run(listener):
        loops.put(asyncio.get_running_loop())
        await serve(app, listener, stop, app.state.feed.close)

    with listen("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=lambda: asyncio.run(run(listener)))
        thread.start()
        loop = loops.get(timeout=60)
        try:
            yield f"http://localhost:{listener.getsockname()[1]}{SERVED}"
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join(60)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def playwright():
    """Playwright with Debian's Chromium."""
    if shutil.which("chromium") is None:
        if in_ci():
            pytest.fail("CI must have Chromium")
        pytest.skip("Chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        yield started


@pytest.fixture
def browse(playwright, tmp_path):
    """Return a function that opens a page and remembers everything that goes wrong on it."""
    contexts = []

    def start(**options):
        context = playwright.chromium.launch_persistent_context(
            tmp_path / f"profile-{len(contexts)}",
            executable_path=shutil.which("chromium"),
            headless=True,
            args=FLAGS,
            timeout=PATIENCE_MS,
            **options,
        )
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        page.wrong = []
        page.on("console", lambda message: page.wrong.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: page.wrong.append(str(error)))
        page.on("requestfailed", lambda request: _failed(page, request))
        return page

    yield start
    for context in contexts:
        context.close()


def _failed(page, request):
    # Leaving a page ends what it still loads, its stream and its icon: that is not a failure.
    # What the server refuses or lacks is an error on the console as well.
    if request.failure != "net::ERR_ABORTED":
        page.wrong.append(f"{request.url}: {request.failure}")
