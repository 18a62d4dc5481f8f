"""tick.lua: what becomes of overlaps, of missed slots, and of the history; trigger.lua."""

import asyncio
from datetime import datetime

import pytest

from duly.cadence import Cron
from duly.clock import to_unix_ms
from duly.engine.maintenance.janitor import Janitor
from duly.engine.storage import scripts
from duly.engine.storage.decoding import text_map
from duly.engine.storage.scripts import Due

STEP = 5_000
HOUR = 3_600_000
GRACE = 60_000


async def history(lane, entry="check"):
    """Return (slot, outcome) of what was recorded, oldest first."""
    rows = await lane.command("XRANGE", lane.keys.tick_history(entry), "-", "+")
    fields = [text_map(fields) for _, fields in rows]
    return [(int(row["slot"]), row["outcome"].decode()) for row in fields]


async def counts(lane):
    """Return outcome → count of the entry."""
    found = await lane.map("ticks")
    names = ("enqueued", "skipped", "paused", "missed", "caught_up", "triggered")
    return {name: int(found[f"check:{name}"]) for name in names if f"check:{name}" in found}


class TestQueueOne:
    async def next(self, lane):
        outcome, task_id = await lane.tick(lane.now, overlap="queue_one")
        lane.now += STEP
        return outcome, task_id

    async def test_a_second_waits_behind_one_that_runs_and_a_third_is_skipped(self, lane):
        _, first = await self.next(lane)
        await lane.claim()

        outcome, second = await self.next(lane)
        assert outcome == "enqueued"
        assert await self.next(lane) == ("skipped", second)

        assert await lane.places() == {first: "active", second: "waiting"}

    async def test_nothing_is_added_while_the_first_has_not_begun(self, lane):
        _, first = await self.next(lane)

        assert await self.next(lane) == ("skipped", first)

    async def test_nothing_is_added_while_the_first_waits_for_its_retry(self, lane):
        _, first = await self.next(lane)
        (held,) = await lane.claim()
        await lane.end(held.stream_id, first, destination="retry", in_ms=60_000)

        assert await self.next(lane) == ("skipped", first)

    async def test_two_at_most_are_on_their_way_even_when_both_run(self, lane):
        await self.next(lane)
        await lane.claim()
        _, second = await self.next(lane)
        await lane.claim()

        assert await self.next(lane) == ("skipped", second)

    @pytest.mark.parametrize("ended", [0, 1])
    async def test_whichever_of_the_two_ends_makes_room_for_one(self, lane, ended):
        ids, held = [], []
        for _ in range(2):
            ids.append((await self.next(lane))[1])
            held += await lane.claim()
        await lane.finish((held[ended].stream_id, ids[ended]))

        outcome, third = await self.next(lane)
        assert outcome == "enqueued"
        assert (await self.next(lane))[0] == "skipped"
        await lane.claim()
        assert (await self.next(lane))[0] == "skipped"
        assert set(await lane.places()) == {ids[1 - ended], third}

    async def test_after_both_have_ended_it_begins_anew(self, lane):
        for _ in range(2):
            _, task_id = await self.next(lane)
            (held,) = await lane.claim()
            await lane.finish((held.stream_id, task_id))

        assert (await self.next(lane))[0] == "enqueued"


