import io
from datetime import UTC, datetime, timedelta

import pytest

from duly.engine.enqueue.ticks import TickResult
from duly.engine.storage.reports import TickOutcome, TickReport
from duly.errors import BrokerDownError
from duly.jobs import CheckPendingOrders
from duly.runtime import logs
from duly.runtime.metrics import SchedulerMetrics, new_registry
from duly.runtime.settings import LogSettings
from duly.schedule import Entry
from duly_scheduler.ticker import Ticker

ENTRY = Entry(id="check", job=CheckPendingOrders(), interval=timedelta(seconds=5))
SLOT = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
LEFT = timedelta(seconds=4)


class FakeTicks:
    """Claims a slot a call with the outcomes it was given; None: another replica had it.

    `again` stands for the slot of the call before.
    """

    def __init__(self, *outcomes):
        self.outcomes = list(outcomes)
        self.asked = []
        self.missed, self.unmet = 0, False
        self.slot = SLOT - ENTRY.interval

    async def tick(self, entry):
        self.asked.append(entry)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        if outcome == "again":
            return TickResult(wait=LEFT, taken=self.slot)
        self.slot += ENTRY.interval
        if outcome is None:
            return TickResult(wait=LEFT, missed=self.missed, taken=self.slot)
        report = TickReport(
            entry=entry.id,
            slot=self.slot,
            outcome=outcome,
            task_id="t1",
            at=self.slot + timedelta(milliseconds=20),
        )
        return TickResult(wait=LEFT, reports=(report,), unmet=self.unmet)


@pytest.fixture
def log():
    stream = io.StringIO()
    logs.configure(LogSettings(level="DEBUG"), service="scheduler", stream=stream)
    return lambda: [line.split(maxsplit=1)[1] for line in stream.getvalue().splitlines()]


def ticker(*outcomes, chance=0.0):
    metrics = SchedulerMetrics(new_registry("scheduler"))
    client = FakeTicks(*outcomes)
    return Ticker(client, ENTRY, metrics, chance=lambda: chance), client, metrics


def count(metrics, outcome):
    return metrics.ticks.labels("check", outcome)._value.get()


async def test_a_claimed_tick_is_counted_and_logged_at_debug(log):
    one, client, metrics = ticker(TickOutcome.ENQUEUED)

    await one.run_once()

    assert client.asked == [ENTRY]
    assert count(metrics, "enqueued") == 1
    assert metrics.lag.labels("check")._sum.get() == pytest.approx(0.02)
    assert log() == [
        "DEBUG Tick enqueued entry=check slot=2026-11-25T03:00:00+00:00 task_id=t1 lag_seconds=0.02"
    ]


@pytest.mark.parametrize("chance", [0.0, 0.999])
async def test_it_waits_until_just_after_the_next_slot_begins(log, chance):
    one, _, _ = ticker(None, chance=chance)

    rest = await one.run_once()

    assert timedelta(0) < rest - LEFT < timedelta(milliseconds=10)


async def test_what_another_replica_claimed_is_not_counted(log):
    one, _, metrics = ticker(None)

    await one.run_once()

    assert count(metrics, "enqueued") == 0
    assert log() == []


async def test_the_third_skip_in_a_row_is_a_warning(log):
    skip = TickOutcome.SKIPPED
    one, _, metrics = ticker(skip, skip, skip, skip, TickOutcome.ENQUEUED, skip)

    in_a_row = []
    for _ in range(6):
        await one.run_once()
        in_a_row.append(metrics.skipped_in_a_row.labels("check")._value.get())

    assert count(metrics, "skipped") == 5
    assert in_a_row == [1, 2, 3, 4, 0, 1]
    assert [line.split()[0] for line in log()] == [
        "DEBUG",
        "DEBUG",
        "WARNING",
        "WARNING",
        "DEBUG",
        "DEBUG",
    ]
    assert log()[2].endswith("in_a_row=3")


def said(metrics):
    """Give what is exported of skips in a row, by entry."""
    (family,) = metrics.skipped_in_a_row.collect()
    return {sample.labels["entry"]: sample.value for sample in family.samples}


async def test_a_replica_that_claims_none_of_three_slots_says_nothing_of_skips():
    skip, other = TickOutcome.SKIPPED, None
    one, _, metrics = ticker(other, TickOutcome.ENQUEUED, other, other, other, skip, other, other)

    exported = []
    for _ in range(8):
        await one.run_once()
        exported.append(said(metrics).get("check"))

    assert exported == [None, 0, 0, 0, None, 1, 1, 1]


async def test_a_slot_that_is_looked_at_again_is_nobody_elses():
    one, _, metrics = ticker(TickOutcome.SKIPPED, *["again"] * 5)

    for _ in range(6):
        await one.run_once()

    assert said(metrics) == {"check": 1}


async def test_a_caught_up_tick_is_counted_but_not_in_the_lag(log):
    one, _, metrics = ticker(TickOutcome.CAUGHT_UP)

    await one.run_once()

    assert count(metrics, "caught_up") == 1
    assert metrics.lag.labels("check")._sum.get() == 0
    assert log()[0].startswith("DEBUG Tick caught up entry=check")


async def test_missed_ticks_are_counted_and_logged_as_a_warning(log):
    one, client, metrics = ticker(None)
    client.missed = 4

    await one.run_once()

    assert count(metrics, "missed") == 4
    assert log() == ["WARNING Ticks missed entry=check count=4"]


async def test_a_broker_error_is_raised_to_the_loop(log):
    one, _, _ = ticker(BrokerDownError("valkey:6379"))

    with pytest.raises(BrokerDownError):
        await one.run_once()


async def test_a_tick_that_was_not_met_is_counted_from_zero_on():
    one, client, metrics = ticker(TickOutcome.ENQUEUED, TickOutcome.ENQUEUED)
    unmet = metrics.unmet.labels("check")._value

    await one.run_once()
    assert unmet.get() == 0
    client.unmet = True
    await one.run_once()

    assert unmet.get() == 1
