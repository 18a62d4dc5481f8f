import asyncio
import io
from datetime import timedelta

import pytest

from duly.errors import ConfigError
from duly.jobs import CheckPendingOrders
from duly.runtime import logs
from duly.runtime.metrics import SchedulerMetrics, new_registry
from duly.runtime.settings import DEFAULT_QUEUES, LogSettings
from duly.schedule import Entry
from duly_scheduler.entry_supervisor import EntrySupervisor, checked


def entry(name, seconds=5, **options):
    job, interval = CheckPendingOrders(), timedelta(seconds=seconds)
    return Entry(id=name, job=job, interval=interval, **options)


FIXED = entry("fixed")


class Announcements:
    """Replaces `Ticks`: records what is announced and withdrawn."""

    def __init__(self):
        self.announced, self.withdrawn, self.kinds = [], [], []

    async def announce(self, entries):
        self.announced += [one.id for one in entries]

    async def publish_kinds(self, entries):
        self.kinds += [one.job.kind for one in entries]

    async def withdraw(self, entries):
        self.withdrawn += [(one.target, one.id) for one in entries]


class Bench:
    """A entry_supervisor with a provider that says what a test puts into `provided`."""

    def __init__(self, group):
        self.provided = ()
        self.running = {}
        self.announcements = Announcements()
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

        self.entry_supervisor = EntrySupervisor(
            (FIXED,),
            provider,
            ticks=self.announcements,
            start=lambda one: group.create_task(tick(one)),
            queues={"default", "low"},
            metrics=self.metrics,
        )
        self.entry_supervisor.begin()

    async def run_once(self, *provided):
        """Let the provider say something; return what is ticked then."""
        self.provided = provided
        await self.entry_supervisor.run_once()
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
        await made.run_once()
        made.entry_supervisor._fixed = ()
        await made.run_once()


async def test_provided_entries_tick_beside_the_timetable(bench, log):
    assert await bench.run_once(entry("a"), entry("b")) == ["a", "b", "fixed"]
    assert await bench.run_once(entry("b")) == ["b", "fixed"]
    assert await bench.run_once() == ["fixed"]

    assert bench.announcements.announced == ["a", "b"]
    assert bench.announcements.withdrawn == [("default", "a"), ("default", "b")]
    assert log() == [
        "INFO  Entries changed added=a,b",
        "INFO  Entries changed removed=a",
        "INFO  Entries changed removed=b",
    ]


async def test_nothing_is_said_any_more_of_the_skips_of_an_entry_that_is_gone(bench):
    await bench.run_once(entry("a"))
    bench.metrics.set_skipped_in_a_row("a", 5)

    await bench.run_once()

    (family,) = bench.metrics.skipped_in_a_row.collect()
    assert not family.samples


async def test_an_unchanged_entry_is_not_restarted(bench):
    await bench.run_once(entry("a"))
    (before,) = [task for one, task in bench.entry_supervisor._ticking.values() if one.id == "a"]

    await bench.run_once(entry("a"), entry("b"))

    assert bench.entry_supervisor._ticking["a"][1] is before
    assert bench.announcements.announced == ["a", "b"]


async def test_a_changed_entry_is_restarted_and_stays_listed(bench, log):
    await bench.run_once(entry("a"))

    assert await bench.run_once(entry("a", seconds=7)) == ["a", "fixed"]

    assert bench.running["a"] == 1
    assert (bench.announcements.announced, bench.announcements.withdrawn) == (["a", "a"], [])
    assert log()[-1] == "INFO  Entries changed changed=a"


async def test_an_entry_that_moves_to_another_queue_is_withdrawn_from_the_old_one(bench):
    await bench.run_once(entry("a"))
    await bench.run_once(entry("a", queue="low"))

    assert bench.announcements.withdrawn == [("default", "a")]


@pytest.mark.parametrize(
    ("provided", "why"),
    [
        pytest.param(OSError("gone"), "OSError('gone')", id="fails"),
        pytest.param((entry("fixed"),), "is defined twice", id="takes a fixed one's id"),
        pytest.param((entry("x", queue="nope"),), "there is no queue 'nope'", id="no queue"),
        pytest.param((entry("x", seconds=0),), "whole seconds", id="never due"),
    ],
)
async def test_a_failing_provider_keeps_the_last_entries_and_is_logged_once(
    bench, log, provided, why
):
    await bench.run_once(entry("a"))
    for _ in range(3):
        bench.provided = provided
        await bench.entry_supervisor.run_once()
    assert await bench.run_once(entry("a"), entry("b")) == ["a", "b", "fixed"]

    assert bench.failures() == 3
    (error,) = [line for line in log() if line.startswith("ERROR")]
    assert "Entries unreadable, keeping the previous ones" in error
    assert why in error
    assert "INFO  Entries readable again" in log()


async def test_every_entry_is_announced_repeatedly(bench):
    await bench.run_once(entry("a"))
    bench.announcements.announced.clear()

    await bench.entry_supervisor.announce()

    assert bench.announcements.announced == ["fixed", "a"]
    assert len(bench.announcements.kinds) == 2


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        pytest.param([entry("a"), entry("a")], "entry a: is defined twice", id="one id twice"),
        pytest.param([entry("a", 0)], "whole seconds", id="no interval"),
        pytest.param([entry("a", 1.5)], "whole seconds", id="half"),
        pytest.param([entry("a", queue="gone")], "no queue 'gone' (declare it as", id="no queue"),
    ],
)
def test_an_entry_that_cannot_be_scheduled_is_refused(entries, expected):
    with pytest.raises(ConfigError) as caught:
        checked(tuple(entries), DEFAULT_QUEUES)

    assert expected in str(caught.value)
