"""outbox_deliver.lua: what another queue sends arrives once; a join waits for all members."""

import pytest

from duly.engine.storage.scripts import MOST_LAG_MS, NewTask, Successor, cancel_join


def task(task_id="one", **options):
    return Successor("task", "lane", id=task_id, data=b"{}", **options)


def join(members, task_id="last", **options):
    return Successor("join", "lane", join="j", number=members, id=task_id, data=b"{}", **options)


def arrive(member, join="j"):
    return Successor("arrive", "lane", join=join, number=member)


@pytest.fixture
async def lane(lane):
    await lane.store.register("lane")
    return lane


async def test_a_letter_becomes_a_task(lane):
    assert await lane.deliver(("q/1", task()), ("q/2", task("two", delay_ms=5_000))) == 0

    assert await lane.places() == {"one": "waiting", "two": "scheduled"}
    assert await lane.score("scheduled", "two") == lane.now + 5_000


async def test_a_letter_delivered_again_is_not_obeyed_even_when_its_task_has_ended(lane):
    """A relay was killed after the delivery and before it could clear the outbox."""
    await lane.deliver(("q/1", task()))
    (delivery,) = await lane.claim()
    await lane.finish((delivery.stream_id, "one"))

    assert await lane.deliver(("q/1", task())) == 0

    assert await lane.places() == {}


async def test_another_letter_with_the_same_id_is_another_task(lane):
    await lane.deliver(("q/1", task()))
    (delivery,) = await lane.claim()
    await lane.finish((delivery.stream_id, "one"))

    await lane.deliver(("q/2", task()))

    assert await lane.places() == {"one": "waiting"}


@pytest.mark.parametrize(
    "lag", [pytest.param(MOST_LAG_MS + 1, id="long ago"),
            pytest.param(-MOST_LAG_MS - 1, id="before the clock went back")],
)  # fmt: skip
async def test_what_was_read_too_long_ago_is_refused_whole(lane, lag):
    """Whoever sends so late may be the second: the delivery of the first may be forgotten."""
    assert await lane.deliver(("q/1", task()), read_ms=lane.now - lag) == -1

    assert await lane.places() == {}
    assert await lane.deliver(("q/1", task())) == 0
    assert await lane.places() == {"one": "waiting"}


async def test_a_taken_id_or_lock_is_counted(lane):
    await lane.add("taken", NewTask(id="held", data=b"{}", lock="red", lock_ttl_ms=9_000))

    refused = await lane.deliver(
        ("q/1", task("taken")), ("q/2", task("same", lock="red", lock_ms=1)), ("q/3", task("free"))
    )

    assert refused == 2
    assert set(await lane.places()) == {"taken", "held", "free"}
    assert await lane.counts() == {"-:successor_refused": 2}


async def test_a_join_waits_for_its_last_member(lane):
    await lane.deliver(("q/1", join(3)))
    await lane.deliver(("a/1", arrive(0)), ("b/1", arrive(2)))
    assert await lane.places() == {}

    await lane.deliver(("c/1", arrive(1)))

    assert await lane.places() == {"last": "waiting"}
    assert await lane.map("joins") == {} == await lane.map("awaited")


async def test_a_member_counts_once_however_often_it_succeeds(lane):
    await lane.deliver(("q/1", join(2)))

    await lane.deliver(("a/1", arrive(0)), ("a/2", arrive(0)), ("a/1", arrive(0)))

    assert await lane.places() == {}
    assert (await lane.map("awaited"))["j"] == b"1"


async def test_a_report_to_no_join_is_ignored(lane):
    await lane.deliver(("a/1", arrive(0)))

    assert await lane.places() == {}


async def test_a_join_delivered_again_after_its_end_does_not_come_back(lane):
    await lane.deliver(("q/1", join(1)))
    await lane.deliver(("a/1", arrive(0)))

    await lane.deliver(("q/1", join(1)))

    assert await lane.places() == {"last": "waiting"}
    assert await lane.map("joins") == {}


async def test_a_joins_task_may_be_delayed_and_unique(lane):
    await lane.deliver(("q/1", join(1, delay_ms=4_000, lock="red", lock_ms=1_000)))
    lane.now += 60_000

    await lane.deliver(("a/1", arrive(0)))

    assert await lane.places() == {"last": "scheduled"}
    assert await lane.score("scheduled", "last") == lane.now + 4_000
    assert await lane.map("locks") == {"red": f"{lane.now + 5_000} last".encode()}


async def test_a_second_join_of_the_same_id_is_refused(lane):
    await lane.deliver(("q/1", join(2)))
    await lane.deliver(("a/1", arrive(0)))

    assert await lane.deliver(("q/2", join(2))) == 1

    assert (await lane.map("awaited"))["j"] == b"1"


async def test_a_join_that_is_cancelled_leaves_nothing(lane):
    await lane.deliver(("q/1", join(3)), ("q/2", Successor("join", "lane", join="k", number=1)))
    await lane.deliver(("a/1", arrive(0)))

    assert await lane.store.run(cancel_join(lane.keys, "j")) == 1
    assert await lane.store.run(cancel_join(lane.keys, "j")) == 0

    await lane.deliver(("a/2", arrive(1)), ("a/3", arrive(2)))
    assert await lane.places() == {}
    assert set(await lane.map("joins")) == {"k"}


async def test_every_shape_of_broker_delivers(any_lane):
    await any_lane.store.register("lane")
    await any_lane.deliver(("q/1", join(1)), ("q/2", task()))
    await any_lane.deliver(("q/3", arrive(0)))

    assert await any_lane.places() == {"one": "waiting", "last": "waiting"}


async def test_a_foreign_join_ends_and_is_cancelled_at_once(lane):
    """What is kept of a join is not ours, or has members without number."""
    await lane.command(
        "HSET", lane.keys.joins, "odd", b"\xff", "huge", b"\x92\xa11\xaf999999999999999"
    )
    for name in ("odd", "huge"):
        await lane.command("HSET", lane.keys.awaited, name, 1, f"{name}\n0", "")

    assert await lane.store.run(cancel_join(lane.keys, "huge")) == 1
    assert await lane.deliver(("q/1", arrive(0, "odd")), ("q/2", task())) == 0

    assert await lane.places() == {"one": "waiting"}


@pytest.mark.parametrize("count", ["abc", "", "1.5", "nan", "9" * 30, b"\xff"])
async def test_a_foreign_count_of_a_join_is_counted_anew(lane, count):
    await lane.deliver(("q/1", join(3)))
    await lane.deliver(("a/1", arrive(0)))
    await lane.command("HSET", lane.keys.awaited, "j", count)

    await lane.deliver(("b/1", arrive(2)))
    assert (await lane.map("awaited"))["j"] == b"1"
    await lane.deliver(("c/1", arrive(1)), ("q/2", task("other")))

    assert await lane.places() == {"last": "waiting", "other": "waiting"}
    assert await lane.map("awaited") == {}
