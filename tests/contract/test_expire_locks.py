"""expire_locks.lua: locks whose time is over go, the others stay."""

from duly.engine.storage import scripts


async def sweep(lane, cursor="0", most=500):
    after, dropped = await lane.store.run(
        scripts.expire_locks(lane.keys, cursor=cursor, most=most, now_ms=lane.now)
    )
    return after, dropped


async def test_only_locks_whose_time_is_over_are_dropped(any_lane):
    lane = any_lane
    ends = {"over": lane.now, "held": lane.now + 1}
    for digest, end in ends.items():
        await lane.command("HSET", lane.keys.locks, digest, f"{end} task")

    assert await sweep(lane) == (b"0", 1)

    assert set(await lane.map("locks")) == {"held"}


async def test_what_is_no_lock_is_dropped_too(lane):
    await lane.command("HSET", lane.keys.locks, "odd", "scribble")

    assert await sweep(lane) == (b"0", 1)


async def test_a_large_hash_is_swept_part_by_part(lane):
    values = [item for n in range(2_000) for item in (f"d{n}", f"{lane.now - n % 2 * 9 + 1} t")]
    await lane.command("HSET", lane.keys.locks, *values)
    cursor, dropped, parts = "0", 0, 0
    while cursor != b"0":
        cursor, count = await sweep(lane, cursor, most=100)
        dropped, parts = dropped + count, parts + 1

    assert (dropped, len(await lane.map("locks"))) == (1_000, 1_000)
    assert parts > 5


async def test_no_locks_at_all_are_no_work(lane):
    assert await sweep(lane) == (b"0", 0)
