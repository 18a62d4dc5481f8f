"""Every page of the monitor in a real browser: free of errors, fit for all who look, and calm."""

import importlib.util
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from duly.engine.storage.reports import AuditRecord
from duly.task import TaskState
from duly.testing.environment import in_ci
from duly.testing.waiting import wait_until

pytestmark = pytest.mark.browser

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
    "/bulk/0ne",
    "/bulk/f4iled",
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
    pytest.param({"forced_colors": "active"}, {}, id="forced-colors"),
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


@pytest.mark.parametrize("width", [1280, 360])
def test_a_long_word_makes_no_page_wider(browse, address, inspector, width):
    inspector.audited.append(
        AuditRecord(
            user="ada", action="delete_tasks", result="started", target="t" * 256,
            filter="f" * 200, reason="r" * 300, count=1, tasks=("default/" + "i" * 256,),
            id="1-0", at=inspector.at,
        )
    )  # fmt: skip
    page = browse(viewport={"width": width, "height": 700})
    for path in ("/audit", "/queues/default?state=archived&columns=data"):
        page.goto(f"{address}{path}")
        page.evaluate("document.querySelectorAll('details').forEach((each) => each.open = true)")
        wide = page.evaluate(
            "Math.max(document.documentElement.scrollWidth - innerWidth,"
            "...[...document.querySelectorAll('.sheet')].map((e) => e.scrollWidth - e.clientWidth))"
        )
        assert wide <= 0, f"{path} is {wide} px too wide"


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
