"""complete.lua and requeue.lua: who owns an entry may end it, nobody else, and only once."""

import pytest


async def test_a_finished_task_is_gone_and_counted(lane):
    stream_id = await lane.active()

    assert await lane.finish((stream_id, "one")) == []

    assert await lane.places() == {}
    assert await lane.stream() == {}
    assert await lane.counts() == {"greet:processed": 1}


async def test_a_batch_is_counted_by_kind_in_the_minute_and_in_total(lane):
    await lane.add(*map(str, range(500)))
    held = [
        (delivery.stream_id, str(place))
        for place, delivery in enumerate(await lane.claim(count=500))
    ]
    lane.now += 7 * 60_000

    assert await lane.finish(*held) == []

    assert await lane.places() == {}
    assert await lane.map(lane.keys.hour(lane.now)) == {"7:greet:processed": b"500"}
    assert 260_000 < await lane.command("TTL", lane.keys.hour(lane.now)) <= 262_800


async def test_a_late_finish_after_a_reap_is_refused_and_counts_nothing(lane):
    await lane.beat()
    stream_id = await lane.active()
    lane.now += 10_000
    assert await lane.reap() == [1, 0, 1]

    assert await lane.finish((stream_id, "one")) == [stream_id]

    assert await lane.places() == {"one": "waiting"}
    assert await lane.counts() == {"greet:crashed": 1}


async def test_a_late_finish_is_refused_while_another_server_runs_the_task(lane):
    await lane.beat()
    stream_id = await lane.active()
    lane.now += 10_000
    await lane.reap()
    (again,) = await lane.claim("bob")

    assert await lane.finish((stream_id, "one")) == [stream_id]
    assert await lane.finish((again.stream_id, "one")) == []

    assert await lane.places() == {}
    assert (await lane.counts())["greet:processed"] == 1


async def test_a_second_finish_is_refused_and_counts_nothing(lane):
    stream_id = await lane.active()
    await lane.finish((stream_id, "one"))

    assert await lane.finish((stream_id, "one")) == [stream_id]

    assert await lane.counts() == {"greet:processed": 1}


async def test_of_a_batch_only_what_is_not_owned_is_refused(lane):
    await lane.beat()
    lost = await lane.active("lost")
    lane.now += 10_000
    await lane.reap()
    kept = await lane.active("kept", "bob")

    assert await lane.finish((lost, "lost"), (kept, "kept")) == [lost]

    assert (await lane.places()).keys() == {"lost"}


async def test_a_finish_frees_the_lock(lane):
    stream_id = await lane.active(lock="digest")

    await lane.finish((stream_id, "one"), locks=["digest"])

    assert await lane.map("locks") == {}
    await lane.places()


async def test_a_finish_after_failures_leaves_no_history(lane):
    stream_id = await lane.active()
    await lane.end(stream_id, destination="retry", in_ms=5)
    lane.now += 5
    await lane.move()
    (again,) = await lane.claim()

    await lane.finish((again.stream_id, "one"), dirty=True)

    assert await lane.places() == {}
    assert await lane.map("history") == {}


async def test_a_foreign_task_of_the_same_id_does_not_end_ours(lane):
    await lane.add("one")
    await lane.command("XADD", lane.keys.stream, "*", "data", b'{"task_id": "one"}')
    ours, strangers = await lane.claim()

    assert await lane.finish((strangers.stream_id, "one")) == []
    assert await lane.places() == {"one": "active"}
    assert await lane.finish((ours.stream_id, "one")) == []
    assert await lane.places() == {}


async def test_a_completion_that_the_index_does_not_know_is_a_foreign_task_and_ends(lane):
    await lane.store.register("lane")
    await lane.command("XADD", lane.keys.stream, "*", "data", b"{}")
    (delivery,) = await lane.claim()

    assert await lane.finish((delivery.stream_id, "stranger")) == []

    assert await lane.stream() == {}


async def test_a_finish_on_a_broker_that_lost_everything_is_refused(lane):
    stream_id = await lane.active()
    await lane.command("DEL", *lane.keys.everything())

    assert await lane.finish((stream_id, "one")) == [stream_id]


async def test_a_requeued_task_waits_again_with_its_tries(lane):
    await lane.beat()
    await lane.active()
    lane.now += 10_000
    await lane.reap()
    (delivery,) = await lane.claim("bob")

    assert await lane.requeue((delivery.stream_id, "one")) == 1

    assert await lane.places() == {"one": "waiting"}
    (again,) = await lane.claim("carol")
    assert (again.attempts, again.crashes, again.retried) == (0, 1, True)


async def test_a_requeued_task_is_not_taken_for_retried(lane):
    stream_id = await lane.active()

    await lane.requeue((stream_id, "one"))

    (again,) = await lane.claim()
    assert (again.attempts, again.crashes, again.retried) == (0, 0, False)


async def test_handing_back_twice_does_nothing_the_second_time(lane):
    stream_id = await lane.active()
    await lane.requeue((stream_id, "one"))

    assert await lane.requeue((stream_id, "one")) == 0

    assert len(await lane.stream()) == 1
    assert await lane.places() == {"one": "waiting"}


@pytest.mark.parametrize("task_id", ["", "unknown"])
async def test_a_foreign_task_is_requeued_without_an_index(lane, task_id):
    await lane.store.register("lane")
    await lane.command("XADD", lane.keys.stream, "*", "data", b"odd")
    (delivery,) = await lane.claim()

    assert await lane.requeue((delivery.stream_id, task_id)) == 1

    assert await lane.places() == {}
    assert [stream_id[b"data"] for stream_id in (await lane.stream()).values()] == [b"odd"]


async def test_an_entry_without_data_stays_with_its_server_for_the_reaper(lane):
    await lane.store.register("lane")
    await lane.command("XADD", lane.keys.stream, "*", "other", b"odd")
    (delivery,) = await lane.claim()

    assert await lane.requeue((delivery.stream_id, "")) == 0

    assert delivery.stream_id in await lane.pending()


async def test_a_finish_after_handing_back_is_refused(lane):
    stream_id = await lane.active()
    await lane.requeue((stream_id, "one"))

    assert await lane.finish((stream_id, "one")) == [stream_id]
    assert await lane.places() == {"one": "waiting"}
