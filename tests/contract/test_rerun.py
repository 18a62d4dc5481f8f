"""rerun.lua and edit.lua: a message is replaced, or has a successor, whole or not at all."""

import asyncio

import pytest

from duly.engine.storage.scripts import NewTask


async def archived(lane, task_id="one", **labels):
    """Archive a task; return its message."""
    await lane.end(await lane.active(task_id, **labels), task_id)
    return lane.message(task_id, **labels)


async def scheduled(lane, task_id="one", lock="", in_ms=1000):
    """Schedule a task; return its message."""
    labels = {"lock": lock} if lock else {}
    data = lane.message(task_id, **labels)
    ttl = 60_000 if lock else 0
    await lane.add(
        NewTask(id=task_id, data=data, due_ms=lane.now + in_ms, lock=lock, lock_ttl_ms=ttl)
    )
    return data


async def test_a_successor_waits_and_the_old_one_names_it(any_lane):
    lane = any_lane
    read = await archived(lane)

    assert await lane.rerun(read) == "ok"

    assert await lane.places() == {"one": "archived", "two": "waiting"}
    assert await lane.map("records") == {"one": lane.message("one", replaced_by="two")}
    (delivery,) = await lane.claim()
    assert delivery.data == lane.message("two", origin="one")


async def test_a_repeated_rerun_adds_nothing(lane):
    read = await archived(lane)
    answers = await asyncio.gather(*(lane.rerun(read) for _ in range(5)))

    assert sorted(answers) == ["changed"] * 4 + ["ok"]
    assert len(await lane.stream()) == 1


async def test_a_rerun_under_an_id_that_is_taken_changes_nothing(lane):
    read = await archived(lane)
    await lane.add("two")

    assert await lane.rerun(read) == "taken"

    assert await lane.map("records") == {"one": read}


async def test_only_what_has_ended_has_a_successor(lane):
    assert await lane.rerun(b"", task_id="nobody") == "missing"
    await lane.add("waiting")
    later = await scheduled(lane, "later")

    assert await lane.rerun(b"", task_id="waiting") == "under way"
    assert await lane.rerun(later, task_id="later") == "scheduled"
    assert await lane.places() == {"waiting": "waiting", "later": "scheduled"}


async def test_an_edited_message_is_the_one_that_runs(any_lane):
    lane = any_lane
    read = await scheduled(lane)
    edited = lane.message("one", note="new")

    assert await lane.edit(read, edited) == ["ok", ""]

    lane.now += 1000
    await lane.move()
    (delivery,) = await lane.claim()
    assert delivery.data == edited


@pytest.mark.parametrize(("state", "answer"), [("gone", "missing"), ("waiting", "under way")])
async def test_only_scheduled_and_retry_tasks_are_edited(lane, state, answer):
    if state == "waiting":
        await lane.add("one")

    assert await lane.edit(b"", b"{}") == [answer, ""]


async def test_an_edit_of_what_has_changed_meanwhile_is_refused(lane):
    read = await scheduled(lane)
    await lane.edit(read, b"first")

    assert await lane.edit(read, b"second") == ["changed", ""]
    assert await lane.map("records") == {"one": b"first"}


async def test_the_lock_goes_with_the_payload_and_keeps_its_time(lane):
    read = await scheduled(lane, lock="old")
    before = (await lane.map("locks"))["old"]

    await lane.edit(read, lane.message("one", lock="new"), old_lock="old", new_lock="new")

    assert await lane.map("locks") == {"new": before}


async def test_an_edit_into_a_lock_that_is_held_changes_nothing(lane):
    read = await scheduled(lane, lock="old")
    await scheduled(lane, "other", lock="new")

    answer = await lane.edit(read, b"{}", old_lock="old", new_lock="new")

    assert answer == ["locked", "other"]
    assert (await lane.map("records"))["one"] == read
    assert set(await lane.map("locks")) == {"old", "new"}


async def test_an_edit_into_a_lock_whose_time_is_over_takes_it(lane):
    read = await scheduled(lane, lock="old")
    lane.now += 30_000
    await lane.command("HSET", lane.keys.locks, "new", f"{lane.now - 1} gone")

    assert await lane.edit(read, b"{}", old_lock="old", new_lock="new") == ["ok", ""]
    assert (await lane.map("locks"))["new"].endswith(b" one")


async def test_a_unique_task_is_not_rerun_beside_another_one(lane):
    stream_id = await lane.active()
    await lane.end(stream_id)
    await lane.hold("digest")
    read = await lane.command("HGET", lane.keys.records, "one")

    assert await lane.rerun(read, lock="digest", lock_ttl_ms=50) == "locked other"

    assert await lane.places() == {"one": "archived", "other": "waiting"}
    lane.now += 1
    assert await lane.rerun(read, lock="digest", lock_ttl_ms=50) == "ok"
    assert await lane.map("locks") == {"digest": f"{lane.now + 50} two".encode()}
