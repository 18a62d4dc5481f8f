"""prune.lua: what is kept is bounded by count and age, whatever the number, without leftovers."""

import pytest

from duly.engine.maintenance.janitor import Janitor
from duly.runtime.settings import ArchiveSettings

DAY = 86_400_000


async def keep(lane, count, *, state="archived", step_ms=1, first=0):
    """Put tasks with all that belongs to them into a set, the first one the oldest."""
    await lane.store.register("lane")
    for start in range(first, first + count, 1000):
        numbers = range(start, min(start + 1000, first + count))
        ids = [f"t{number}" for number in numbers]
        scores = [lane.now + number * step_ms for number in numbers]

        def flat(values, ids=ids):
            return [item for pair in zip(ids, values, strict=True) for item in pair]

        await lane.store.connection.many(
            [
                ("ZADD", getattr(lane.keys, state), *flat(ids, scores)),
                ("HSET", lane.keys.index, *flat([state] * len(ids))),
                *(
                    ("HSET", key, *flat([b"x"] * len(ids)))
                    for key in (lane.keys.records, lane.keys.tries, lane.keys.history)
                ),
            ]
        )


async def drop_all(lane, **bounds):
    """Prune until nothing is left to prune; return the sizes of the batches."""
    sizes = [await lane.prune(**bounds)]
    while sizes[-1]:
        sizes.append(await lane.prune(**bounds))
    return sizes


async def test_ten_thousand_that_expire_together_are_dropped_in_batches(lane):
    """asynq X3: there the script dies, and every later archiving with it."""
    await keep(lane, 10_500, step_ms=0)
    lane.now += DAY

    sizes = await drop_all(lane, max_age_ms=DAY)

    assert sizes == [500] * 21 + [0]
    assert await lane.places() == {}
    assert await lane.map("records") == {}


async def test_what_is_over_the_count_goes_oldest_first_with_all_its_parts(lane):
    """asynq X6: there the hashes stay for ever."""
    await keep(lane, 1_200)

    assert await drop_all(lane, max_count=100) == [500, 500, 100, 0]

    places = await lane.places()
    assert set(places) == {f"t{number}" for number in range(1_100, 1_200)}
    for key in ("records", "tries", "history"):
        assert len(await lane.map(key)) == 100


async def test_age_is_kept_to_the_millisecond(lane):
    await keep(lane, 3)
    lane.now += DAY

    assert await lane.prune(max_age_ms=DAY) == 1
    assert await lane.members("archived") == ["t1", "t2"]
    lane.now += 1
    assert await lane.prune(max_age_ms=DAY) == 1


async def test_age_and_count_are_both_kept(lane):
    await keep(lane, 10)
    lane.now += DAY + 2

    assert await lane.prune(max_age_ms=DAY, max_count=5) == 5

    assert await lane.members("archived") == [f"t{number}" for number in range(5, 10)]


async def test_a_batch_is_never_exceeded(lane):
    await keep(lane, 10)
    lane.now += DAY + 2

    assert await lane.prune(max_age_ms=DAY, max_count=0, most=4) == 4

    assert len(await lane.places()) == 6


async def test_what_is_dropped_is_counted_where_asked(lane):
    await keep(lane, 5)

    await lane.prune(max_count=2, count_as="archived_dropped")
    await lane.prune(max_count=1)

    assert await lane.counts() == {"-:archived_dropped": 3}


async def test_nothing_is_dropped_within_the_bounds(lane):
    await keep(lane, 5)

    assert await lane.prune(max_age_ms=DAY, max_count=5) == 0

    assert len(await lane.places()) == 5


async def test_a_completed_task_is_forgotten_when_its_time_is_up(lane):
    await lane.end(await lane.active(), destination="completed", in_ms=1000, result=b"1")

    lane.now += 999
    assert await lane.prune("completed", max_age_ms=0) == 0
    lane.now += 1
    assert await lane.prune("completed", max_age_ms=0) == 1

    assert await lane.places() == {}
    assert await lane.map("results") == {}


@pytest.mark.parametrize("state", ["archived", "quarantined"])
async def test_the_janitor_keeps_its_bounds_and_counts_the_loss(lane, state):
    await keep(lane, 1_100, state=state)
    janitor = Janitor(lane.store, "lane", bounds=ArchiveSettings(max_count=10, max_age="9999999d"))

    rests = [await janitor.run_once() for _ in range(4)]

    assert [bool(rest) for rest in rests] == [False, False, True, True]
    assert len(await lane.members(state)) == 10
    assert await lane.counts() == {f"-:{state}_dropped": 1_090}


@pytest.mark.parametrize("state", ["archived", "completed", "quarantined"])
async def test_what_takes_too_many_bytes_goes_oldest_first(lane, state):
    await keep(lane, 100, state=state)
    for number in range(100):
        await lane.command("HSET", lane.keys.results, f"t{number}", b"r" * 998)

    sizes = await drop_all(lane, state=state, max_bytes=40_000, count_as="dropped")

    assert sum(sizes) == 60
    assert await lane.map("totals") == {"-:dropped": b"60"}
    assert set(await lane.members(state)) == {f"t{number}" for number in range(60, 100)}


async def test_large_results_count_wherever_they_lie(lane):
    await keep(lane, 400, state="completed")
    for number in range(300, 400):
        await lane.command("HSET", lane.keys.results, f"t{number}", b"r" * 10_000)

    await drop_all(lane, state="completed", max_bytes=300_000)

    kept = await lane.members("completed")
    assert 20 <= len(kept) <= 60


@pytest.mark.parametrize("state", ["completed"])
async def test_the_janitor_bounds_completed_tasks_in_number(lane, state, monkeypatch):
    monkeypatch.setattr("duly.engine.maintenance.janitor._MOST_COMPLETED", 30)
    await keep(lane, 50, state=state, first=10**12)

    await Janitor(lane.store, "lane").run_once()

    assert len(await lane.members(state)) == 30
    assert await lane.map("totals") == {"-:completed_dropped": b"20"}
