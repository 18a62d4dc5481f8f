"""The monitor in a real browser: no errors, live updates, working buttons, on a phone too."""

import asyncio
import importlib.util
import queue
import re
import shutil
import sys
import threading
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace

from duly.runtime.settings import MonitorSettings, Settings
from duly.task import Task, TaskState
from duly.testing.environment import in_ci
from duly.testing.waiting import wait_until
from duly_monitor.app import build_app
from duly_monitor.serving import listen, serve

pytestmark = pytest.mark.browser

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
PAGES = [
    "",
    "/queues/default",
    "/queues/default?state=archived",
    "/queues/low?state=quarantined",
    "/queues/critical?state=aggregating",
    "/queues/default?state=archived&columns=lines,invoice_id",
    "/queues/critical/groups",
    "/queues/critical/group?kind=mention&group=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E",
    "/queues/default/joins",
    "/queues/default/locks",
    "/queues/low/enqueue",
    "/queues/low/remove",
    "/failures",
    "/search",
    "/search?q=send",
    "/bulk",
    "/bulk?operation=run&q=state:archived",
    "/tasks/low/1764041400000-0/message",
    "/tasks/default/0f1e2d3c4b5a6978",
    "/tasks/default/9f2c41d8e0b70",
    "/schedules",
    "/servers",
    "/broker",
    "/audit",
    "/settings",
    "/throughput?span=72h",
    "/queues/default?span=90d",
    "/queues/default?q=kind:nothing",
    "/search?q=kind:nothing",
    "/search?q=nobody:",
    "/tasks/default/gone",
    "/queues/nobody",
]
LIVE = ("/", "/queues/default?state=archived", "/queues/default", "/failures", "/schedules",
        "/servers", "/tasks/default/9f2c41d8e0b70")  # fmt: skip
LOOKS = [
    pytest.param({"color_scheme": "light"}, {}, id="light"),
    pytest.param({"color_scheme": "dark"}, {}, id="dark"),
    pytest.param({"color_scheme": "light"}, {"contrast": "more"}, id="light-more-contrast"),
    pytest.param({"color_scheme": "dark"}, {"contrast": "more"}, id="dark-more-contrast"),
    pytest.param(
        {"color_scheme": "dark", "viewport": {"width": 375, "height": 812}}, {}, id="phone"
    ),
]
SHIFT = """
window.shifts = [];
new PerformanceObserver((list) => {
  for (const each of list.getEntries()) {
    const places = each.sources.map(({ node }) => node?.id || node?.className || node?.nodeName);
    window.shifts.push({ value: each.value, where: places.join(" ") });
  }
}).observe({ type: "layout-shift", buffered: true });
"""
SHIFTED = """
new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(shifts))))
"""
"""Two frames on, all that scripts draw has been painted."""
MOST_SHIFT = 0.02
OPENED = (
    "document.querySelectorAll('details:not(.menu, .confirm)').forEach((each) => each.open = true)"
)
SERVED = "/monitoring"
PATIENCE_MS = 120_000
"""Chromium begins in a second, on a machine under load in half a minute."""


@pytest.fixture(scope="module")
def fake():
    """The fake inspector's module."""
    name = "fake_inspector"
    if name not in sys.modules:
        path = Path(__file__).parents[1] / "unit" / "duly_monitor" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture
def inspector(fake):
    return fake.FakeInspector()


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


@pytest.mark.parametrize("size", [(1280, 800), (1024, 768), (768, 1024), (390, 844), (320, 640)])
def test_every_page_is_free_of_errors_and_fits_its_width(browse, address, size):
    page = browse(viewport={"width": size[0], "height": size[1]})
    for path in PAGES:
        page.goto(f"{address}{path}")
        page.wait_for_load_state("load")
        page.evaluate("document.querySelectorAll('details').forEach((each) => each.open = true)")
        overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert overflow <= 0, f"{path or '/'} is {overflow} px too wide"
        assert page.locator("img").count() == 0

    assert _without_answers(page.wrong) == []


def _without_answers(wrong):
    """Leave out what the browser says of pages that are answered with an error."""
    return [each for each in wrong if "the server responded with a status of 4" not in each]


@pytest.fixture(scope="module")
def axe():
    """The source of axe-core, which looks for what people with disabilities stumble over."""
    found = importlib.util.find_spec("axe_playwright_python")
    if found is None:
        if in_ci():
            pytest.fail("CI must have axe-playwright-python")
        pytest.skip("axe-playwright-python is not installed")
    return (Path(found.origin).parent / "axe.min.js").read_text()


