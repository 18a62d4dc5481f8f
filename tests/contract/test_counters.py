"""What the scripts count by the day, and how it is read back."""

import pytest

from duly.clock import from_unix_ms
from duly.engine.inspection.inspector import Inspector
from duly.engine.storage import scripts
from duly.engine.storage.store import Store
from duly.runtime.settings import RedisSettings
from duly.testing.clock import FrozenClock

DAY = 86_400_000
DAYS_92 = 92 * 86_400


@pytest.fixture
def inspector_at(lane):
    """An inspector whose clock stands where the lane's does."""

    def at():
        return Inspector(Store(lane.store.connection, FrozenClock(from_unix_ms(lane.now))))

    return at


async def test_a_batch_is_counted_once_in_its_day(lane):
    await lane.add(*map(str, range(300)))
    held = [
        (delivery.stream_id, str(place))
        for place, delivery in enumerate(await lane.claim(count=300))
    ]

    await lane.finish(*held[:200])
    await lane.finish(*held[200:])

    today = lane.keys.day(lane.now)
    assert await lane.map(today) == {"greet:processed": b"300"}
    assert DAYS_92 - 60 < await lane.command("TTL", today) <= DAYS_92


async def test_failures_and_crashes_are_counted_in_their_day(lane):
    stream_id = await lane.active()
    await lane.end(stream_id, outcomes="processed,failed")
    await lane.beat()
    await lane.active("two")
    lane.now += DAY
    await lane.reap()

    yesterday, today = lane.keys.day(lane.now - DAY), lane.keys.day(lane.now)
    assert await lane.map(yesterday) == {"greet:processed": b"1", "greet:failed": b"1"}
    assert await lane.map(today) == {"greet:crashed": b"1"}
    assert DAYS_92 - 60 < await lane.command("TTL", yesterday) <= DAYS_92
    assert DAYS_92 - 60 < await lane.command("TTL", today) <= DAYS_92


async def test_a_batch_of_failures_adds_up(lane):
    await lane.add("one", "two")
    for delivery, task_id in zip(await lane.claim(), ("one", "two"), strict=True):
        await lane.end(delivery.stream_id, task_id, outcomes="processed,failed")

    assert await lane.counts() == {"greet:processed": 2, "greet:failed": 2}
    assert await lane.map(lane.keys.hour(lane.now)) == {
        "0:greet:processed": b"2",
        "0:greet:failed": b"2",
    }


async def test_days_are_read_oldest_first_with_those_of_no_work(lane, inspector_at):
    await lane.finish((await lane.active(), "one"))
    lane.now += 2 * DAY
    await lane.end(await lane.active("two"), "two", outcomes="processed,failed")

    days = await inspector_at().queues.days("lane", count=4)

    assert [(day.processed, day.failed) for day in days] == [(0, 0), (1, 0), (0, 0), (1, 1)]
    assert [day.at.isoformat()[:10] for day in days] == [
        "2026-01-04", "2026-01-05", "2026-01-06", "2026-01-07",
    ]  # fmt: skip


async def test_a_report_says_what_was_done_today(lane, inspector_at):
    await lane.end(await lane.active(), outcomes="processed,failed")
    report = await inspector_at().queues.get("lane")
    assert (report.processed_today, report.failed_today) == (1, 1)

    lane.now += DAY
    report = await inspector_at().queues.get("lane")
    assert (report.processed_today, report.failed_today, report.processed) == (0, 0, 1)


@pytest.mark.parametrize("count", [0, 91])
async def test_more_than_is_kept_is_refused(lane, inspector_at, count):
    await lane.add("one")

    with pytest.raises(ValueError, match="within 1 to 90 days"):
        await inspector_at().queues.days("lane", count=count)


async def test_memory_grows_with_what_a_queue_holds(lane):
    inspector = Inspector(lane.store)
    await lane.add("one")
    little = await inspector.queues.memory("lane")

    await lane.add(*map(str, range(500)))

    assert 0 < little < 10_000 < await inspector.queues.memory("lane")


async def test_memory_is_unknown_to_a_user_who_may_not_ask(valkey_server, broker_settings):
    with valkey_server.client() as raw:
        raw.execute_command(
            "ACL", "SETUSER", "shy", "on", ">pw", "~duly:*", "&*", "+@all", "-memory"
        )
    try:
        shy = broker_settings.model_copy(
            update={"url": f"redis://shy:pw@{broker_settings.host}:{broker_settings.port}/0"}
        )
        async with Store.open(RedisSettings.model_validate(shy.model_dump())) as store:
            await store.register("lane")
            assert await Inspector(store).queues.memory("lane") is None
    finally:
        with valkey_server.client() as raw:
            raw.execute_command("ACL", "DELUSER", "shy")


@pytest.mark.parametrize("foreign", ["abc", "", "nan", "inf", b"\xff", "1.5", "9" * 30])
async def test_a_foreign_count_changes_no_metric(lane, foreign):
    await lane.add("one")
    await lane.finish(((await lane.claim())[0].stream_id, "one"))
    await lane.command("HSET", lane.keys.totals, "odd:processed", foreign)
    await lane.command("SET", lane.keys.paused, foreign)

    call = scripts.queue_figures(lane.keys, at_ms=lane.now, now_ms=lane.now)
    misfits, figures, *_ = await lane.store.run(call)

    assert misfits == []
    assert figures[4] == -1, "it is not paused since a time that can be told"
    assert figures[-1] == [b"processed", 1]
