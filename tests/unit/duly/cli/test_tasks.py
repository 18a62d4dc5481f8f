"""`duly tasks`."""

from datetime import UTC, datetime, timedelta

import pytest

from duly.errors import BrokerDownError, InvalidOptionError
from duly.task import Progress, Task, TaskState


def test_listing_shows_why_and_how_to_go_on(duly):
    outcome = duly("tasks", "ls", "default", "--state", "archived")

    assert "0198f00d" in outcome.out
    assert "ValueError" in outcome.out
    assert outcome.out.endswith("more: --cursor c2\n")


def test_page_options_reach_the_inspector(duly):
    duly("tasks", "ls", "default", "--limit", "5", "--cursor", "c2", "--oldest")

    assert duly.inspector.asked == {"limit": 5, "cursor": "c2", "newest": False}


def test_json_page_has_the_cursor(duly):
    page = duly("tasks", "ls", "default", "--state", "ARCHIVED", "--json").json

    assert page["next_cursor"] == "c2"
    assert page["tasks"][0]["history"][0]["duration"] == 1.5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(
            ("defalt",),
            "no queue 'defalt' (did you mean 'default'?); `duly queues ls` lists all",
            id="queue",
        ),
        pytest.param(
            ("default", "--state", "archvied"),
            "unknown state 'archvied' (did you mean 'archived'?); states: waiting, active, "
            "scheduled, retry, archived, completed, quarantined, aggregating",
            id="state",
        ),
        pytest.param(
            ("default", "--cursor", "bad"),
            "--cursor: the cursor 'bad' is not one of ours",
            id="cursor",
        ),
    ],
)
def test_misuse_of_listing_is_one_line(duly, words, message):
    outcome = duly("tasks", "ls", *words)

    assert outcome.exit_code in {1, 2}
    assert outcome.err == f"duly: {message}\n"
    assert outcome.out == ""


def test_foreign_text_can_not_drive_the_terminal(duly):
    listing = duly("tasks", "ls", "default", "--state", "archived").out
    whole = duly("tasks", "inspect", "0198f00d").out
    raw = duly("tasks", "inspect", "0198f00d", "--json").out

    for text in (listing, whole, raw):
        assert "\x1b" not in text
        assert "\x07" not in text
    assert "[bold]" in listing
    assert "\\x1b[2Jgone" in whole


def test_inspect_shows_payload_attempts_and_traceback(duly):
    out = duly("tasks", "inspect", "0198f00d").out

    assert "attempts  3/3" in out
    assert "[/red]" in out
    assert '    File "x.py"' in out


def test_inspect_shows_how_far_an_active_task_is(duly):
    duly.inspector.held.append(
        Task(
            id="far",
            queue="default",
            kind="import",
            state=TaskState.ACTIVE,
            progress=Progress(0.4, "rows \x1b[2J400 of 1000"),
        )
    )

    assert "progress  40% rows \\x1b[2J400 of 1000" in duly("tasks", "inspect", "far").out
    assert '"fraction": 0.4' in duly("tasks", "inspect", "far", "--json").out


def test_unknown_task_is_one_line(duly):
    outcome = duly("tasks", "inspect", "nope")

    assert (outcome.exit_code, outcome.err) == (1, "duly: no task 'nope'\n")


def test_run_goes_on_after_a_task_that_is_missing(duly):
    outcome = duly("tasks", "run", "nope", "0198f00d")

    assert outcome.exit_code == 1
    assert outcome.out == "task 0198f00d re-queued, attempts reset\n"
    assert outcome.err == "duly: no task 'nope'\n"
    assert duly.inspector.done == [("run", "default", "0198f00d")]


def test_illegal_operation_says_why(duly):
    outcome = duly("tasks", "archive", "0198f00d", "--queue", "default")

    assert outcome.exit_code == 1
    assert outcome.err == "duly: cannot archive task 0198f00d: it is archived\n"


def test_delete_reaches_the_inspector(duly):
    assert duly("tasks", "delete", "0198f00d").exit_code == 0
    assert duly.inspector.done == [("delete", "default", "0198f00d")]