def _violations(page, axe):
    """Return what is wrong with a page: the rule, and where."""
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        (each["id"], node["target"], node.get("failureSummary", "")[:300])
        for each in found["violations"]
        for node in each["nodes"]
    ]


@pytest.mark.parametrize(("options", "chosen"), LOOKS)
def test_nobody_stumbles_over_a_page(browse, address, axe, options, chosen):
    page, wrong = browse(**options), {}
    page.goto(f"{address}/settings")
    for name, value in chosen.items():
        page.select_option(f"[name={name}]", value)
    for path in PAGES:
        page.goto(f"{address}{path}")
        page.wait_for_load_state("load")
        page.evaluate(OPENED)
        if found := _violations(page, axe):
            wrong[path or "/"] = found

    assert wrong == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_stumbles_over_the_log_in(browse, serving, axe, scheme):
    users, page = {"vera": {"password": "v", "role": "viewer"}}, browse(color_scheme=scheme)
    with serving(access="basic", users=users) as address:
        page.goto(f"{address}/")
        page.get_by_label("User name").fill("vera")
        page.get_by_label("Password").fill("guess")
        first = _violations(page, axe)
        page.keyboard.press("Enter")
        page.get_by_text("is wrong").wait_for()

        assert first == _violations(page, axe) == []


@pytest.mark.parametrize("width", [1280, 375])
def test_nothing_moves_while_a_page_loads(browse, address, width):
    page, moved = browse(viewport={"width": width, "height": 800}), {}
    page.context.add_init_script(SHIFT)
    for path in PAGES:
        page.goto(f"{address}{path}")
        page.wait_for_load_state("load")
        shifts = page.evaluate(SHIFTED)
        if sum(each["value"] for each in shifts) > MOST_SHIFT:
            moved[path or "/"] = shifts

    assert moved == {}


@pytest.mark.parametrize("width", [1280, 375])
@pytest.mark.parametrize("path", LIVE)
def test_nothing_moves_while_a_page_updates(browse, address, inspector, path, width):
    page = browse(viewport={"width": width, "height": 800})
    page.context.add_init_script(SHIFT)
    page.goto(f"{address}{path}")
    page.locator("#live:not(.off)").wait_for()
    page.evaluate(
        "window.updates = 0; document.addEventListener('duly:live', () => { window.updates += 1; })"
    )

    for number in range(3):
        inspector.at += timedelta(seconds=100)
        for task in [*inspector.held]:
            if task.state is TaskState.QUARANTINED:
                inspector.held.append(replace(task, id=f"{task.id}-{number}"))
        wait_until(lambda number=number: page.evaluate("window.updates") > number)

    shifts = page.evaluate(SHIFTED)
    assert sum(each["value"] for each in shifts) <= MOST_SHIFT, shifts


def without_failures(inspector):
    """Take away the tasks that have failed; return them."""
    failed = (TaskState.ARCHIVED, TaskState.QUARANTINED)
    kept = [task for task in inspector.held if task.state in failed]
    inspector.held[:] = [task for task in inspector.held if task.state not in failed]
    return kept


def test_a_section_that_comes_is_put_where_it_belongs(browse, address, inspector):
    kept = without_failures(inspector)
    page = browse()
    page.goto(f"{address}/failures")
    page.locator("#live:not(.off)").wait_for()
    page.evaluate("window.same = true")
    page.get_by_text("No failures.").wait_for()

    inspector.held.extend(kept)

    page.locator(".failure").first.wait_for()
    page.locator("#live:not(.off)").wait_for()
    assert page.evaluate("window.same"), "without loading the page anew"
    assert page.locator("#notice").is_hidden()
    assert page.get_by_text("No failures.").count() == 0
    for task in kept[1:]:
        inspector.held.remove(task)
    wait_until(lambda: page.locator(".failure").count() == 1)
    inspector.held.remove(kept[0])
    page.get_by_text("No failures.").wait_for()
    assert page.wrong == []


def test_a_list_that_comes_can_be_ticked(browse, address, inspector):
    kept = without_failures(inspector)
    page = browse()
    page.goto(f"{address}/queues/default?state=archived")
    page.locator("#live:not(.off)").wait_for()
    page.get_by_text("No archived tasks.").wait_for()

    inspector.held.extend(kept)
    page.get_by_text("All on this page").click()

    page.get_by_text("2 selected", exact=True).wait_for()
    assert page.locator("#plot canvas").count() == 1
    assert page.wrong == []


