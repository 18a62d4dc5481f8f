"""expire_joins.lua: joins whose members never come are bounded in age and number."""

import pytest

from duly.engine.maintenance.janitor import Janitor
from duly.engine.storage import scripts
from duly.engine.storage.decoding import text_map
from duly.engine.storage.scripts import Successor

DAY = 86_400_000


async def join(lane, name, members=2):
    await lane.store.register("lane")
    made = Successor("join", "lane", join=name, number=members, id=f"of-{name}", data=b"{}")
    await lane.deliver((f"q/{name}", made))


async def expire(lane, *, max_age_ms=DAY, max_count=100):
    call = scripts.expire_joins(
        lane.keys, max_age_ms=max_age_ms, max_count=max_count, now_ms=lane.now
    )
    cursor, cancelled = await lane.store.run(call)
    assert cursor == b"0"
    return cancelled


async def test_joins_that_have_waited_too_long_are_cancelled_and_counted(lane):
    await join(lane, "old")
    lane.now += DAY
    await join(lane, "new")

    assert await expire(lane) == 0
    lane.now += 1
    assert await expire(lane) == 1

    assert [*await lane.map("joins")] == ["new"]
    assert set(await lane.map("awaited")) == {"new", "new\n0", "new\n1"}
    assert await lane.map("totals") == {"-:join_dropped": b"1"}


@pytest.mark.parametrize("most", [0, 3, 10, 11])
async def test_joins_are_bounded_in_number(lane, most):
    for number in range(10):
        await join(lane, f"j{number}")

    assert await expire(lane, max_count=most) == max(0, 10 - most)
    assert len(await lane.map("joins")) == min(10, most)


async def test_what_is_no_join_is_dropped_too(lane):
    await lane.command("HSET", lane.keys.joins, "garbage", "x")

    assert await expire(lane) == 1


async def test_the_janitor_cancels_joins_past_their_bounds(lane, monkeypatch):
    monkeypatch.setattr("duly.engine.maintenance.janitor._MOST_JOINS", 4)
    lane.now += 10**12
    for number in range(6):
        await join(lane, f"j{number}")

    await Janitor(lane.store, "lane").run_once()

    assert len(await lane.map("joins")) == 4


async def test_a_member_that_is_dropped_cancels_its_join_by_way_of_the_outbox(lane):
    await join(lane, "j")
    stream_id = await lane.active("member")

    await lane.end(stream_id, "member", destination="dropped", join_queue="lane", join="j")

    ((_, flat),) = await lane.command("XRANGE", lane.keys.outbox, "-", "+")
    fields = text_map(flat)
    assert (fields["queue"], fields["what"], fields["join"]) == (b"lane", b"cancel", b"j")
    assert await lane.deliver(("lane/1-1", Successor("cancel", "lane", join="j"))) == 0
    assert await lane.map("joins") == {} == await lane.map("awaited")
    assert await lane.map("totals") == {"-:join_dropped": b"1"}


@pytest.mark.parametrize("destination", ["archived", "retry", "waiting"])
async def test_a_member_that_may_still_succeed_cancels_nothing(lane, destination):
    stream_id = await lane.active("member")

    await lane.end(stream_id, "member", destination=destination, join_queue="lane", join="j")

    assert await lane.command("XLEN", lane.keys.outbox) == 0


async def test_a_join_that_is_gone_is_not_cancelled_again(lane):
    await lane.store.register("lane")

    assert await lane.deliver(("lane/1-1", Successor("cancel", "lane", join="j"))) == 0
    assert await lane.map("totals") == {"-:join_dropped": b"0"}
