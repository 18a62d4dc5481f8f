"""What ended or stands still is named, and why, by whichever thread asks."""

import asyncio
import io
import threading
from datetime import timedelta

import pytest

from duly.runtime import logs, service, supervision
from duly.runtime.settings import LogSettings
from duly.runtime.supervision import Supervisor
from duly.testing.clock import FrozenClock

SOON = timedelta(milliseconds=1)


class ForeignError(BaseException):
    """Neither an Exception nor one of those that Python itself ends loops by."""


class MuteError(Exception):
    def __str__(self):
        raise LookupError


HOSTILE = [
    ValueError("secret"),
    ForeignError("x"),
    SystemExit(3),
    KeyboardInterrupt(),
    asyncio.CancelledError(),
    BaseExceptionGroup("g", [ForeignError()]),
    MuteError(),
]


@pytest.fixture
def lines():
    stream = io.StringIO()
    logs.configure(LogSettings(level="DEBUG"), service="test", stream=stream)
    return lambda: stream.getvalue().splitlines()


@pytest.fixture
def clock():
    return FrozenClock()


@pytest.fixture
def supervisor(clock):
    return Supervisor(bound=timedelta(seconds=10), clock=clock)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(supervision, "_FIRST_BACKOFF_SECONDS", 0.0)


def raising(error):
    async def work():
        raise error

    return work


def test_a_component_that_beats_is_well_and_one_that_does_not_is_named(supervisor, clock):
    supervisor.beat("promoter default")
    supervisor.beat("tick nightly", rest=timedelta(hours=1))
    clock.advance(9)
    assert supervisor.liveness() is None

    clock.advance(2)
    assert supervisor.liveness() == "loop 'promoter default' has not moved for 11 s"

    supervisor.beat("promoter default")
    assert supervisor.liveness() is None
    clock.advance(3590)
    supervisor.beat("promoter default")
    assert supervisor.liveness() is None, "its rest is no standstill"
    clock.advance(1)
    supervisor.forget("promoter default")
    assert supervisor.liveness() is None
    clock.advance(10)
    assert supervisor.liveness() == "loop 'tick nightly' has not moved for 3612 s"


def test_a_thread_may_beat_and_another_may_ask(supervisor, clock):
    thread = threading.Thread(target=supervisor.beat, args=("heartbeat",))
    thread.start()
    thread.join()
    clock.advance(11)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(supervisor.liveness()))
    thread.start()
    thread.join()

    assert answers == ["loop 'heartbeat' has not moved for 11 s"]


def test_a_component_that_watches_itself_is_asked(supervisor):
    answers = [None, "thread 'heartbeat' ended"]
    supervisor.ask("heartbeat", lambda: answers.pop(0))

    assert supervisor.liveness() is None
    assert supervisor.liveness() == "thread 'heartbeat' ended"


@pytest.mark.parametrize("error", [ValueError("secret"), ForeignError(), asyncio.CancelledError()])
async def test_a_watched_task_that_ends_is_named_with_the_class_of_its_error(
    supervisor, lines, error
):
    task = asyncio.ensure_future(raising(error)())
    supervisor.watch("reader", task)
    await asyncio.wait({task})
    await asyncio.sleep(0)

    assert supervisor.liveness() in {
        f"loop 'reader' ended: {type(error).__name__}",
        "loop 'reader' ended: cancelled",
    }
    (line,) = lines()
    assert "ERROR Background loop ended loop=reader" in line


async def test_a_watched_task_that_returns_has_ended_and_one_that_is_cancelled_was_meant_to(
    supervisor,
):
    returned = asyncio.ensure_future(asyncio.sleep(0))
    cancelled = asyncio.ensure_future(asyncio.sleep(3600))
    supervisor.watch("cancelled", cancelled)
    cancelled.cancel()
    await asyncio.wait({cancelled})
    await asyncio.sleep(0)
    assert supervisor.liveness() is None

    supervisor.watch("returned", returned)
    await asyncio.wait({returned})
    await asyncio.sleep(0)
    assert supervisor.liveness() == "loop 'returned' ended: returned"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("error", HOSTILE, ids=lambda error: type(error).__name__)
async def test_a_loop_that_raises_anything_is_started_again(supervisor, lines, until, error):
    starts = []

    async def work():
        starts.append(1)
        if len(starts) < 3:
            raise error
        await asyncio.sleep(3600)

    task = supervisor.start("reader", work)
    await until(lambda: len(starts) == 3)

    assert supervisor.liveness() is None
    assert [("Background loop ended, restarting loop=reader" in line) for line in lines()] == [
        True,
        True,
    ]
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


@pytest.mark.usefixtures("quick")
async def test_a_loop_that_fails_at_each_start_is_named_until_one_run_lasts(
    supervisor, clock, until
):
    failing = True
    runs = []

    async def work():
        runs.append(1)
        if failing:
            raise ValueError("secret")
        await asyncio.sleep(3600)

    task = supervisor.start("reader", work)
    await until(supervisor.liveness)
    assert supervisor.liveness().startswith("loop 'reader' ended ")
    assert supervisor.liveness().endswith(" times: ValueError")

    failing = False
    count = len(runs)
    await until(lambda: len(runs) > count)
    assert supervisor.liveness(), "the run has lasted too short to trust it"
    clock.advance(11)
    assert supervisor.liveness() is None
    task.cancel()
    await asyncio.wait({task})


async def test_work_that_returns_is_done(supervisor):
    await supervisor.start("once", lambda: asyncio.sleep(0))

    assert supervisor.liveness() is None


def test_a_process_that_stops_is_not_restarted_for_what_ends(clock):
    stopping = []
    supervisor = Supervisor(stopping=lambda: bool(stopping), clock=clock)
    supervisor.beat("x")
    clock.advance(60)
    assert supervisor.liveness()

    stopping.append(True)
    assert supervisor.liveness() is None


async def test_a_run_that_hangs_is_named_and_a_loop_that_stops_is_forgotten(
    supervisor, clock, until
):
    stop, hanging = asyncio.Event(), asyncio.Event()

    async def run_once():
        hanging.set()
        await asyncio.sleep(3600)

    loop = asyncio.ensure_future(
        service.repeat(run_once, name="janitor low", every=SOON, stop=stop, supervisor=supervisor)
    )
    await hanging.wait()
    assert supervisor.liveness() is None
    clock.advance(11)
    assert supervisor.liveness() == "loop 'janitor low' has not moved for 11 s"

    stop.set()
    await loop
    assert supervisor.liveness() is None


@pytest.mark.parametrize("error", HOSTILE, ids=lambda error: type(error).__name__)
async def test_no_error_of_a_run_ends_its_loop(lines, error):
    stop, runs = asyncio.Event(), []

    async def run_once():
        runs.append(1)
        if len(runs) > 1:
            stop.set()
            return
        raise error

    async with asyncio.timeout(60):
        await service.repeat(run_once, name="reaper x", every=SOON, stop=stop)

    first, second = lines()
    assert "ERROR Background loop failed, retrying loop=reaper failures=1" in first.replace(
        '"reaper x"', "reaper"
    )
    assert "INFO  Background loop recovered" in second
