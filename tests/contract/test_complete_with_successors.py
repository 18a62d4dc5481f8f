"""complete_with_successors.lua: a task ends and what comes after it begins, in one step."""

import pytest

from duly.engine.storage.keys import GROUP
from duly.engine.storage.scripts import NewTask, Success, Successor
from duly.engine.transport.reader import entries_of


def task(task_id, queue="lane", **options):
    data = b'{"task_id":"%s","task_name":"greet"}' % task_id.encode()
    return Successor("task", queue, id=task_id, data=data, **options)


def success(stream_id, *successors, task_id="one", **options):
    return Success(stream_id=stream_id, id=task_id, kind="greet", successors=successors, **options)


async def test_the_task_goes_and_its_successors_wait_in_their_order(lane):
    stream_id = await lane.active()

    assert await lane.follow(success(stream_id, task("b"), task("a"))) == ([], 0, 0)

    assert await lane.places() == {"a": "waiting", "b": "waiting"}
    assert [b'"b"' in item.data for item in await lane.claim()] == [True, False]
    assert await lane.counts() == {"greet:processed": 1}


async def test_whoever_lost_the_lease_brings_nothing_about(lane):
    stream_id = await lane.active()
    await lane.requeue((stream_id, "one"))

    assert await lane.follow(success(stream_id, task("next"))) == ([stream_id], 0, 0)

    assert await lane.places() == {"one": "waiting"}
    assert await lane.counts() == {}


async def test_a_repeat_after_a_lost_answer_brings_nothing_about_twice(lane):
    stream_id = await lane.active()
    await lane.follow(success(stream_id, task("next"), task("far", queue="else")))
    (delivery,) = await lane.claim()
    await lane.finish((delivery.stream_id, "next"))

    refused, _, posted = await lane.follow(
        success(stream_id, task("next"), task("far", queue="else"))
    )

    assert (refused, posted) == ([stream_id], 0)
    assert await lane.places() == {}
    assert len(await lane.letters()) == 1


async def test_a_successor_waits_for_its_time(lane):
    stream_id = await lane.active()
    later, due = task("later", delay_ms=9_000), task("due", due_ms=lane.now + 8_000)

    await lane.follow(success(stream_id, later, due, task("past", due_ms=lane.now - 1)))

    assert await lane.places() == {"later": "scheduled", "due": "scheduled", "past": "waiting"}
    assert await lane.score("scheduled", "later") == lane.now + 9_000
    assert await lane.score("scheduled", "due") == lane.now + 8_000


async def test_a_taken_id_or_lock_leaves_a_successor_out_and_the_task_ends_all_the_same(lane):
    unique = NewTask(id="held", data=b"{}", lock="red", lock_ttl_ms=60_000)
    stream_id = await lane.active()
    await lane.add("taken", unique)

    answer = await lane.follow(
        success(stream_id, task("taken"), task("same", lock="red", lock_ms=1_000), task("free"))
    )

    assert answer == ([], 2, 0)
    assert set(await lane.places()) == {"taken", "held", "free"}
    assert await lane.counts() == {"greet:processed": 1, "greet:successor_refused": 2}


async def test_a_successor_may_take_over_the_lock_and_the_id(lane):
    stream_id = await lane.active(lock="red")

    answer = await lane.follow(
        success(stream_id, task("one", lock="red", lock_ms=5_000, delay_ms=2_000), lock="red")
    )

    assert answer == ([], 0, 0)
    assert await lane.places() == {"one": "scheduled"}
    assert await lane.map("locks") == {"red": f"{lane.now + 7_000} one".encode()}


async def test_a_kept_task_is_kept_with_its_result(lane):
    stream_id = await lane.active()

    await lane.follow(
        success(stream_id, task("next"), retention_ms=60_000, tries="1 0", result=b"42")
    )

    assert await lane.places() == {"one": "completed", "next": "waiting"}
    assert await lane.map("results") == {"one": b"42"}
    assert await lane.score("completed") == lane.now + 60_000


async def test_the_history_of_a_kept_task_begins_with_its_success(lane):
    stream_id = await lane.active()
    await lane.store.connection.command("HSET", lane.keys.history, "one", b'{"number":1}')

    await lane.follow(
        success(stream_id, task("next"), retention_ms=9, tries="1 0", attempt=b'{"number":2}')
    )

    assert await lane.map("history") == {"one": b'{"number":2}\n{"number":1}'}


async def test_of_a_task_that_is_not_kept_no_attempt_is_written(lane):
    stream_id = await lane.active()

    await lane.follow(success(stream_id, task("next")))

    assert await lane.map("history") == {}


async def test_what_is_for_another_queue_lies_in_the_outbox(lane):
    stream_id = await lane.active()
    far = task("far", queue="else", delay_ms=5, lock="red", lock_ms=7)
    report = Successor("arrive", "lane", join="j", number=3)

    assert await lane.follow(success(stream_id, far, task("near"), report)) == ([], 0, 2)

    letters = await lane.letters()
    assert await lane.places() == {"near": "waiting"}
    assert [(item["queue"], item["what"], item["id"]) for item in letters] == [
        (b"else", b"task", b"far"),
        (b"lane", b"arrive", b""),
    ]
    assert (letters[0]["delay"], letters[0]["lock"], letters[1]["number"]) == (b"5", b"red", b"3")


async def test_many_tasks_and_their_successors_in_one_script(lane):
    stream_ids = [await lane.active(name) for name in ("one", "two", "three")]
    await lane.requeue((stream_ids[1], "two"))

    refused, *_ = await lane.follow(
        success(stream_ids[0], task("a")),
        success(stream_ids[1], task("b"), task("c"), task_id="two"),
        success(stream_ids[2], task_id="three"),
    )

    assert refused == [stream_ids[1]]
    assert await lane.places() == {"a": "waiting", "two": "waiting"}


async def test_what_is_left_of_a_task_goes_with_it(lane):
    await lane.end(await lane.active(), destination="retry", in_ms=0)
    await lane.move()
    (delivery,) = await lane.claim()
    await lane.store.cancel("lane", task_id="one", outcome="archived")

    await lane.follow(success(delivery.stream_id, task("next")))

    assert await lane.places() == {"next": "waiting"}


async def test_every_shape_of_broker_follows(any_lane):
    """The task is a stock producer's, which no index knows."""
    lane = any_lane
    await lane.store.register("lane")
    await lane.command("XADD", lane.keys.stream, "*", "data", lane.message("one"))
    answer = await lane.command(
        "XREADGROUP", "GROUP", GROUP, "alice", "STREAMS", lane.keys.stream, ">"
    )
    ((stream_id, _),) = entries_of(answer)

    await lane.follow(success(stream_id, task("next"), task("far", queue="else")))

    assert await lane.places() == {"next": "waiting"}
    assert len(await lane.letters()) == 1


@pytest.mark.parametrize("delay", [0, 1_000])
async def test_a_new_task_of_the_freed_id_is_not_the_old_one(lane, delay):
    stream_id = await lane.active()
    await lane.follow(success(stream_id, task("one", delay_ms=delay)))

    assert await lane.finish((stream_id, "one")) == [stream_id]
    assert len(await lane.places()) == 1
