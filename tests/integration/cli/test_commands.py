"""The commands against a real Valkey."""

import json
from datetime import timedelta
from decimal import Decimal

import pytest
from pydantic import Field

from duly.cli.main import main
from duly.engine.enqueue.kind_publisher import KindPublisher
from duly.engine.storage.store import Store, lock_digest
from duly.job import Job, Policy
from duly.jobs import CheckPendingOrders
from duly.payload import encode


class Invoice(Job, kind="send_invoice", policy=Policy(queue="low", unique_for=timedelta(hours=1))):
    """Its class is published, and not imported by the command line."""

    order_id: int
    total: Decimal = Decimal("0.00")
    tags: set[str] = Field(set())


@pytest.fixture(autouse=True)
async def published(broker_settings):
    """Publish two kinds, as a worker does."""
    async with Store.open(broker_settings) as store:
        await KindPublisher(store, app="shop").publish([CheckPendingOrders, Invoice])


@pytest.fixture
def duly(broker_settings, capsys, tmp_path, monkeypatch):
    """`duly(*words)` runs the command line against a Valkey of its own; returns its output."""
    monkeypatch.chdir(tmp_path)
    url = broker_settings.url or f"redis://{broker_settings.host}:{broker_settings.port}/0"

    def run(*words, exit_code=0):
        with pytest.raises(SystemExit) as exit_info:
            main(["--redis-url", url if isinstance(url, str) else url.get_secret_value(), *words])
        captured = capsys.readouterr()
        assert exit_info.value.code == exit_code, captured.err
        return captured.err if exit_code else captured.out

    return run


def test_life_of_a_task_by_command_line(duly):
    task = json.loads(duly("tasks", "enqueue", "check_pending_orders", "--delay", "1h", "--json"))
    assert task["state"] == "scheduled"

    assert task["id"] in duly("tasks", "ls", "default", "--state", "scheduled")
    assert json.loads(duly("tasks", "inspect", task["id"], "--json"))["kind"] == task["kind"]

    duly("tasks", "run", task["id"])
    assert json.loads(duly("queues", "ls", "--json"))["queues"][0]["waiting"] == 1

    duly("tasks", "archive", task["id"])
    assert task["id"] in duly("tasks", "ls", "default", "--state", "archived")

    duly("tasks", "delete", task["id"])
    assert "no task" in duly("tasks", "inspect", task["id"], exit_code=1)


def test_pause_is_seen_until_resume(duly):
    duly("tasks", "enqueue", "check_pending_orders")

    duly("queues", "pause", "default")
    assert "paused" in duly("queues", "ls")

    duly("queues", "resume", "default")
    assert "paused" not in duly("queues", "ls")


def test_taken_id_is_one_line(duly):
    duly("tasks", "enqueue", "check_pending_orders", "--id", "mine")

    error = duly("tasks", "enqueue", "check_pending_orders", "--id", "mine", exit_code=1)

    assert error.count("\n") == 1
    assert "mine" in error


def test_empty_broker_is_said_in_words(duly):
    assert duly("queues", "ls") == "no queues: nothing has been enqueued yet\n"
    assert duly("servers", "ls") == "no workers\n"
    assert duly("schedules", "ls") == "no entries: no scheduler has announced any\n"


def test_many_are_run_archived_and_deleted_by_what_they_are(duly):
    for number in range(5):
        duly("tasks", "enqueue", "check_pending_orders", "--id", f"t{number}", "--delay", "1h")

    assert "5 more" not in duly("tasks", "archive", "--state", "scheduled", "--dry-run")
    archived = json.loads(duly("tasks", "archive", "--all", "--limit", "3", "--yes", "--json"))
    assert (archived["done"], archived["complete"]) == (3, False)
    assert (
        duly("tasks", "run", "--state", "archived", "--yes")
        == "3 tasks re-queued, attempts reset\n"
    )

    found = json.loads(duly("tasks", "search", "--kind", "check_pending_orders", "--json"))
    assert (len(found["tasks"]), found["scanned"], found["total"]) == (5, 5, 5)
    duly("tasks", "delete", "--all", "--yes")
    assert duly("queues", "rm", "default", "--yes") == "queue default removed, with 0 tasks\n"


