"""claim_slot.lua: a slot is one queue's only, and no jump of a clock silences an entry."""

import pytest

from duly.engine.storage import scripts
from duly.engine.storage.keys import entry_claim_key, queue_keys

STEP = 15_000


@pytest.fixture
def claim(lane):
    """Claim a slot for a queue; return (answer, last slot of another queue), or all of it."""

    async def claiming(queue, slot, *, now=None, interval=STEP, cadence="", whole=False):
        call = scripts.claim_slot(
            queue_keys(queue),
            entry="check",
            slot_ms=slot,
            next_ms=slot + interval,
            cadence=cadence,
            now_ms=slot if now is None else now,
        )
        now_ms, *told = await lane.store.run(call)
        assert now_ms == (slot if now is None else now)
        return told if whole else (told[0].decode(), int(told[1]))

    return claiming


async def test_while_replicas_differ_on_the_queue_each_slot_is_claimed_for_one(lane, claim):
    slots = [lane.now + step * STEP for step in range(6)]
    first = ["old", "new", "old", "old", "new", "new"]
    answers = []
    for slot, queue in zip(slots, first, strict=True):
        answers += [await claim(queue, slot), await claim({"old": "new"}.get(queue, "old"), slot)]

    assert [answer for answer, _ in answers] == ["claimed", "taken"] * 6
    elsewhere = [last for answer, last in answers if answer == "claimed"]
    assert elsewhere == [-1, slots[0], slots[1], slots[1], slots[3], slots[3]]


async def test_replicas_of_one_queue_may_all_claim_what_the_queue_decides(lane, claim):
    assert [await claim("old", lane.now) for _ in range(3)] == [("claimed", -1)] * 3


async def test_an_older_slot_is_taken(lane, claim):
    await claim("old", lane.now + STEP)

    assert await claim("old", lane.now, now=lane.now + STEP - 1) == ("taken", -1)


@pytest.mark.parametrize(("now", "answer"), [(-1, "early"), (0, "claimed"), (STEP, "late")])
async def test_a_slot_is_claimed_while_it_lasts(lane, claim, now, answer):
    assert (await claim("old", lane.now, now=lane.now + now))[0] == answer


@pytest.mark.parametrize("jump", [600_000, 86_400_000, 6_000])
async def test_a_clock_that_jumped_ahead_and_returned_silences_nothing(lane, claim, jump):
    await claim("old", lane.now + jump - jump % STEP + STEP)

    assert (await claim("old", lane.now))[0] == "claimed"
    assert (await claim("old", lane.now + STEP))[0] == "claimed"


async def test_clocks_that_differ_by_little_claim_no_slot_twice(lane, claim):
    assert (await claim("old", lane.now))[0] == "claimed"

    assert (await claim("new", lane.now - STEP, now=lane.now - 4_000))[0] == "taken"


@pytest.mark.parametrize(
    "field", ["slot", "queue", "elsewhere", "earlier", "cadence", "elsewhere-cadence"]
)
@pytest.mark.parametrize("value", ["garbage", "", "9" * 40, "-5"])
async def test_a_claim_that_cannot_be_read_stops_nothing(lane, claim, field, value):
    await lane.command("HSET", entry_claim_key("check"), field, value)

    assert await claim("old", lane.now) == ("claimed", -1)


async def test_claims_of_entries_that_are_gone_expire(lane, claim):
    await claim("old", lane.now)

    assert 0 < await lane.command("PTTL", entry_claim_key("check")) <= 30 * 86_400_000


@pytest.mark.parametrize("step", [12_000, 600_000])
async def test_a_slot_stays_one_queues_after_the_clock_went_back(lane, claim, step):
    hour = 3_600_000
    slots = [lane.now, lane.now + hour, lane.now + 2 * hour]
    for slot, queue in zip(slots, ("old", "new", "old"), strict=True):
        assert (await claim(queue, slot, interval=hour))[0] == "claimed"

    back = slots[2] - step
    assert (await claim("old", slots[1], now=back, interval=hour))[0] == "taken"
    assert (await claim("new", slots[1], now=back, interval=hour))[0] == "claimed"
    assert (await claim("new", slots[2], interval=hour))[0] == "taken"
    assert (await claim("old", slots[2], interval=hour))[0] == "claimed"


async def test_what_another_queue_claimed_while_a_clock_was_ahead_stays_its(lane, claim):
    ahead = lane.now + 10 * STEP
    await claim("old", ahead)
    assert (await claim("new", lane.now))[0] == "claimed"

    assert (await claim("new", ahead))[0] == "taken"
    assert (await claim("old", ahead))[0] == "claimed"


async def test_the_last_slot_of_another_queue_comes_with_its_cadence(lane, claim):
    await claim("old", lane.now, cadence="every hour")

    new = await claim("new", lane.now + STEP, cadence="every 5 s", whole=True)
    assert new == [b"claimed", str(lane.now).encode(), b"every hour"]
    await lane.command("HSET", entry_claim_key("check"), "elsewhere", lane.now + 1)
    again = await claim("new", lane.now + 2 * STEP, cadence="every 5 s", whole=True)
    assert again[2] == b"", "a release that keeps no cadence has claimed since"