class TestCatchUp:
    """Slots that nobody claimed in time, of an interval: `missed` are three before `lane.now`."""

    async def outage(self, lane, **options):
        """Claim a slot, miss three, and claim the next; return the answer and those slots."""
        first = lane.now
        await lane.claim_slot(first, overlap="allow")
        (delivery,) = await lane.claim()
        await lane.finish((delivery.stream_id, f"check@{first}"))
        lane.now += 4 * STEP
        missed = [first + STEP, first + 2 * STEP, first + 3 * STEP]
        return await lane.claim_slot(lane.now, *missed, **options), missed

    async def test_skip_records_them_and_runs_the_slot_of_now(self, lane):
        answer, missed = await self.outage(lane)

        assert answer[3:] == [3, str(lane.now), "enqueued", f"check@{lane.now}"]
        assert list(await lane.places()) == [f"check@{lane.now}"]
        assert (await history(lane))[1:] == [
            *((slot, "missed") for slot in missed),
            (lane.now, "enqueued"),
        ]

    async def test_one_makes_up_for_the_newest(self, lane):
        _, missed = await self.outage(lane, catch_up=1, overlap="allow")

        assert list(await lane.places()) == [f"check@{missed[2]}", f"check@{lane.now}"]
        assert [outcome for _, outcome in await history(lane)][1:] == [
            *("missed", "missed", "caught_up", "enqueued"),
        ]
        assert await counts(lane) == {"enqueued": 2, "missed": 2, "caught_up": 1}

    async def test_one_counts_as_the_earlier_task_of_the_slot_of_now(self, lane):
        _, missed = await self.outage(lane, catch_up=1, overlap="skip")

        assert list(await lane.places()) == [f"check@{missed[2]}"]
        assert await counts(lane) == {"enqueued": 1, "missed": 2, "caught_up": 1, "skipped": 1}

    async def test_all_makes_up_for_each_up_to_its_limit(self, lane):
        _, missed = await self.outage(lane, catch_up=2, overlap="allow")

        assert list(await lane.places()) == [f"check@{at}" for at in (*missed[1:], lane.now)]
        assert await counts(lane) == {"enqueued": 2, "missed": 1, "caught_up": 2}

    async def test_what_is_not_listed_is_counted(self, lane):
        await self.outage(lane, catch_up=2, overlap="allow", between=1_000_000)

        assert (await counts(lane))["missed"] == 999_998

    async def test_while_paused_nothing_is_made_up_for(self, lane):
        await lane.command("HSET", lane.keys.ticks, "check:paused-since", 1)
        first = lane.now
        await lane.claim_slot(first)
        lane.now += 2 * STEP

        await lane.claim_slot(lane.now, first + STEP, catch_up=10, overlap="allow")

        assert await lane.places() == {}
        assert await counts(lane) == {"paused": 2, "missed": 1}

    async def test_two_replicas_make_up_for_a_slot_once(self, lane):
        first = lane.now
        await lane.claim_slot(first, overlap="allow")
        lane.now += 3 * STEP
        options = {"catch_up": 5, "overlap": "allow", "claim_ms": first}

        async with asyncio.TaskGroup() as group:
            asked = [
                group.create_task(
                    lane.claim_slot(lane.now, first + STEP, first + 2 * STEP, **options)
                )
                for _ in range(20)
            ]

        assert sorted(task.result()[0] for task in asked) == ["claimed"] + ["taken"] * 19
        assert len(await lane.places()) == 4
        assert await counts(lane) == {"enqueued": 2, "caught_up": 2}

    async def test_a_caller_who_does_not_know_the_last_claim_learns_it_and_changes_nothing(
        self, lane
    ):
        first = lane.now
        await lane.claim_slot(first)
        lane.now += 2 * STEP

        for belief in (-1, first - STEP):
            answer = await lane.claim_slot(lane.now, claim_ms=belief)
            assert answer == ["moved", str(first), f"check@{first}", 0]
        assert len(await lane.places()) == 1


class TestGrace:
    """A cron expression names an instant: who comes a minute late has missed it."""

    async def hourly(self, lane, late, **options):
        slot = lane.now // HOUR * HOUR
        lane.now = slot + late
        return slot, await lane.claim_slot(slot, interval=HOUR, grace_ms=GRACE, **options)

    @pytest.mark.parametrize("late", [0, GRACE - 1])
    async def test_within_the_grace_it_is_on_time(self, lane, late):
        slot, answer = await self.hourly(lane, late)

        assert answer[3:] == [0, str(slot), "enqueued", f"check@{slot}"]

    async def test_a_new_entry_whose_last_slot_is_past_begins_with_the_next(self, lane):
        slot, answer = await self.hourly(lane, GRACE)

        assert answer == ["claimed", str(slot), "", 0]
        assert await lane.places() == {}
        assert await history(lane) == []
        lane.now = slot + HOUR
        assert (await self.hourly(lane, 0))[1][4] is not None
        assert list(await lane.places()) == [f"check@{slot + HOUR}"]

    async def test_later_it_is_missed(self, lane):
        await self.hourly(lane, 0)
        lane.now += HOUR

        slot, answer = await self.hourly(lane, GRACE)

        assert answer == ["claimed", str(slot), f"check@{slot - HOUR}", 1]
        assert (await history(lane))[-1] == (slot, "missed")
        assert (await self.hourly(lane, GRACE))[1][0] == "taken"
        assert (await counts(lane))["missed"] == 1

    async def test_or_made_up_for(self, lane):
        await self.hourly(lane, 0)
        lane.now += HOUR

        slot, answer = await self.hourly(lane, GRACE, catch_up=1, overlap="allow")

        assert answer[3:] == [0, str(slot), "caught_up", f"check@{slot}"]

    async def test_with_those_before_it(self, lane):
        begin, _ = await self.hourly(lane, 0)
        lane.now += 3 * HOUR
        slot = begin + 3 * HOUR
        lane.now = slot + GRACE

        await lane.claim_slot(
            slot, begin + HOUR, begin + 2 * HOUR,
            interval=HOUR, grace_ms=GRACE, catch_up=2, overlap="allow",
        )  # fmt: skip

        assert (await history(lane))[1:] == [
            (begin + HOUR, "missed"),
            (begin + 2 * HOUR, "caught_up"),
            (slot, "caught_up"),
        ]


async def test_what_the_timetable_holds_ticks_without_a_task(lane):
    answer = await lane.claim_slot(lane.now, held=True)

    assert answer[3:] == [0, str(lane.now), "paused", ""]
    assert await lane.places() == {}


