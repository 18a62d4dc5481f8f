"""The map of the API: what the pages can do, it can do."""

import re
from typing import Final

from starlette.routing import Route

from duly_monitor.api.routes import described_api

PREFIX: Final = "/monitoring"
ACTIONS: Final = {
    "POST /queues/{name}/joins/cancel": "cancel_join",
    "POST /queues/{name}/pause": "pause_queue",
    "POST /queues/{name}/resume": "resume_queue",
    "POST /queues/{name}/remove": "remove_queue",
    "POST /queues/{name}/enqueue": "enqueue_task",
    "POST /bulk": "start_bulk",
    "POST /bulk/selected": "start_bulk",
    "POST /bulk/{run_id}/stop": "stop_bulk",
    "POST /tasks/{queue}/{task_id}/run": "run_task",
    "POST /tasks/{queue}/{task_id}/rerun": "rerun_task",
    "POST /tasks/{queue}/{task_id}/edit": "edit_task",
    "POST /tasks/{queue}/{task_id}/cancel": "cancel_task",
    "POST /tasks/{queue}/{task_id}/archive": "archive_task",
    "POST /tasks/{queue}/{task_id}/delete": "delete_task",
    "POST /schedules/{entry}/trigger": "trigger_schedule",
    "POST /schedules/{entry}/pause": "pause_schedule",
    "POST /schedules/{entry}/resume": "resume_schedule",
    "POST /servers/{server}/quiet": "quiet_server",
    "POST /servers/{server}/resume": "resume_server",
    "POST /servers/{server}/stop": "stop_server",
}
"""What a page can do -> the operation that does the same."""
VIEWS: Final = {
    "GET /": "show_overview list_queues",
    "GET /failures": "list_failures",
    "GET /search": "search_tasks",
    "GET /throughput": "show_throughput",
    "GET /broker": "list_nodes",
    "GET /audit": "list_audit",
    "GET /queues/{name}": "show_queue list_minutes list_days list_tasks search_tasks",
    "GET /queues/{name}/groups": "list_groups",
    "GET /queues/{name}/group": "list_group_tasks",
    "GET /queues/{name}/joins": "list_joins",
    "GET /queues/{name}/locks": "list_locks",
    "GET /queues/{name}/remove": "show_queue",
    "GET /queues/{name}/enqueue": "list_kinds show_kind",
    "GET /bulk": "list_bulk start_bulk",
    "GET /bulk/{run_id}": "show_bulk",
    "GET /tasks/{queue}/{task_id}": "show_task",
    "GET /tasks/{queue}/{task_id}/message": "show_message",
    "GET /schedules": "list_schedules list_ticks",
    "GET /servers": "list_servers",
}
"""What a page shows -> the operations that tell the same."""
OF_BROWSERS: Final = {
    "GET /settings": "what one chooses for one's own browser",
    "GET /login": "a program has a token",
    "POST /login": "a program has a token",
    "POST /logout": "a program has a token",
}
TABLES: Final = {
    *("list_queues", "list_tasks", "list_groups", "list_group_tasks", "list_joins", "list_locks"),
    *("list_minutes", "list_days", "search_tasks", "list_failures", "list_bulk", "list_ticks"),
    *("list_schedules", "list_servers", "list_brokers", "list_nodes", "list_kinds", "list_audit"),
    "show_throughput",
}
"""Operations whose lists are CSV too."""


def page_routes(app):
    """Return what the pages can be asked for, as method and address below the prefix."""
    found = set()
    for route in app.routes:
        if isinstance(route, Route) and route.path_format.startswith(f"{PREFIX}/"):
            path = route.path_format.removeprefix(PREFIX)
            if not path.startswith(("/api/", "/live/")):
                found |= {f"{method} {path}" for method in (route.methods or set()) - {"HEAD"}}
    return found


def operations():
    return {
        operation["operationId"]: (method, path)
        for path, methods in described_api()["paths"].items()
        for method, operation in methods.items()
    }


def test_every_operation_may_be_refused_and_says_so():
    for path, methods in described_api()["paths"].items():
        for operation in methods.values():
            assert {"401", "403", "429", "503"} <= set(operation["responses"]), path


def test_what_a_page_can_do_or_show_the_api_can(build):
    """A page that is new here needs an operation, and a line above."""
    app = build(access="basic", username="u", password="p" * 12)
    app = getattr(app, "app", app)

    assert page_routes(app) == {*ACTIONS, *VIEWS, *OF_BROWSERS}
    known = operations()
    for page, name in ACTIONS.items():
        assert known[name][0] == "post", page
    for page, names in VIEWS.items():
        assert all(name in known for name in names.split()), page


def test_every_list_is_a_table_too():
    known = operations()
    lists = {name for name in known if re.match("list_|search_", name)}

    assert {name.removesuffix("_as_csv") for name in lists} <= TABLES
    for name in TABLES:
        (method, path), (csv_method, csv) = known[name], known[f"{name}_as_csv"]
        assert (method, csv_method, csv) == ("get", "get", f"{path}.csv")


async def test_every_table_is_sent_as_a_file(client):
    for name in sorted(TABLES - {"list_group_tasks"}):
        path = operations()[f"{name}_as_csv"][1].replace("{name}", "default")
        path = path.replace("{entry}", "check-pending-orders")
        answer = await client.get(f"{PREFIX}/api/v1{path}")

        assert answer.status_code == 200, path
        assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
        assert answer.headers["Content-Disposition"].startswith("attachment; filename=")
        assert "," in answer.text.splitlines()[0]


async def test_a_table_says_where_it_goes_on(client):
    first = await client.get(f"{PREFIX}/api/v1/queues.csv?limit=2")
    address = re.fullmatch('<(.+)>; rel="next"', first.headers["Link"])[1]
    rest = await client.get(f"{PREFIX}/api/v1/queues.csv{address}")

    rows = [line.partition(",")[0] for line in first.text.splitlines()[1:]]
    rows += [line.partition(",")[0] for line in rest.text.splitlines()[1:]]
    assert rows == ["critical", "default", "low"]
    assert "Link" not in rest.headers
