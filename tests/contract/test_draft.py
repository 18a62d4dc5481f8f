"""draft.lua: the result so far of a task that runs, and what becomes of it."""

import pytest

from duly.engine.scripts import Settlement

SO_FAR = b'{"rows":400}'


async def test_the_last_word_of_whoever_has_the_task_is_kept(lane):
    entry = await lane.active()

    assert await lane.draft((entry, "one", b"1"), (entry, "one", SO_FAR)) == []

    assert await lane.map("results") == {"one": SO_FAR}
    assert await lane.places() == {"one": "active"}


async def test_a_server_that_lost_its_lease_is_refused(lane):
    await lane.beat()
    entry = await lane.active()
    await lane.draft((entry, "one", SO_FAR))
    lane.now += 10_000
    await lane.reap()

    assert await lane.draft((entry, "one", b"2"), (entry, "gone", b"3")) == [entry, entry]

    assert await lane.map("results") == {"one": SO_FAR}, "a crash keeps what there was"
    await lane.places()


async def test_it_goes_with_a_task_that_succeeds(lane):
    entry = await lane.active()
    await lane.draft((entry, "one", SO_FAR))

    await lane.finish((entry, "one"), dirty=True)

    assert await lane.map("results") == {}


async def test_it_goes_with_a_task_that_is_handed_back(lane):
    first, second = await lane.active("one"), await lane.active("two")
    await lane.draft((first, "one", SO_FAR), (second, "two", SO_FAR))

    await lane.requeue((first, "one"))
    await lane.settle(Settlement(entry=second, id="two", kind="greet", verdict="waiting"))

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
    entry = await lane.active()
    await lane.draft((entry, "one", SO_FAR))

    await lane.end(entry, verdict=verdict, result=result, in_ms=1_000)

    assert (await lane.map("results")).get("one") == kept
    await lane.places()


async def test_it_goes_with_an_entry_that_somebody_deleted(lane):
    entry = await lane.active()
    await lane.draft((entry, "one", SO_FAR))
    await lane.command("XDEL", lane.keys.stream, entry)

    assert await lane.end(entry) == [entry]

    assert await lane.map("results") == {}


@pytest.mark.parametrize("state", ["archived", "retry"])
async def test_it_goes_with_a_task_that_an_operator_deletes(lane, state):
    entry = await lane.active()
    await lane.draft((entry, "one", SO_FAR))
    await lane.end(entry, verdict=state)

    assert await lane.operate("delete") == "ok"

    assert await lane.map("results") == {}
