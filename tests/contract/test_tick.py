"""tick.lua: a slot is claimed once, by whoever comes first, and what was missed is known."""

import asyncio

import pytest

from duly.engine.storage.decoding import text_map

STEP = 5_000


async def history(lane, entry="check"):
    """Return (slot, outcome) of what was recorded, oldest first."""
    rows = await lane.command("XRANGE", lane.keys.tick_history(entry), "-", "+")
    fields = [text_map(fields) for _, fields in rows]
    return [(int(row["slot"]), row["outcome"].decode()) for row in fields]


@pytest.mark.fault("several schedulers")
async def test_a_slot_is_claimed_once_by_many_replicas(lane):
    async with asyncio.TaskGroup() as group:
        ticking = [group.create_task(lane.tick(lane.now)) for _ in range(30)]

    outcomes = sorted(tick.result()[0] for tick in ticking)
    assert outcomes == ["enqueued"] + ["taken"] * 29
    assert await lane.places() == {f"check@{lane.now}": "waiting"}
    assert await history(lane) == [(lane.now, "enqueued")]


async def test_a_slot_taken_tells_which_task_it_became(lane):
    await lane.tick(lane.now)

    assert await lane.tick(lane.now, task_id="other") == ("taken", f"check@{lane.now}")


async def test_entries_have_slots_of_their_own(lane):
    assert (await lane.tick(lane.now, "first"))[0] == "enqueued"
    assert (await lane.tick(lane.now, "second"))[0] == "enqueued"


async def test_an_older_slot_is_taken_when_a_newer_one_was_claimed(lane):
    lane.now += STEP
    await lane.tick(lane.now)
    lane.now -= 1

    assert (await lane.tick(lane.now - STEP + 1))[0] == "taken"


@pytest.mark.parametrize(
    ("shift", "outcome"),
    [(1, "early"), (0, "enqueued"), (-STEP + 1, "enqueued"), (-STEP, "late")],
)
async def test_a_slot_is_claimed_only_while_it_lasts(lane, shift, outcome):
    assert (await lane.tick(lane.now + shift))[0] == outcome

    assert len(await lane.places()) == (outcome == "enqueued")


@pytest.mark.fault("overlap")
@pytest.mark.parametrize("state", ["waiting", "active", "retry"])
async def test_a_tick_is_skipped_while_the_one_before_is_under_way(lane, state):
    _, before = await lane.tick(lane.now)
    if state != "waiting":
        (delivery,) = await lane.claim()
    if state == "retry":
        await lane.end(delivery.stream_id, before, destination="retry", in_ms=60_000)
    lane.now += STEP

    assert await lane.tick(lane.now) == ("skipped", before)
    lane.now += STEP
    assert await lane.tick(lane.now) == ("skipped", before)

    assert await lane.places() == {before: state}
    ticks = await lane.map("ticks")
    assert (ticks["check:enqueued"], ticks["check:skipped"]) == (b"1", b"2")


@pytest.mark.fault("overlap")
@pytest.mark.parametrize("verdict", ["archived", "completed", "quarantined", "dropped"])
async def test_a_tick_is_not_skipped_once_the_one_before_has_ended(lane, verdict):
    _, before = await lane.tick(lane.now)
    (delivery,) = await lane.claim()
    await lane.end(delivery.stream_id, before, destination=verdict, in_ms=60_000)
    lane.now += STEP

    assert (await lane.tick(lane.now))[0] == "enqueued"


@pytest.mark.fault("overlap")
async def test_overlap_allow_enqueues_all_the_same(lane):
    await lane.tick(lane.now)
    lane.now += STEP

    assert (await lane.tick(lane.now, overlap="allow"))[0] == "enqueued"

    assert list((await lane.places()).values()) == ["waiting", "waiting"]


@pytest.mark.fault("scheduler down")
async def test_missed_slots_are_counted_and_recorded_by_their_time(lane):
    first = lane.now
    await lane.tick(first)
    lane.now += 4 * STEP

    await lane.tick(lane.now)

    assert (await lane.map("ticks"))["check:missed"] == b"3"
    missed = [slot for slot, outcome in await history(lane) if outcome == "missed"]
    assert missed == [first + STEP, first + 2 * STEP, first + 3 * STEP]