def test_enqueue_takes_fields_and_payload(duly):
    outcome = duly(
        "tasks", "enqueue", "send_invoice", "order_id=7", "--payload", '{"note": "express"}'
    )

    assert outcome.out == "new-1  send_invoice  waiting in queue default\n"
    job = duly.client.enqueued[0][0]
    assert (job.kind, job.policy.queue) == ("send_invoice", "low")
    assert job.model_extra == {"order_id": 7, "note": "express", "urgent": False}


def test_words_are_read_by_the_type_of_their_field(duly):
    duly(
        "tasks", "enqueue", "send_invoice", "order_id=7", "note=12.50", "urgent=yes",
        'tags=["a", "b"]', "by=null",
    )  # fmt: skip

    assert duly.client.enqueued[0][0].model_extra == {
        "order_id": 7, "note": "12.50", "tags": ["a", "b"], "urgent": True, "by": None,
    }  # fmt: skip


def test_a_kind_without_a_schema_takes_json_or_text(duly):
    duly("tasks", "enqueue", "legacy", "a=7", "b=seven")

    assert duly.client.enqueued[0][0].model_extra == {"a": 7, "b": "seven"}


def test_enqueue_hands_on_every_option(duly):
    duly(
        "tasks", "enqueue", "check_pending_orders", "--queue", "low", "--delay", "5m", "--id", "x",
        "--max-attempts", "2", "--timeout", "90", "--unique-for", "1h", "--retention", "1d",
        "--deadline", "2026-02-01T10:00", "--header", "tenant=a=b",
        "--group", "ada",
    )  # fmt: skip

    assert duly.client.enqueued[0][1] == {
        "queue": "low",
        "task_id": "x",
        "delay": timedelta(minutes=5),
        "max_attempts": 2,
        "timeout": timedelta(seconds=90),
        "unique_for": timedelta(hours=1),
        "due": None,
        "deadline": datetime(2026, 2, 1, 10, tzinfo=UTC),
        "retention": timedelta(days=1),
        "headers": {"tenant": "a=b"},
        "group": "ada",
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(
            ("check_pending_order",),
            "no job of the kind 'check_pending_order' (did you mean 'check_pending_orders'?); "
            "known: send_invoice, check_pending_orders, legacy",
            id="kind",
        ),
        pytest.param(
            ("check_pending_orders", "a=1"),
            "a: is no field of check_pending_orders (fields: none)",
            id="field",
        ),
        pytest.param(
            ("check_pending_orders", "oops"),
            "'oops' has no =; use FIELD=VALUE",
            id="no equals sign",
        ),
        pytest.param(
            ("check_pending_orders", "--payload", "[1]"),
            '--payload: must be a JSON object, such as {"order_id": 7}',
            id="no object",
        ),
        pytest.param(
            ("legacy", "--payload", '{"sizes": [1, 1e400]}'),
            "payload of legacy: field 'sizes.1' is not a finite number, which JSON cannot carry: "
            "use a type that JSON carries unchanged, or pass a key to the value instead",
            id="number beyond JSON",
        ),
        pytest.param(
            ("check_pending_orders", "--delay", "soon"),
            "--delay: invalid duration 'soon': use a form such as 90s, 5m, 2h or 7d",
            id="duration",
        ),
        pytest.param(
            ("check_pending_orders", "--retention", "forever"),
            "--retention: invalid duration 'forever': use a form such as 90s, 5m, 2h or 7d",
            id="another duration",
        ),
        pytest.param(
            ("send_invoice", "order_id=1", "order_id=2"),
            "order_id is given twice: give it once",
            id="one field twice",
        ),
        pytest.param(
            ("send_invoice", "order_id=1", "--payload", '{"order_id": 2}'),
            "order_id is given as FIELD=VALUE and by --payload: give it once",
            id="one field in both",
        ),
        pytest.param(
            ("check_pending_orders", "--due", "noon"),
            "--due: invalid time 'noon': use 2026-01-31T12:00, or 2h for two hours from now",
            id="time",
        ),
        pytest.param(
            ("check_pending_orders", "--due", "1h", "--delay", "1h"),
            "--delay and --due cannot be combined: use one of them",
            id="both times",
        ),
        pytest.param(
            ("check_pending_orders", "--header", "x"),
            "--header: 'x' has no =; use NAME=VALUE",
            id="header",
        ),
    ],
)
def test_misuse_of_enqueue_is_one_line(duly, words, message):
    outcome = duly("tasks", "enqueue", *words)

    assert (outcome.exit_code, outcome.err) == (2, f"duly: {message}\n")
    assert duly.client.enqueued == []


