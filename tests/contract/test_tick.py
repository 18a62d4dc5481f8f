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


@pytest.mark.fault("clock jumps")
@pytest.mark.parametrize("interval", [STEP, 60_000, 86_400_000])
async def test_no_slot_is_claimed_again_after_the_clock_went_back(lane, interval):
    begin = lane.now

    async def tick_at(now):
        lane.now = now
        slot = begin + (now - begin) // interval * interval
        return (await lane.tick(slot, interval=interval, overlap="allow"))[0]

    last = begin + 4 * interval
    for slot in range(begin, last + 1, interval):
        assert await tick_at(slot) == "enqueued"

    again = [await tick_at(last + by) for by in (-12_000, -5_001, -4_999, -1, 0, interval - 1)]
    assert again == ["taken"] * 6
    assert await tick_at(last + interval) == "enqueued"
    assert len(await lane.places()) == 6


@pytest.mark.fault("clock jumps")
@pytest.mark.parametrize("catch_up", [0, 9])
async def test_what_was_claimed_while_a_clock_was_ahead_is_not_claimed_once_more(lane, catch_up):
    begin, options = lane.now, {"overlap": "allow", "catch_up": catch_up}
    await lane.claim_slot(begin, **options)
    ahead = begin + 10 * STEP
    lane.now = ahead
    await lane.claim_slot(ahead, **options)
    lane.now = begin + STEP
    await lane.claim_slot(lane.now, claim_ms=-1, **options)

    lane.now = ahead + 2 * STEP
    missed = [ahead - STEP, ahead, ahead + STEP]
    answer = await lane.claim_slot(lane.now, *missed, **options)

    assert (answer[0], answer[3]) == ("claimed", 0 if catch_up else 2)
    enqueued = [slot for slot, outcome in await history(lane) if outcome != "missed"]
    assert enqueued.count(ahead) == 1
    assert len(set(enqueued)) == len(enqueued)


@pytest.mark.fault("clock jumps")
async def test_a_slot_that_was_made_up_for_is_not_claimed_after_the_clock_went_back(lane):
    await lane.claim_slot(lane.now, overlap="allow")
    made_up, lane.now = lane.now + STEP, lane.now + 4 * STEP
    rows = [made_up, made_up + STEP, made_up + 2 * STEP]
    await lane.claim_slot(lane.now, *rows, overlap="allow", catch_up=9)

    lane.now = made_up + 1

    assert (await lane.claim_slot(made_up, overlap="allow", claim_ms=-1))[0] == "taken"


@pytest.mark.fault("clock jumps")
async def test_after_a_step_of_more_slots_than_are_known_the_new_time_counts_at_once(lane):
    begin = lane.now
    for _ in range(80):
        await lane.tick(lane.now, overlap="allow")
        lane.now += STEP

    lane.now = begin

    assert (await lane.claim_slot(begin, overlap="allow", claim_ms=-1))[0] == "claimed"
    lane.now = begin + 79 * STEP
    assert (await lane.claim_slot(lane.now, overlap="allow"))[0] == "taken", "it is known still"


@pytest.mark.fault("clock jumps")
async def test_what_was_claimed_far_ahead_is_known_when_its_time_comes(lane):
    begin, lane.now = lane.now, lane.now + 100 * STEP
    ahead = lane.now
    await lane.tick(ahead, overlap="allow")

    lane.now = begin
    await lane.claim_slot(lane.now, overlap="allow", claim_ms=-1)
    answers = []
    while lane.now < ahead + STEP:
        lane.now += STEP
        answers.append((await lane.tick(lane.now, overlap="allow"))[0])

    assert answers == ["enqueued"] * 99 + ["taken", "enqueued"]


@pytest.mark.fault("clock jumps")
async def test_the_task_of_a_clock_that_was_ahead_is_not_overlapped(lane):
    begin, lane.now = lane.now, lane.now + 10 * STEP
    _, ahead = await lane.tick(lane.now)

    lane.now = begin

    answer = await lane.claim_slot(begin, claim_ms=-1)
    assert answer[-2:] == ["skipped", ahead]


@pytest.mark.parametrize("catch_up", [0, 9])
@pytest.mark.parametrize("grace_ms", [0, 1])
async def test_an_entry_with_another_cadence_has_missed_none_of_its_slots(lane, catch_up, grace_ms):
    await lane.claim_slot(lane.now, cadence="every hour")
    missed, lane.now = [lane.now + STEP, lane.now + 2 * STEP], lane.now + 3 * STEP + 2
    slot = lane.now - 2

    answer = await lane.claim_slot(
        slot, *missed, between=300, cadence="every 5 s", catch_up=catch_up, grace_ms=grace_ms
    )

    assert (answer[0], answer[3]) == ("claimed", 0)
    assert len(await history(lane)) == (1 if grace_ms else 2)


async def test_an_entry_that_moved_and_has_another_cadence_has_missed_nothing(lane):
    await lane.claim_slot(lane.now, cadence="every 5 s")
    elsewhere, lane.now = lane.now + STEP, lane.now + 3 * STEP

    answer = await lane.claim_slot(
        lane.now, elsewhere + STEP, claim_ms=elsewhere, elsewhere_ms=elsewhere,
        elsewhere_cadence="every hour", cadence="every 5 s",
    )  # fmt: skip

    assert (answer[0], answer[3]) == ("claimed", 0)


@pytest.mark.parametrize("of", ["a release that kept no cadence", "nothing readable"])
async def test_what_was_missed_since_a_claim_of_unknown_cadence_counts(lane, of):
    await lane.claim_slot(lane.now, cadence="every hour")
    lane.now += STEP
    fields = ("check", f"{lane.now} x", *(("check:cadence", b"\xff") if "nothing" in of else ()))
    await lane.command("HSET", lane.keys.ticks, *fields)
    missed, lane.now = lane.now + STEP, lane.now + 2 * STEP

    assert (await lane.claim_slot(lane.now, missed, cadence="every 5 s"))[3] == 1


@pytest.mark.parametrize("text", [b"\xff", b"", b" ", b"x" * 100_000, b"1 2 3"])
async def test_a_list_of_slots_that_cannot_be_read_stops_nothing(lane, text):
    await lane.tick(lane.now)
    await lane.command("HSET", lane.keys.ticks, "check:earlier", text)
    lane.now += STEP

    assert (await lane.tick(lane.now, overlap="allow"))[0] == "enqueued"