def test_who_types_is_asked_before_a_section_comes(browse, address, inspector):
    kept = without_failures(inspector)
    page = browse()
    page.goto(f"{address}/queues/default?state=archived")
    page.locator("#live:not(.off)").wait_for()
    field = page.get_by_label("Filter")
    field.fill("kind:send")

    inspector.held.extend(kept)
    page.get_by_text("This page has changed.").wait_for()
    assert page.locator("table.tasks").count() == 0
    assert field.input_value() == "kind:send"

    field.fill("")
    page.locator("#search").focus()
    page.locator("table.tasks").wait_for()
    assert page.locator("#notice").is_hidden()
    assert page.wrong == []


def test_a_change_arrives_without_a_reload_and_keeps_what_one_was_doing(browse, address, inspector):
    page = browse()
    page.goto(f"{address}/")
    page.wait_for_selector("#live:not([hidden])")
    page.evaluate("window.kept = document.getElementById('queue-critical')")
    page.get_by_text("Show as a table").click()
    page.locator("#queue-critical a.name").focus()
    assert "paused" not in page.locator("#queue-critical").inner_text()

    inspector.paused["critical"] = inspector.at
    page.wait_for_selector("#queue-critical .state-paused")

    assert page.evaluate("window.kept === document.getElementById('queue-critical')")
    assert page.evaluate("document.activeElement.textContent") == "critical"
    assert page.locator("#plot-data").is_visible()
    page.locator("#plot canvas").wait_for()
    assert page.locator("#plot canvas").count() == 1
    assert page.wrong == []


def test_an_outage_is_shown_beside_the_page_and_goes_away_by_itself(browse, address, inspector):
    page = browse()
    page.goto(f"{address}/")
    page.wait_for_selector("#live:not([hidden])")

    inspector.down = True
    page.get_by_text("Broker unreachable").wait_for()
    page.get_by_text("Not live").wait_for()
    assert page.locator("#queue-default").is_visible()
    inspector.down = False
    page.locator("#live:not(.off)").wait_for()

    assert page.locator("#down").is_hidden()
    page.wait_for_selector("#plot canvas")
    assert page.wrong == []


def test_no_row_moves_while_somebody_is_at_the_list(browse, address, inspector, fake):
    page = browse()
    page.goto(f"{address}/queues/default?state=archived")
    page.locator("#live:not(.off)").wait_for()
    rows = page.locator("table.tasks tbody tr")
    count, first = rows.count(), rows.first.get_attribute("id")
    rows.first.locator("input").check()

    (old,) = [task for task in inspector.held if f"task-default-{task.id}" == first]
    inspector.held.remove(old)
    new = Task(id="another", queue="default", kind=old.kind, state=old.state)
    inspector.held.insert(0, new)
    page.get_by_text("The list has changed: 1 came, 1 went.").wait_for()
    assert rows.count() == count
    assert rows.first.get_attribute("id") == first
    assert rows.first.locator("input").is_checked()

    page.get_by_role("button", name="Show").click()
    page.locator("#task-default-another").wait_for()

    assert rows.count() == count
    assert page.locator("#notice").is_hidden()
    assert page.wrong == []


def test_a_page_that_nobody_sees_is_not_followed(browse, address):
    page = browse()
    page.goto(f"{address}/servers")
    page.locator("#live:not(.off)").wait_for()
    hide = "Object.defineProperty(document, 'hidden', {value: %s, configurable: true});"
    event = "document.dispatchEvent(new Event('visibilitychange'))"

    page.evaluate(hide % "true" + event)
    page.get_by_text("Paused").wait_for()
    page.evaluate(hide % "false" + event)

    page.locator("#live:not(.off)").wait_for()
    assert page.wrong == []


@pytest.mark.parametrize("javascript", [True, False], ids=["with-js", "without-js"])
def test_a_cause_is_retried_from_the_failures_page(browse, address, inspector, javascript):
    page = browse(java_script_enabled=javascript)
    page.goto(f"{address}/failures")
    assert page.locator(".failure").count() == 4
    assert "onerror=alert(1)" in page.locator(".failure").nth(1).inner_text()

    page.locator(".failure", has_text="GatewayError").get_by_text("Retry it").click()
    page.get_by_role("button", name="Retry 1 task").click()
    page.locator("h1 .state-completed").wait_for()

    states = {task.id: task.state.value for task in inspector.held}
    assert states["a1b2c3d4e5f60718"] == "waiting"
    assert states["0f1e2d3c4b5a6978"] == "archived"
    page.goto(f"{address}/failures")
    assert page.locator(".failure").count() == 3
    assert page.wrong == []


