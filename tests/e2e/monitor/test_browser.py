"""The monitor in a real browser: live updates, working buttons and keys."""

import re

import pytest

from duly.task import Task, TaskState
from duly.testing.waiting import wait_until

pytestmark = pytest.mark.browser


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

    # As slowly as a person: the press takes the focus from the list, which tells anew then.
    rows.first.locator("input").focus()
    page.get_by_role("button", name="Show").hover()
    page.mouse.down()
    page.wait_for_function(
        "!document.querySelector('[data-rows]').contains(document.activeElement)"
    )
    page.evaluate("new Promise((done) => setTimeout(() => setTimeout(done, 20), 20))")
    page.mouse.up()
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


def test_the_end_of_a_session_is_told_on_an_open_page(browse, serving, inspector, tmp_path):
    path = tmp_path / "password"
    path.write_text("first")
    with serving(access="basic", password_file=str(path)) as address:
        page = browse()
        page.goto(f"{address}/queues/default")
        page.fill("[name=username]", "duly")
        page.fill("[name=password]", "first")
        page.click("main button")
        page.wait_for_selector("#live:has-text('Live'):not(.off)")

        path.write_text("second")
        inspector.held.pop()
        page.wait_for_selector("#live:has-text('Logged out')")
        page.click("#notice button:has-text('Log in')")

        page.wait_for_url(f"{address}/login?next=*")
