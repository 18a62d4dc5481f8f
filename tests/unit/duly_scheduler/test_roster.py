import asyncio
import io
from datetime import timedelta

import pytest

from duly.jobs import CheckPendingOrders
from duly.runtime import logs
from duly.runtime.metrics import SchedulerMetrics, new_registry
from duly.runtime.settings import LogSettings
from duly.schedule import Entry
from duly_scheduler.roster import Roster


def entry(name, seconds=5, **options):
    job, interval = CheckPendingOrders(), timedelta(seconds=seconds)
    return Entry(id=name, job=job, interval=interval, **options)


FIXED = entry("fixed")


class Told:
    """Stands for `Ticks`: keeps what the inspector would be told."""

    def __init__(self):
        self.announced, self.withdrawn = [], []

    async def announce(self, entries):
        self.announced += [one.id for one in entries]

    async def withdraw(self, entries):
        self.withdrawn += [(one.target, one.id) for one in entries]


class Bench:
    """A roster with a provider that says what a test puts into `provided`."""

    def __init__(self, group):
        self.provided = ()
        self.running = {}
        self.told = Told()
        self.metrics = SchedulerMetrics(new_registry("scheduler"))

        async def provider():
            if isinstance(self.provided, Exception):
                raise self.provided
            return self.provided

        async def tick(one):
            self.running[one.id] = self.running.get(one.id, 0) + 1
            try:
                await asyncio.Event().wait()
            finally:
                self.running[one.id] -= 1

        self.roster = Roster(
            (FIXED,),
            provider,
            ticks=self.told,
            start=lambda one: group.create_task(tick(one)),
            queues={"default", "low"},
            metrics=self.metrics,
        )
        self.roster.begin()

    async def turn(self, *provided):
        """Let the provider say something; return what is ticked then."""
        self.provided = provided
        await self.roster.turn()
        await asyncio.sleep(0)
        return sorted(name for name, count in self.running.items() if count)

    def failures(self):
        return self.metrics.provider_errors._value.get()


@pytest.fixture
def log():
    stream = io.StringIO()
    logs.configure(LogSettings(level="INFO"), service="scheduler", stream=stream)
    return lambda: [line.split(maxsplit=1)[1] for line in stream.getvalue().splitlines()]


@pytest.fixture
async def bench(log):
    async with asyncio.TaskGroup() as group:
        made = Bench(group)
        yield made
        await made.turn()
        made.roster._fixed = ()
        await made.turn()


async def test_what_the_provider_says_is_ticked_beside_the_timetable(bench, log):
    assert await bench.turn(entry("a"), entry("b")) == ["a", "b", "fixed"]
    assert await bench.turn(entry("b")) == ["b", "fixed"]
    assert await bench.turn() == ["fixed"]

    assert bench.told.announced == ["a", "b"]
    assert bench.told.withdrawn == [("default", "a"), ("default", "b")]
    assert log() == [
        "INFO  Entries changed added=a,b",
        "INFO  Entries changed removed=a",
        "INFO  Entries changed removed=b",
    ]


async def test_what_stays_the_same_is_left_alone(bench):
    await bench.turn(entry("a"))
    (before,) = [task for one, task in bench.roster._ticking.values() if one.id == "a"]

    await bench.turn(entry("a"), entry("b"))

    assert bench.roster._ticking["a"][1] is before
    assert bench.told.announced == ["a", "b"]


async def test_an_entry_that_has_changed_is_ticked_anew_and_stays_known(bench, log):
    await bench.turn(entry("a"))

    assert await bench.turn(entry("a", seconds=7)) == ["a", "fixed"]

    assert bench.running["a"] == 1
    assert (bench.told.announced, bench.told.withdrawn) == (["a", "a"], [])
    assert log()[-1] == "INFO  Entries changed changed=a"


async def test_an_entry_that_moves_to_another_queue_is_withdrawn_from_the_old_one(bench):
    await bench.turn(entry("a"))
    await bench.turn(entry("a", queue="low"))

    assert bench.told.withdrawn == [("default", "a")]


@pytest.mark.parametrize(
    ("provided", "why"),
    [
        pytest.param(OSError("gone"), "OSError('gone')", id="fails"),
        pytest.param((entry("fixed"),), "there are two of this id", id="takes a fixed one's id"),
        pytest.param((entry("x", queue="nope"),), "there is no queue 'nope'", id="no queue"),
        pytest.param((entry("x", seconds=0),), "whole seconds", id="never due"),
    ],
)
async def test_a_provider_that_fails_leaves_the_last_entries_and_is_told_once(
    bench, log, provided, why
):
    await bench.turn(entry("a"))
    for _ in range(3):
        bench.provided = provided
        await bench.roster.turn()
    assert await bench.turn(entry("a"), entry("b")) == ["a", "b", "fixed"]

    assert bench.failures() == 3
    (error,) = [line for line in log() if line.startswith("ERROR")]
    assert "Entries can not be read, going on with the last ones" in error
    assert why in error
    assert "INFO  Entries can be read again" in log()


async def test_every_entry_is_announced_again_and_again(bench):
    await bench.turn(entry("a"))
    bench.told.announced.clear()

    await bench.roster.announce()

    assert bench.told.announced == ["fixed", "a"]
