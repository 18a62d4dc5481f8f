"""Takes the pictures of the monitor's pages for the documentation, over the fake inspector.

    python tests/e2e/monitor_screenshots.py docs/images

Each page is taken on a desk in both themes and on a phone, as WebP: the pictures stay small.
"""

import asyncio
import base64
import importlib.util
import shutil
import sys
import threading
from datetime import timedelta
from pathlib import Path
from queue import SimpleQueue

from playwright.sync_api import sync_playwright

from duly.engine.storage.reports import AuditRecord
from duly.runtime.settings import MonitorSettings, Settings
from duly_monitor.app import build_app
from duly_monitor.serving import listen, serve

HERE = Path(__file__).parent
PAGES = {
    "queues": "/",
    "queue": "/queues/default?state=archived",
    "groups": "/queues/critical/groups",
    "joins": "/queues/default/joins",
    "locks": "/queues/default/locks",
    "task": "/tasks/default/a1b2c3d4e5f60718",
    "failures": "/failures",
    "search": "/search?q=send",
    "bulk": "/bulk?operation=run&q=state:archived",
    "enqueue": "/queues/low/enqueue",
    "throughput": "/throughput?span=72h",
    "schedules": "/schedules",
    "workers": "/servers",
    "broker": "/broker",
    "audit": "/audit",
}
ACTS = (
    ("grace", "operator", "run_task", "done", "queue=default task_id=a1b2c3d4e5f60718", ""),
    ("linus", "viewer", "pause_queue", "refused", "name=default", ""),
    ("ada", "operator", "pause_queue", "done", "name=low", "the gateway is down"),
)
"""What the audit shows, oldest first: user, role, action, result, target, reason."""
DESK, PHONE = {"width": 1240, "height": 800}, {"width": 390, "height": 844}
LOOKS = {
    "": {"viewport": DESK},
    "-dark": {"viewport": DESK, "color_scheme": "dark"},
    "-phone": {"viewport": PHONE},
}
_HIGHEST = 1_600
"""Of a picture, in pixels: longer pages are cut."""


def _fake():
    path = HERE.parent / "unit" / "duly_monitor" / "fake_inspector.py"
    spec = importlib.util.spec_from_file_location("fake_inspector", path)
    sys.modules["fake_inspector"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _serve(listener, app, loops):
    async def run():
        stop = asyncio.Event()
        loops.put((asyncio.get_running_loop(), stop))
        await serve(app, listener, stop, app.state.feed.close)

    asyncio.run(run())


def take(folder: Path, only: list[str]) -> None:
    """Write the pictures of all pages, or of those that are named."""
    fake, loops = _fake(), SimpleQueue()
    settings = Settings(monitor=MonitorSettings(access="local", environment="staging"))
    inspector = fake.FakeInspector()
    inspector.audited = [
        AuditRecord(
            user=user, role=role, action=action, result=result, target=target, reason=reason,
            peer="10.0.4.17", request_id="7f3a90", id=f"{number}-0",
            at=fake.NOW - timedelta(minutes=30 - number),
        )
        for number, (user, role, action, result, target, reason) in enumerate(ACTS, 1)
    ]  # fmt: skip
    app = build_app(settings, inspector, fake.FakeClient(), fake.FrozenClock())
    with listen("127.0.0.1", 0) as listener, sync_playwright() as playwright:
        thread = threading.Thread(target=_serve, args=(listener, app, loops))
        thread.start()
        loop, stop = loops.get(timeout=60)
        address = f"http://localhost:{listener.getsockname()[1]}/monitoring"
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        try:
            for look, options in LOOKS.items():
                page = browser.new_context(**options, timezone_id="Europe/Berlin").new_page()
                for name, path in PAGES.items():
                    if not only or name in only:
                        _picture(page, f"{address}{path}", folder / f"monitor-{name}{look}.webp")
        finally:
            browser.close()
            loop.call_soon_threadsafe(stop.set)
            thread.join(60)


def _picture(page, address: str, target: Path) -> None:
    page.goto(address, timeout=120_000)
    if page.locator("[data-live]").count():
        page.locator("#live:not([hidden], .off)").wait_for(timeout=120_000)
    height = min(page.evaluate("document.documentElement.scrollHeight"), _HIGHEST)
    clip = {"x": 0, "y": 0, "width": page.viewport_size["width"], "height": height, "scale": 1}
    # Playwright itself makes PNG and JPEG only.
    taken = page.context.new_cdp_session(page).send(
        "Page.captureScreenshot",
        {"format": "webp", "quality": 70, "captureBeyondViewport": True, "clip": clip},
    )
    target.write_bytes(base64.b64decode(taken["data"]))


if __name__ == "__main__":
    take(Path(sys.argv[1]), sys.argv[2:])