def test_groups_are_listed_and_operated_on(duly):
    for number in range(3):
        duly("tasks", "enqueue", "check_pending_orders", "--group", "ada", "--id", f"t{number}")
    duly("tasks", "enqueue", "check_pending_orders", "--group", "a:b", "--id", "other")

    groups = json.loads(duly("groups", "ls", "--json"))["groups"]
    assert {(group["name"], group["size"]) for group in groups} == {("ada", 3), ("a:b", 1)}
    listed = duly("tasks", "ls", "default", "--group", "ada", "--limit", "2")
    assert ("t2" in listed, "t1" in listed, "t0" in listed) == (True, True, False)
    cursor = listed.split("--cursor ")[1].strip()
    assert "t0" in duly("tasks", "ls", "default", "--group", "ada", "--cursor", cursor)
    inspected = json.loads(duly("groups", "inspect", "default", "a:b", "--json"))
    assert [task["id"] for task in inspected["tasks"]] == ["other"]

    ran = json.loads(duly("groups", "run", "default", "ada", "--limit", "2", "--yes", "--json"))
    assert (ran["done"], ran["complete"]) == (2, False)
    waiting = duly("tasks", "ls", "default")
    assert ("t0" in waiting, "t1" in waiting, "t2" in waiting) == (True, True, False)

    duly("groups", "archive", "default", "check_pending_orders:ada", "--yes")
    duly("groups", "delete", "default", "a:b", "--yes")
    assert "t2" in duly("tasks", "ls", "default", "--state", "archived")
    assert duly("groups", "ls") == "no groups\n"
    assert "no group 'ada'" in duly("groups", "run", "default", "ada", "--yes", exit_code=1)
    assert duly("joins", "ls") == "no joins\n"


def test_a_queue_has_the_limit_that_the_configuration_gives_it(duly, monkeypatch):
    monkeypatch.setenv("DULY_QUEUES__LOW__MAX_LENGTH", "2")
    for _ in range(2):
        duly("tasks", "enqueue", "check_pending_orders", "--queue", "low")

    error = duly("tasks", "enqueue", "check_pending_orders", "--queue", "low", exit_code=1)

    assert "queue low is full" in error


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ("--queue", "lwo"),
            "declared neither in the settings nor in the broker: did you mean 'low'?",
        ),
        (("--id", "a\nb"), "--id 'a\\nb' has a line break"),
        (("--timeout", "0s"), "--timeout"),
        (("--retention", "99999999d"), "--retention"),
        (("--header", "a=\ud800"), "--headers"),
    ],
)
def test_what_no_worker_could_obey_is_refused(duly, words, told):
    error = duly("tasks", "enqueue", "check_pending_orders", *words, exit_code=2)

    assert told in error
    assert error.count("\n") == 1


def test_a_kind_is_enqueued_without_its_class_as_if_by_it(duly):
    words = ("send_invoice", "order_id=7", "total=12.50", 'tags=["b", "a"]')
    task = json.loads(duly("tasks", "enqueue", *words, "--delay", "1h", "--json"))

    payload = encode(Invoice(order_id=7, total=Decimal("12.50"), tags={"a", "b"}))
    assert task["queue"] == "low"
    assert task["payload"] == payload
    assert task["labels"]["lock"] == lock_digest("send_invoice", payload)
    assert "holds its lock" in duly("tasks", "enqueue", *words, exit_code=1)

    changed = duly("tasks", "edit", task["id"], "total=7.00")
    assert '"total": "7.00"' in changed
    error = duly("tasks", "edit", task["id"], "order_id=seven", exit_code=1)
    assert "order_id: is text, but must be integer, such as 7" in error


def test_kinds_are_listed_and_inspected(duly):
    assert "send_invoice" in duly("kinds", "ls")
    fields = duly("kinds", "inspect", "send_invoice")
    assert "array of text" in fields
    assert "unique_for PT1H" in fields
    unknown = duly("tasks", "enqueue", "send_invoce", "order_id=7", exit_code=2)
    assert "did you mean 'send_invoice'?" in unknown


def test_a_new_queue_is_made_only_on_request(duly):
    words = ("tasks", "enqueue", "check_pending_orders", "--queue", "reports")
    assert "or use --create-queue" in duly(*words, exit_code=2)
    assert duly("queues", "ls", "--json") == '{\n  "queues": []\n}\n'

    assert "in queue reports" in duly(*words, "--create-queue")
    assert "in queue reports" in duly(*words)