async def test_history_is_bounded_by_age_but_its_newest_tick_stays(lane):
    key = lane.keys.tick_history("check")
    for at in (1_000, lane.now - 8 * STEP, lane.now - STEP):
        row = ("slot", at, "outcome", "enqueued", "task", "t")
        await lane.command("XADD", key, f"{at}-0", *row)

    await lane.claim_slot(lane.now, kept_ms=4 * STEP)

    assert [slot for slot, _ in await history(lane)] == [lane.now - STEP, lane.now]


async def test_a_claim_of_the_day_after_tomorrow_is_not_believed(lane):
    await lane.command("HSET", lane.keys.ticks, "check", f"{lane.now + 2 * 86_400_000} x")

    assert (await lane.claim_slot(lane.now, claim_ms=-1))[0] == "claimed"


async def test_a_trigger_is_recorded_beside_the_ticks_and_repeats_nothing(lane):
    await lane.tick(lane.now)
    call = scripts.trigger(
        lane.keys, entry="check", task_id="by-hand", data=lane.message("by-hand"), now_ms=lane.now
    )

    assert [await lane.store.run(call), await lane.store.run(call)] == [1, 0]

    assert await lane.places() == {f"check@{lane.now}": "waiting", "by-hand": "waiting"}
    assert await history(lane) == [(lane.now, "enqueued"), (lane.now, "triggered")]
    assert (await counts(lane))["triggered"] == 1
    assert await lane.tick(lane.now) == ("taken", f"check@{lane.now}")


async def test_every_policy_works_on_every_shape_of_broker(any_lane):
    lane = any_lane
    first = lane.now
    await lane.claim_slot(first, overlap="queue_one")
    await lane.claim()
    lane.now += 2 * STEP

    await lane.claim_slot(lane.now, first + STEP, overlap="queue_one", catch_up=1)

    assert list((await lane.places()).values()) == ["active", "waiting"]
    assert await counts(lane) == {"enqueued": 1, "caught_up": 1, "skipped": 1}


def test_a_slot_without_a_task_is_only_recorded():
    assert Due(5) == Due(5, "", b"")


async def test_what_is_left_of_entries_long_gone_is_forgotten(lane):
    now, day = lane.store.now_ms(), 86_400_000
    await lane.tick(lane.now)
    await lane.command("DEL", lane.keys.ticks)
    left = {"old": f"{now - 40 * day} t", "old:enqueued": 3, "late": f"{now - 9 * day} t"}
    left |= {"late:missed": 2, "odd:paused-since": 1}
    await lane.command("HSET", lane.keys.ticks, *(part for pair in left.items() for part in pair))

    await Janitor(lane.store, lane.keys.name).run_once()

    assert set(await lane.map("ticks")) == {"late", "late:missed"}


async def test_the_history_of_an_entry_that_nobody_announces_runs_out_unless_it_comes_back(lane):
    await lane.tick(lane.now)
    row = b'{"kind":"k","interval_ms":1000,"overlap":"skip","announced_ms":1}'
    await lane.command("HSET", lane.keys.entries, "check", row)

    await Janitor(lane.store, lane.keys.name).run_once()

    assert await lane.command("HLEN", lane.keys.entries) == 0
    assert await lane.command("PTTL", lane.keys.tick_history("check")) > 0
    lane.now += STEP
    await lane.tick(lane.now)
    assert await lane.command("PTTL", lane.keys.tick_history("check")) == -1


@pytest.mark.parametrize("expression", ["30 2 * * *", "*/30 2 * * *", "0 1-3 * * *", "@hourly"])
@pytest.mark.parametrize(
    ("zone", "midnight"),
    [
        pytest.param("Europe/Berlin", "2026-03-29T00:00+01:00", id="Berlin, spring"),
        pytest.param("Europe/Berlin", "2026-10-25T00:00+02:00", id="Berlin, autumn"),
        pytest.param("America/New_York", "2026-03-08T00:00-05:00", id="New York, spring"),
        pytest.param("America/New_York", "2026-11-01T00:00-04:00", id="New York, autumn"),
    ],
)
async def test_while_clocks_change_each_slot_becomes_one_task(lane, expression, zone, midnight):
    """Two replicas look every ten minutes, from midnight until noon; one of them has forgotten."""
    cron = Cron(expression, zone)
    begin = to_unix_ms(datetime.fromisoformat(midnight))
    lane.now = begin - 1
    await lane.claim_slot(
        cron.around(lane.now)[0], next_ms=begin * 2, grace_ms=1, claim_ms=-1, overlap="allow"
    )
    for step in range(73):
        lane.now = begin + step * 600_000
        slot, following = cron.around(lane.now)
        options = {"next_ms": following, "grace_ms": cron.grace_ms, "overlap": "allow"}
        answers = [await lane.claim_slot(slot, **options) for _ in range(2)]
        assert answers[1][0] == "taken"
        assert (await lane.claim_slot(slot, claim_ms=-1, **options))[0] == "taken"

    expected = [slot for slot in cron.after(begin - 1, 50) if slot <= lane.now]
    assert [slot for slot, _ in await history(lane)] == expected
    assert set(await lane.places()) == {f"check@{slot}" for slot in expected}
