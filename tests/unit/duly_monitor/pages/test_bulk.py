"""Operations on many tasks: asked about, begun, followed, stopped."""

import dataclasses
import re
from datetime import timedelta

import pytest
from msgspec.structs import replace

from duly.clock import to_unix_ms
from duly.task import TaskState
from duly_monitor.operations import ticked as name

WORDS = "state:archived kind:send_invoice"


async def test_the_question_counts_and_changes_nothing(client, inspector):
    text = (await client.get("/monitoring/bulk", params={"operation": "run", "q": WORDS})).text

    assert "Retry 2 tasks?" in text
    assert "Nothing has been done yet" in text
    assert f'name="q" value="{WORDS}"' in text
    assert f'name="as_of" value="{to_unix_ms(inspector.at)}"' in text
    assert sum(task.state is TaskState.ARCHIVED for task in inspector.held) == 3


@pytest.mark.parametrize("words", ["kind:send_invoice", "state:archived,retry kind:send_invoice"])
async def test_what_fails_while_the_question_is_read_is_left_out(client, inspector, words):
    asked = await client.get("/monitoring/bulk", params={"operation": "delete", "q": words})
    form = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', asked.text))
    later = inspector.at + timedelta(seconds=1)
    failed = next(task for task in inspector.held if task.state == "archived")
    again = next(task for task in inspector.held if task.state == "retry")
    attempt = dataclasses.replace(failed.history[0], at=later)
    inspector.held += [
        replace(failed, id="later", ended_at=later, kind="send_invoice"),
        replace(again, id="again", history=(attempt,), kind="send_invoice"),
    ]

    await client.post("/monitoring/bulk", data=form)
    unbounded = {name: value for name, value in form.items() if name != "as_of"}
    await client.post("/monitoring/bulk", data=unbounded)

    asked_about = int(re.search(r"Delete (\d+) tasks", asked.text)[1])
    assert [run.total for run in inspector.runs.values()] == [asked_about, asked_about + 2]


@pytest.mark.parametrize("as_of", ["-1", "x", "9" * 16])
async def test_an_instant_of_a_question_is_one(client, as_of):
    form = {"operation": "run", "q": WORDS, "as_of": as_of}

    assert (await client.post("/monitoring/bulk", data=form)).status_code == 400


@pytest.mark.parametrize(
    ("words", "number"),
    [
        ("id:a1b2c3d4e5f60718", 1),
        ("id:a1b2c3d4e5f60718 state:archived queue:default", 1),
        ("id:a1b2c3d4e5f60718 state:archived queue:low", 0),
        ("id:a1b2c3d4e5f60718 state:retry", 0),
        ("id:a1b2c3d4e5f60718 kind:other", 0),
        ("id:none", 0),
    ],
)
async def test_an_id_is_one_condition_of_several(client, words, number):
    text = (await client.get("/monitoring/bulk", params={"operation": "run", "q": words})).text

    assert f"Retry {number} task" in text


async def test_what_was_asked_about_begins_and_is_one_record_in_the_audit(client, inspector):
    form = {"operation": "delete", "q": WORDS, "reason": "known", "pace": "10"}

    answer = await client.post("/monitoring/bulk", data=form)
    page = (await client.get(answer.headers["Location"])).text

    assert answer.status_code == 303
    assert "Delete 2 tasks" in page
    (record,) = inspector.audited
    assert (record.action, record.result, record.count) == ("delete_tasks", "started", 2)
    assert (record.filter, record.reason) == (WORDS, "known")
    assert len(record.tasks) == 2
    assert "default/a1b2c3d4e5f60718" in record.tasks
    assert answer.headers["Location"].endswith(record.target.removeprefix("bulk="))


async def test_ticked_tasks_are_asked_about_by_name(client, inspector):
    held = {task.id: task for task in inspector.held}
    ticked = [name(held["a1b2c3d4e5f60718"]), name(held["beef000000000000"]), "waiting/-1/low/gone"]

    answer = await client.post(
        "/monitoring/bulk/selected",
        data={"operation": "run", "task": ticked, "back": "/monitoring/failures"},
    )

    assert "Retry 1 task?" in answer.text
    assert re.search(r"does not allow it</dt><dd>2<", answer.text)
    assert 'href="/monitoring/failures">Do nothing' in answer.text


async def test_ticked_tasks_that_have_moved_on_meanwhile_are_left_alone(client, inspector):
    page = (await client.get("/monitoring/search", params={"q": "state:archived"})).text
    boxes = re.findall(r'name="task" value="([^"]+)"', page)
    before = {task.id for task in inspector.held}
    retried, failed_anew, _ = (task for task in inspector.held if task.state == "archived")
    await inspector.tasks.run(retried.queue, retried.id)
    inspector.held.remove(failed_anew)
    inspector.held.append(replace(failed_anew, ended_at=inspector.at))

    asked = await client.post(
        "/monitoring/bulk/selected", data={"operation": "delete", "task": boxes}
    )
    named = re.findall(r'type="hidden" name="task" value="([^"]+)"', asked.text)
    begun = await client.post("/monitoring/bulk", data={"operation": "delete", "task": named})

    assert "Delete 1 task?" in asked.text
    assert re.search(r"Moved on, or [^<]+</dt><dd>2<", asked.text)
    assert named == boxes
    (run,) = inspector.runs.values()
    assert (begun.status_code, run.total) == (303, 1)
    assert {task.id for task in inspector.held} == before


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"operation": "explode", "q": WORDS}, "operation: use one of run, cancel"),
        ({"operation": "run"}, "Select tasks"),
        ({"operation": "run", "task": "default/a1b2c3d4e5f60718"}, "task: go back"),
        ({"operation": "run", "q": "stat:x"}, "there is no key stat"),
        ({"operation": "run", "q": WORDS, "pace": "7"}, "pace: use one of"),
        ({"operation": "cancel", "q": WORDS, "outcome": "x"}, "outcome: use one of"),
    ],
)
async def test_what_cannot_be_begun_says_why(client, inspector, form, said):
    answer = await client.post("/monitoring/bulk", data=form)

    assert (answer.status_code, said in answer.text) == (400, True)
    assert inspector.runs == {}


async def test_a_stop_is_asked_for_and_the_week_is_listed(client, inspector):
    answer = await client.post("/monitoring/bulk", data={"operation": "run", "q": WORDS})
    address = answer.headers["Location"]

    stopped = await client.post(f"{address}/stop")
    listed = (await client.get("/monitoring/bulk")).text

    assert stopped.headers["Location"] == f"{address}?done=stop"
    assert inspector.stops == {address.rpartition("/")[2]}
    assert f'href="{address}"' in listed


@pytest.mark.parametrize("run_id", ["0" * 16, "x"])
async def test_an_unknown_one_is_a_404(client, run_id):
    assert (await client.get(f"/monitoring/bulk/{run_id}")).status_code == 404
