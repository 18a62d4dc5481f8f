"""write_partial_results.lua: the result so far of a task that runs, and what becomes of it."""

import pytest

from duly.engine.storage.scripts import Settlement

SO_FAR = b'{"rows":400}'


async def test_the_last_word_of_whoever_has_the_task_is_kept(lane):
    stream_id = await lane.active()

    assert await lane.partial_result((stream_id, "one", b"1"), (stream_id, "one", SO_FAR)) == []

    assert await lane.map("results") == {"one": SO_FAR}
    assert await lane.places() == {"one": "active"}


async def test_a_server_that_lost_its_lease_is_refused(lane):
    await lane.beat()
    stream_id = await lane.active()
    await lane.partial_result((stream_id, "one", SO_FAR))
    lane.now += 10_000
    await lane.reap()

    assert await lane.partial_result((stream_id, "one", b"2"), (stream_id, "gone", b"3")) == [
        stream_id,
        stream_id,
    ]

    assert await lane.map("results") == {"one": SO_FAR}, "a crash keeps what there was"
    await lane.places()


async def test_it_goes_with_a_task_that_succeeds(lane):
    stream_id = await lane.active()
    await lane.partial_result((stream_id, "one", SO_FAR))

    await lane.finish((stream_id, "one"), dirty=True)

    assert await lane.map("results") == {}


async def test_it_goes_with_a_task_that_is_requeued(lane):
    first, second = await lane.active("one"), await lane.active("two")
    await lane.partial_result((first, "one", SO_FAR), (second, "two", SO_FAR))

    await lane.requeue((first, "one"))
    await lane.settle(Settlement(stream_id=second, id="two", kind="greet", destination="waiting"))

    assert await lane.map("results") == {}
    assert await lane.places() == {"one": "waiting", "two": "waiting"}


@pytest.mark.parametrize(
    ("verdict", "result", "kept"),
    [
        ("retry", b"", SO_FAR),
        ("archived", b"", SO_FAR),
        ("completed", b'"done"', b'"done"'),
        ("completed", b"", None),
        ("dropped", b"", None),
    ],
)
async def test_it_stays_with_what_failed_and_yields_to_a_result(lane, verdict, result, kept):
    stream_id = await lane.active()
    await lane.partial_result((stream_id, "one", SO_FAR))

    await lane.end(stream_id, destination=verdict, result=result, in_ms=1_000)

    assert (await lane.map("results")).get("one") == kept
    await lane.places()


async def test_it_goes_with_an_entry_that_somebody_deleted(lane):
    stream_id = await lane.active()
    await lane.partial_result((stream_id, "one", SO_FAR))
    await lane.command("XDEL", lane.keys.stream, stream_id)

    assert await lane.end(stream_id) == [stream_id]

    assert await lane.map("results") == {}


@pytest.mark.parametrize("state", ["archived", "retry"])
async def test_it_goes_with_a_task_that_an_operator_deletes(lane, state):
    stream_id = await lane.active()
    await lane.partial_result((stream_id, "one", SO_FAR))
    await lane.end(stream_id, destination=state)

    assert await lane.operate("delete") == "ok"

    assert await lane.map("results") == {}
