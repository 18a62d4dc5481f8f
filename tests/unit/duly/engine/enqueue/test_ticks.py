import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from duly.clock import to_unix_ms
from duly.engine.enqueue.ticks import Ticks
from duly.engine.storage.keys import entry_claim_key, queue_keys
from duly.engine.storage.reports import TickOutcome
from duly.engine.storage.store import Store
from duly.engine.transport.connection import Connection
from duly.errors import DuplicateTaskError, InvalidPayloadError, NotFoundError
from duly.job import Job, Policy
from duly.schedule import CatchUp, Entry, Overlap
from duly.task import SLOT_HEADER, TaskState
from duly.testing.clock import FrozenClock
from duly.testing.waiting import until

HOUR = timedelta(hours=1)
KEYS = queue_keys("default")


class Report(Job, kind="report"):
    pass


class Amount(Job, kind="amount"):
    amount: float


class Brief(Job, kind="brief", policy=Policy(lifetime=timedelta(minutes=5))):
    pass


def entry(**changes):
    options = {"id": "e", "job": Report(), "interval": HOUR, "overlap": Overlap.ALLOW} | changes
    return Entry(**options)


YEARLY = {"interval": None, "cron": "@yearly", "timezone": "Europe/Berlin"}


@pytest.fixture
async def replicas(broker_settings):
    """Five schedulers, each with a connection of its own."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Ticks.connect(broker_settings)) for _ in range(5)]


async def outage(broker, slot, *, of="e"):
    """Make it so that nobody has ticked since a slot."""
    async with Connection.open(broker) as connection:
        await connection.command("HSET", KEYS.ticks, of, f"{to_unix_ms(slot)} {of}@then")


async def all_at_once(replicas, one):
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(ticks.tick(one)) for ticks in replicas]
    return [task.result() for task in asked]


async def this_hour():
    """Return when this hour began; not in its last seconds, lest the test end in the next one."""
    await until(lambda: datetime.now(UTC).strftime("%M:%S") < "59:30")
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


@pytest.mark.fault("scheduler down")
async def test_replicas_make_up_for_each_missed_slot_once(broker_settings, replicas, inspector):
    one, now = entry(catch_up=CatchUp.ALL, catch_up_limit=3), await this_hour()
    await outage(broker_settings, now - 6 * HOUR)

    turns = await all_at_once(replicas, one)

    ticked = [(report.slot, report.outcome) for turn in turns for report in turn.reports]
    assert ticked == [
        *((now - back * HOUR, TickOutcome.CAUGHT_UP) for back in (3, 2, 1)),
        (now, TickOutcome.ENQUEUED),
    ]
    assert sum(turn.missed for turn in turns) == 2
    tasks = (await inspector.tasks.list("default", TaskState.WAITING, newest=False)).tasks
    assert [task.id for task in tasks] == [f"e@{slot:%Y-%m-%dT%H:%M:%SZ}" for slot, _ in ticked]


@pytest.mark.fault("scheduler down")
async def test_an_instant_that_is_past_is_missed_unless_it_is_made_up_for(
    broker_settings, replicas
):
    (lost, saved), year = (entry(**YEARLY), entry(id="s", catch_up=CatchUp.ONE, **YEARLY)), 2020
    for one in (lost, saved):
        await outage(broker_settings, datetime(year, 6, 1, tzinfo=UTC), of=one.id)

    missed, caught = [
        max(await all_at_once(replicas, one), key=lambda turn: turn.missed) for one in (lost, saved)
    ]

    years = datetime.now(ZoneInfo("Europe/Berlin")).year - year
    assert (missed.missed, missed.reports) == (years, ())
    assert caught.missed == years - 1
    (report,) = caught.reports
    assert report.outcome is TickOutcome.CAUGHT_UP
    assert report.slot.astimezone(UTC).strftime("%m-%d %H:%M") == "12-31 23:00"


async def test_one_replica_claims_a_slot_and_the_others_learn_that_it_is_taken(replicas):
    slot = await this_hour()

    results = await all_at_once(replicas, entry())

    (report,) = [report for result in results for report in result.reports]
    assert report.slot == slot
    assert sorted(str(result.taken) for result in results) == [*[str(slot)] * 4, "None"]


async def test_a_new_instant_is_waited_for_a_minute_at_most(replicas, inspector):
    turn = await replicas[0].tick(entry(**YEARLY))

    assert (turn.reports, turn.missed) == ((), 0)
    assert turn.wait == timedelta(minutes=1)
    with pytest.raises(NotFoundError):
        await inspector.tasks.find("e@2026-01-01T00:00:00Z")


async def test_what_is_made_up_for_has_its_whole_lifetime(broker_settings, replicas, inspector):
    one, now = entry(job=Brief(), catch_up=CatchUp.ONE), await this_hour()
    await outage(broker_settings, now - 3 * HOUR)

    turn = await replicas[0].tick(one)

    task = await inspector.tasks.find(turn.reports[0].task_id)
    expected = (datetime.now(UTC) + timedelta(minutes=5)).timestamp()
    assert task.labels["deadline_ms"] / 1000 == pytest.approx(expected, abs=30)


async def test_a_tick_tells_its_task_when_the_next_one_is_due(broker_settings, replicas, inspector):
    one, now = entry(catch_up=CatchUp.ALL), await this_hour()
    await outage(broker_settings, now - 3 * HOUR)

    turn = await replicas[0].tick(one)

    for report in turn.reports:
        task = await inspector.tasks.find(report.task_id)
        slot, following = task.labels["headers"][SLOT_HEADER].split()
        assert int(slot) == report.slot.timestamp() * 1000
        assert int(following) == (report.slot + HOUR).timestamp() * 1000
    assert len(turn.reports) > 1


@pytest.mark.fault("clock jumps")
@pytest.mark.parametrize("off", [timedelta(days=3), timedelta(days=-3)])
async def test_slots_go_by_the_brokers_clock_however_far_off_this_machines_is(broker_settings, off):
    async with Connection.open(broker_settings) as connection:
        clock = FrozenClock(datetime.now(UTC) + off)
        ticks, one = Ticks(Store(connection, clock)), entry(interval=timedelta(seconds=1))
        before = (await ticks.tick(one)).reports
        clock.advance(timedelta(days=1).total_seconds())

        after = await ticks.tick(one)

    assert before
    for report in (*before, *after.reports):
        assert abs(report.slot - datetime.now(UTC)) < timedelta(minutes=1)
    assert after.wait <= timedelta(seconds=1)


async def test_a_broker_that_lost_its_data_begins_anew(broker_settings, replicas):
    await replicas[0].tick(entry())
    async with Connection.open(broker_settings) as connection:
        await connection.command("DEL", KEYS.ticks, KEYS.index, KEYS.stream)

    turn = await replicas[0].tick(entry())

    assert [report.outcome for report in turn.reports] == [TickOutcome.ENQUEUED]
    assert turn.missed == 0


async def test_what_is_announced_is_described_and_what_is_withdrawn_is_gone(replicas, inspector):
    one = entry(**YEARLY, catch_up=CatchUp.ONE, paused=True)
    await replicas[0].announce([one])

    (report,) = await inspector.schedules.list()

    assert report.description == "At 00:00 on January 1 (Europe/Berlin)"
    assert (report.interval, report.cron, report.timezone) == (None, "@yearly", "Europe/Berlin")
    assert (report.overlap, report.catch_up, report.held) == ("allow", "one", True)
    assert len(set(report.next_slots)) == 5
    assert report.next_slot == report.next_slots[0] > datetime.now(UTC)

    await replicas[0].withdraw([one])
    await replicas[0].withdraw([one])

    assert await inspector.schedules.list() == []


async def test_a_slot_that_nobody_claims_is_shown_as_overdue(broker_settings, replicas, inspector):
    now = await this_hour()
    await replicas[0].announce([entry()])
    await outage(broker_settings, now - 2 * HOUR)

    (report,) = await inspector.schedules.list()
    assert report.next_slot == now - HOUR
    assert report.next_slots[0] == now + HOUR


@pytest.mark.parametrize(
    "described",
    [
        b'{"kind":"k","interval_ms":0,"overlap":"skip","announced_ms":1}',
        b'{"kind":"k","interval_ms":0,"cron":"61 * * * *","overlap":"skip","announced_ms":1}',
        b'{"kind":"k","interval_ms":9223372036854775807,"overlap":"skip","announced_ms":1}',
        b'{"kind":"k","interval_ms":0,"cron":"@daily","timezone":"../x","overlap":"","announced_ms":1}',
    ],
)
async def test_a_description_that_makes_no_sense_is_passed_over(
    broker_settings, replicas, inspector, described
):
    await replicas[0].announce([entry()])
    async with Connection.open(broker_settings) as connection:
        await connection.command("HSET", KEYS.entries, "odd", described)

    assert [report.id for report in await inspector.schedules.list()] == ["e"]


async def test_an_entry_that_moves_to_another_queue_ticks_each_slot_once(replicas, inspector):
    now = await this_hour()
    old = entry(catch_up=CatchUp.ALL, queue="old")
    new = entry(catch_up=CatchUp.ALL, queue="new")

    turns = [await ticks.tick(one) for ticks in replicas for one in (old, new, old)]

    (report,) = [report for turn in turns for report in turn.reports]
    assert (report.slot, report.outcome) == (now, TickOutcome.ENQUEUED)
    assert [queue.waiting for queue in await inspector.queues.list()] == [0, 1]


class Unique(Job, kind="unique", policy=Policy(unique_for=HOUR)):
    pass


async def test_ticks_of_a_unique_job_are_skipped_while_another_task_holds_its_lock(
    broker_settings, replicas, client, inspector
):
    now = await this_hour()
    one = entry(job=Unique(), catch_up=CatchUp.ALL)
    await outage(broker_settings, now - 3 * HOUR)
    await client.enqueue(Unique(), task_id="by-hand")

    turn = await replicas[0].tick(one)

    assert [report.outcome for report in turn.reports] == [TickOutcome.SKIPPED] * 3
    assert {report.task_id for report in turn.reports} == {"by-hand"}
    assert (await inspector.queues.get("default")).waiting == 1


async def test_a_tick_of_a_unique_job_holds_the_lock(replicas, client):
    await this_hour()
    await replicas[0].tick(entry(job=Unique()))

    with pytest.raises(DuplicateTaskError):
        await client.enqueue(Unique())


@pytest.mark.parametrize("queue", ["default", "other"])
@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"interval": timedelta(seconds=10)}, id="another interval"),
        pytest.param({"interval": None, "cron": "* * * * *"}, id="an interval, then cron"),
    ],
)
async def test_an_entry_whose_cadence_changes_has_not_missed_slots_that_it_never_had(
    broker_settings, replicas, inspector, queue, changed
):
    await replicas[0].tick(entry())
    async with Connection.open(broker_settings) as connection:
        slot_ms = to_unix_ms(await this_hour() - 3 * HOUR)
        cadence = f"{slot_ms} every 3600 s"
        kept, claimed = ("e", f"{slot_ms} t", "e:cadence"), ("slot", slot_ms, "cadence")
        await connection.command("HSET", KEYS.ticks, *kept, cadence)
        await connection.command("HSET", entry_claim_key("e"), *claimed, cadence)

    turns = [
        await ticks.tick(entry(catch_up=CatchUp.ALL, queue=queue, **changed)) for ticks in replicas
    ]

    assert sum(turn.missed for turn in turns) == 0
    slots = [report.slot for turn in turns for report in turn.reports]
    # A slot may begin between the two replicas.
    assert len(set(slots)) == len(slots) <= 2
    assert all(slot > datetime.now(UTC) - timedelta(minutes=3) for slot in slots)
    assert sum(queue.waiting for queue in await inspector.queues.list()) <= 1 + len(slots)


async def test_an_entry_that_cannot_be_announced_hides_no_other(replicas, inspector):
    bad = entry(id="bad", job=Amount(amount=float("inf")))

    with pytest.raises(InvalidPayloadError, match="amount"):
        await replicas[0].announce([bad, entry(id="good")])

    assert [one.id for one in await inspector.schedules.list()] == ["good"]


@pytest.mark.parametrize(
    ("place", "unmet"),
    [(None, False), ("completed", False), ("archived", True), ("retry", True), ("1-0", True)],
)
async def test_a_slot_whose_task_has_not_succeeded_is_told_with_the_next(
    broker_settings, store, place, unmet
):
    one = entry(interval=timedelta(seconds=1))
    async with Ticks.connect(broker_settings) as ticks:

        async def next_tick():
            result = await ticks.tick(one)
            return result if result.reports else None

        first = await until(next_tick)
        (report,) = first.reports
        if place is None:
            await store.connection.command("HDEL", KEYS.index, report.task_id)
        else:
            await store.connection.command("HSET", KEYS.index, report.task_id, place)
        second = await until(next_tick)

    assert first.unmet is False
    assert second.unmet is unmet


async def test_of_several_replicas_one_tells_that_a_slot_was_not_met(replicas, store):
    one = entry(interval=timedelta(seconds=2))
    told = []

    async def next_slot():
        found = await all_at_once(replicas, one)
        told.extend(result.unmet for result in found)
        return [report for result in found for report in result.reports]

    for _ in range(3):
        await until(next_slot)

    assert sum(told) == 2