def test_a_question_closes_by_escape_and_a_deleted_task_leads_to_its_queue(
    browse, address, inspector
):
    page = browse()
    page.goto(f"{address}/tasks/default/0f1e2d3c4b5a6978")
    page.get_by_text("Delete…").click()
    page.get_by_role("button", name="Delete task").wait_for()

    page.keyboard.press("Escape")
    page.get_by_role("button", name="Delete task").wait_for(state="hidden")
    assert page.evaluate("document.activeElement.textContent") == "Delete…"

    page.keyboard.press("Enter")
    page.get_by_role("button", name="Delete task").click()
    page.get_by_text("Task deleted.").wait_for()

    assert "/queues/default" in page.url
    assert "0f1e2d3c4b5a6978" not in {task.id for task in inspector.held}
    assert page.wrong == []


def test_ages_grow_while_one_looks(browse, address):
    page = browse()
    page.goto(f"{address}/tasks/default/9f2c41d8e0b70")
    shown = "document.querySelector('time[title^=\"since \"]').textContent"
    first = page.evaluate(shown)

    wait_until(lambda: page.evaluate(shown) != first)

    assert re.fullmatch(r"\d+ s|\d+ min.*", page.evaluate(shown))
    assert page.wrong == []


def test_keys_lead_from_page_to_page_and_from_row_to_row(browse, address):
    page = browse()
    page.goto(f"{address}/")
    page.keyboard.press("?")
    assert page.locator("dialog#keys").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("dialog#keys").is_visible()

    for key, path in (("f", "/failures"), ("w", "/servers"), ("s", "/schedules"), ("q", "/")):
        page.keyboard.press("g")
        page.keyboard.press(key)
        page.wait_for_url(f"{address}{path}")

    page.keyboard.press("j")
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.textContent") == "default"
    page.keyboard.press("k")
    assert page.evaluate("document.activeElement.textContent") == "critical"
    page.keyboard.press("/")
    page.keyboard.type("g?jk")
    assert page.locator("#search").input_value() == "g?jk"
    assert page.wrong == []


def test_what_one_chooses_holds_on_every_page(browse, address):
    page = browse(color_scheme="light", timezone_id="Europe/Berlin")
    page.goto(f"{address}/settings")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.select_option("[name=theme]", "dark")
    page.select_option("[name=contrast]", "more")
    dark = page.evaluate(ground)
    page.goto(f"{address}/servers")

    assert page.evaluate(ground) == dark != light
    assert page.evaluate("document.documentElement.dataset.contrast") == "more"
    titles = page.locator("time[title$=UTC]").evaluate_all("all => all.map(each => each.title)")
    assert any("04:30:17 (Europe/Berlin), 2026-11-25 03:30:17 UTC" in title for title in titles)
    assert page.locator("[data-zone-note]").text_content() == "Europe/Berlin"

    page.goto(f"{address}/settings")
    page.select_option("[name=zone]", "UTC")
    page.goto(f"{address}/servers")
    assert page.locator("[data-zone-note]").text_content() == "UTC"
    assert page.wrong == []


def test_all_tasks_of_a_page_are_ticked_at_once_and_asked_about(browse, address):
    page = browse()
    page.goto(f"{address}/queues/default?state=archived")

    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    page.get_by_text("All on this page").click()
    page.get_by_text("2 selected", exact=True).wait_for()
    page.get_by_role("button", name="Retry selected").click()

    page.get_by_role("heading", name="Retry 2 tasks?").wait_for()
    page.get_by_text("Do nothing").click()
    page.locator("table.tasks").wait_for()
    assert "/queues/default?state=archived" in page.url
    assert page.wrong == []


def test_the_message_does_not_come_back_with_a_reload(browse, address):
    page = browse()
    page.goto(f"{address}/tasks/default/0f1e2d3c4b5a6978?done=run")
    page.locator("#flash").wait_for()

    page.reload()

    assert page.locator("#flash").count() == 0


def test_without_javascript_the_charts_are_drawn_all_the_same(browse, address):
    page = browse(java_script_enabled=False)
    page.goto(f"{address}/")

    assert page.locator("#plot svg polyline").count() == 2
    assert page.locator("#live").is_hidden()


def test_the_queue_can_be_paused_from_its_page(browse, address, inspector):
    page = browse()
    page.goto(f"{address}/queues/critical")

    page.get_by_text("Pause…").click()
    page.get_by_label("Reason").fill("the gateway is down")
    page.get_by_role("button", name="Pause queue").click()
    page.get_by_role("button", name="Resume").wait_for()
    page.get_by_text("“the gateway is down”").wait_for()

    wait_until(lambda: "critical" in inspector.paused)
    assert page.wrong == []