@pytest.mark.fault("scheduler down")
async def test_a_long_outage_records_a_bounded_number_of_missed_slots(lane):
    await lane.tick(lane.now)
    lane.now += 1_000_000 * STEP

    await lane.tick(lane.now)

    assert (await lane.map("ticks"))["check:missed"] == b"999999"
    missed = [slot for slot, outcome in await history(lane) if outcome == "missed"]
    assert len(missed) == 100
    assert missed[-1] == lane.now - STEP


async def test_the_history_is_bounded(lane):
    for _ in range(1300):
        await lane.tick(lane.now)
        lane.now += STEP

    assert 1000 <= len(await history(lane)) < 1300


async def test_a_first_tick_has_missed_nothing(lane):
    await lane.tick(lane.now)

    assert "check:missed" not in await lane.map("ticks")


async def test_a_paused_entry_ticks_without_a_task(lane):
    await lane.command("HSET", lane.keys.ticks, "check:paused-since", 1)

    assert (await lane.tick(lane.now))[0] == "paused"
    assert await lane.places() == {}
    await lane.command("HDEL", lane.keys.ticks, "check:paused-since")
    lane.now += STEP
    assert (await lane.tick(lane.now))[0] == "enqueued"


async def test_a_task_that_has_the_id_of_a_tick_is_not_pushed_aside(lane):
    await lane.add("mine")

    assert (await lane.tick(lane.now, task_id="mine"))[0] == "skipped"

    assert await lane.places() == {"mine": "waiting"}
    assert len(await lane.stream()) == 1


async def test_a_longer_interval_does_not_claim_a_slot_again(lane):
    await lane.tick(lane.now, interval=1_000)
    lane.now += 500

    assert (await lane.tick(lane.now - 500, interval=60_000))[0] == "taken"


@pytest.mark.parametrize("last", [b"garbage", b"", b"9" * 40 + b" x", b"\xff"])
async def test_a_claim_that_cannot_be_read_does_not_stop_the_clock_for_ever(lane, last):
    await lane.command("HSET", lane.keys.ticks, "check", last)

    assert (await lane.tick(lane.now))[0] in {"enqueued", "taken"}


@pytest.mark.fault("clock jumps")
@pytest.mark.parametrize("jump", [600_000, 86_000_000, 10_000])
async def test_ticks_go_on_after_a_clock_that_jumped_ahead_has_returned(lane, jump):
    begin = lane.now
    lane.now += jump
    assert (await lane.tick(lane.now, overlap="allow"))[0] == "enqueued"

    lane.now = begin
    assert (await lane.claim_slot(begin, overlap="allow", claim_ms=-1))[0] == "claimed"
    lane.now += STEP
    assert (await lane.tick(lane.now, overlap="allow"))[0] == "enqueued"


async def test_a_claim_a_moment_ahead_is_believed(lane):
    lane.now += STEP
    await lane.tick(lane.now)
    lane.now -= 4_000

    assert (await lane.tick(lane.now - 1_000))[0] == "taken"


async def test_what_was_claimed_for_another_queue_is_neither_missed_nor_made_up_for(lane):
    await lane.tick(lane.now)
    last, lane.now = lane.now + 3 * STEP, lane.now + 4 * STEP

    answer = await lane.claim_slot(
        lane.now, claim_ms=last, elsewhere_ms=last, between=0, catch_up=5, overlap="allow"
    )

    assert answer[0] == "claimed"
    assert [outcome for _, outcome in await history(lane)] == ["enqueued", "enqueued"]


async def test_a_unique_tick_is_skipped_while_another_task_holds_its_lock(lane):
    await lane.hold("digest", "holder")

    answer = await lane.claim_slot(lane.now, lock="digest", overlap="allow")

    assert answer[-2:] == ["skipped", "holder"]
    assert await lane.places() == {"holder": "waiting"}


async def test_a_unique_tick_takes_its_lock_and_missed_ones_do_not_pile_up(lane):
    await lane.claim_slot(lane.now, lock="digest", overlap="allow")
    first, lane.now = f"check@{lane.now}", lane.now + 3 * STEP
    assert await lane.map("locks") == {"digest": f"{lane.now - 3 * STEP + 60_000} {first}".encode()}

    missed = [lane.now - 2 * STEP, lane.now - STEP]
    answer = await lane.claim_slot(lane.now, *missed, lock="digest", catch_up=5, overlap="allow")

    assert answer[5::3] == ["skipped"] * 3
    assert len(await lane.places()) == 1


async def test_a_tick_of_a_job_that_is_not_unique_takes_no_lock(lane):
    assert (await lane.tick(lane.now))[0] == "enqueued"

    assert await lane.map("locks") == {}