def test_payload_that_does_not_fit_names_the_field(duly):
    outcome = duly("tasks", "enqueue", "send_invoice", "ordr_id=7", "urgent=1")

    assert outcome.exit_code == 2
    assert "order_id: is missing: give integer, such as 7" in outcome.err
    assert "ordr_id: is no field of send_invoice (did you mean 'order_id'?)" in outcome.err
    assert "urgent: is text, but must be boolean, such as true" in outcome.err
    assert duly.client.enqueued == []


def test_broker_that_is_away_is_one_line(duly, monkeypatch):
    async def away():
        raise BrokerDownError("redis.example:6379", "refused")

    monkeypatch.setattr(duly.inspector.queues, "list", away)

    outcome = duly("tasks", "ls", "default")

    assert outcome.exit_code == 1
    assert outcome.err == ("duly: the broker at redis.example:6379 cannot be reached: refused\n")


def test_run_in_another_queue_makes_linked_tasks(duly):
    outcome = duly("tasks", "run", "0198f00d", "--to-queue", "low")

    assert outcome.out == "task 0198f00d re-queued in queue low as a new task\n"
    assert duly.inspector.done == [("rerun", "default", "0198f00d")]
    assert duly.inspector.asked["to_queue"] == "low"


def test_rerun_changes_fields_by_json_or_text(duly):
    outcome = duly("tasks", "rerun", "0198f00d", "limit=7", "note=seven")

    assert outcome.out == "task 0198f00d re-queued as 0198f00d~1 in queue default\n"
    assert duly.inspector.asked["changes"] == {"limit": 7, "note": "seven"}
    assert "check_pending_orders" in duly.inspector.asked["catalogue"]
    assert duly("tasks", "rerun", "0198f00d", "--json").json["id"] == "0198f00d~1"


def test_rerun_and_edit_read_words_by_the_schema_of_the_kind(duly):
    duly.inspector.held.append(
        Task(id="bill", queue="default", kind="send_invoice", state=TaskState.SCHEDULED)
    )

    duly("tasks", "rerun", "bill", "note=7")
    assert duly.inspector.asked["changes"] == {"note": "7"}
    duly("tasks", "edit", "bill", "note=7", "--queue", "default")
    assert duly.inspector.asked["changes"] == {"note": "7"}
    assert duly.inspector.asked["catalogue"]["send_invoice"].kind == "send_invoice"


def test_edit_shows_the_payload_as_it_is_now(duly):
    outcome = duly("tasks", "edit", "0198f00d", "limit=7")

    assert outcome.out == 'task 0198f00d changed, payload {"limit": 7}\n'
    assert duly("tasks", "edit", "0198f00d", "limit").exit_code == 2


def test_the_tasks_of_a_group_are_listed(duly):
    out = duly("tasks", "ls", "default", "--group", "ada", "--limit", "1").out

    assert "m-1" in out
    assert "more: --cursor c2" in out
    assert duly.inspector.asked["group"] == ("default", "mention", "ada")
    assert duly.inspector.asked["limit"] == 1


def test_a_group_is_of_tasks_that_are_aggregating(duly):
    outcome = duly("tasks", "ls", "default", "--group", "ada", "--state", "archived")

    assert outcome.exit_code == 2
    assert "--group: archived tasks are in no group" in outcome.err


@pytest.mark.parametrize(
    ("option", "value", "shown"),
    [("group", "", "--group ''"), ("timeout", timedelta(0), "--timeout 0s")],
)
def test_a_wrong_option_is_named_as_it_was_typed(duly, monkeypatch, option, value, shown):
    async def refuse(*_args, **_options):
        raise InvalidOptionError(option, value, "is too short", "use more")

    monkeypatch.setattr(duly.client, "enqueue", refuse)
    outcome = duly("tasks", "enqueue", "check_pending_orders")

    assert outcome.exit_code == 2
    assert outcome.err == f"duly: {shown} is too short: use more\n"
