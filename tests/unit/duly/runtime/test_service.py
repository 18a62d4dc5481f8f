import asyncio
import io
import os
import signal
import subprocess
import sys
from datetime import timedelta

import pytest

from duly.errors import BrokerDownError, ConfigError
from duly.runtime import logs, service
from duly.runtime.settings import LogSettings
from duly.testing.clock import FrozenClock

DOWN = BrokerDownError("valkey:6379", "refused")
SOON = timedelta(milliseconds=1)


@pytest.fixture
def lines():
    stream = io.StringIO()
    logs.configure(LogSettings(level="DEBUG"), service="test", stream=stream)
    return lambda: stream.getvalue().splitlines()


def turns(stop, *results):
    """Return a turn that gives or raises each result, then sets `stop`."""
    left = list(results)

    async def run_once():
        if not left:
            stop.set()
            return None
        result = left.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    return run_once


async def test_turns_are_taken_until_the_stop(lines):
    stop = asyncio.Event()

    await service.repeat(turns(stop, None, SOON, timedelta(0)), name="x", every=SOON, stop=stop)

    assert lines() == []


async def test_an_outage_is_logged_once_and_its_end_once(lines):
    stop = asyncio.Event()
    errors = []
    outage = service.Outage(on_error=lambda: errors.append(1))

    await service.repeat(
        turns(stop, SOON, DOWN, DOWN, DOWN, SOON), name="x", every=SOON, stop=stop, outage=outage
    )

    first, second = lines()
    assert "ERROR Broker unreachable, retrying" in first
    assert "valkey:6379" in first
    assert "INFO  Broker reachable again after_seconds=" in second
    assert len(errors) == 3


def test_a_reminder_comes_when_it_was_asked_for(lines):
    clock = FrozenClock()
    outage = service.Outage(remind=timedelta(seconds=5), clock=clock)

    for _ in range(11):
        outage.failed(DOWN)
        clock.advance(1)

    assert len(lines()) == 3


async def test_unexpected_errors_are_logged_counted_and_survived(lines):
    stop = asyncio.Event()
    counted = []

    await service.repeat(
        turns(stop, ZeroDivisionError("x"), SOON),
        name="promoter",
        every=SOON,
        stop=stop,
        on_error=counted.append,
    )

    line, recovered = lines()
    assert "ERROR Background loop failed, retrying loop=promoter failures=1 error=" in line
    assert "INFO  Background loop recovered loop=promoter failures=1" in recovered
    assert [type(error) for error in counted] == [ZeroDivisionError]


@pytest.mark.parametrize("failures", [0, 3, 30, 3000])
def test_backoff_grows_to_two_seconds_and_no_further(failures):
    expected = min(2.0, 0.1 * 2 ** min(failures, 10))

    assert expected / 2 <= service._backoff(failures).total_seconds() <= expected


async def within(seconds, awaitable):
    async with asyncio.timeout(seconds):
        await awaitable


async def test_a_resting_loop_stops_at_once():
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(0.02, stop.set)

    await within(60, service.repeat(turns(asyncio.Event()), name="x", every=HOUR, stop=stop))


async def test_a_turn_that_hangs_is_cancelled_at_the_stop():
    stop, cancelled = asyncio.Event(), []

    async def hang():
        stop.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    await within(60, service.repeat(hang, name="x", every=HOUR, stop=stop))

    assert cancelled == [True]


async def test_a_turn_under_way_may_end_in_its_grace():
    stop, ended = asyncio.Event(), []

    async def short():
        stop.set()
        await asyncio.sleep(0)
        ended.append(True)

    await within(60, service.repeat(short, name="x", every=HOUR, stop=stop))

    assert ended == [True]


async def test_cancellation_passes_through():
    task = asyncio.ensure_future(
        service.repeat(turns(asyncio.Event()), name="x", every=HOUR, stop=asyncio.Event())
    )
    await asyncio.sleep(0)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_retrying_ends_with_the_first_success(lines):
    results = [DOWN, DOWN, None, pytest.fail]

    async def call():
        if error := results.pop(0):
            raise error

    await within(
        60, service.retry_until_success(call, stop=asyncio.Event(), outage=service.Outage())
    )

    assert results == [pytest.fail]


async def test_retrying_ends_with_the_stop():
    stop = asyncio.Event()

    async def call():
        stop.set()
        raise DOWN

    await within(60, service.retry_until_success(call, stop=stop, outage=service.Outage()))


HOUR = timedelta(hours=1)
SERVICE = """
import asyncio, sys
from duly.errors import ConfigError
from duly.runtime import logs, service
from duly.runtime.settings import LogSettings

async def main(stop):
    print(type(asyncio.get_running_loop()).__module__, flush=True)
    {body}
    return 3

logs.configure(LogSettings(), service="test")
sys.exit(service.run(main))
"""


def started(body):
    child = subprocess.Popen(
        [sys.executable, "-c", SERVICE.format(body=body)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,  # what comes with the first line must be left for whoever reads on
    )
    child.first_line = child.stdout.readline().decode().strip()
    return child


def ended(child):
    output, errors = child.communicate(timeout=90)
    return child.returncode, output.decode(), errors.decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_the_service_to_stop(number):
    child = started("await stop.wait()")

    child.send_signal(number)

    assert ended(child) == (3, "", "")


def test_repeated_signals_are_harmless_to_the_very_end():
    child = started("await stop.wait(); import time; print('stopping', flush=True)")

    while child.poll() is None:
        child.send_signal(signal.SIGTERM)
        os.sched_yield()

    assert ended(child)[0] == 3


def test_the_loop_is_uvloop_where_it_installs():
    child = started("pass")

    assert (child.first_line.startswith("uvloop"), ended(child)[0]) == (True, 3)


def test_an_unexpected_error_is_logged_and_code_one():
    code, output, errors = ended(started("1 / 0"))

    assert (code, errors) == (1, "")
    assert 'ERROR Service failed error="ZeroDivisionError: division by zero" traceback=' in output


@pytest.mark.parametrize(
    "body",
    [
        "asyncio.get_running_loop().call_soon(sys.exit, 9); await asyncio.sleep(0.1)",
        "asyncio.get_running_loop().call_later(0.01, sys.exit, 9); await asyncio.sleep(0.1)",
        "asyncio.get_running_loop().stop(); await asyncio.sleep(0.1)",
        "await asyncio.wait([asyncio.Task(asyncio.to_thread(exec, 'raise KeyboardInterrupt'))])",
    ],
)
def test_an_exit_out_of_a_callback_ends_nothing(body):
    code, output, errors = ended(started(body))

    assert (code, errors) == (3, "")
    assert output.count("A callback wanted to end the process, going on") == 1


def test_an_exit_of_the_service_itself_ends_it():
    assert ended(started("sys.exit(9)")) == (9, "", "")


@pytest.mark.parametrize(
    "error", [ConfigError("redis.url", "bad"), ExceptionGroup("g", [ConfigError("a", "bad")])]
)
def test_an_error_of_ours_is_left_to_the_caller(error):
    # In a process of its own signals are touched; here only what is raised matters.
    async def main(stop):
        raise error

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with pytest.raises(ConfigError):
            service.run(main)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def test_signals_are_handled_for_the_body_only(until):
    before = signal.getsignal(signal.SIGCONT)
    heard = []

    with service.signal_handlers({"SIGCONT": lambda: heard.append("on"), "SIGNOT": heard.clear}):
        signal.raise_signal(signal.SIGCONT)
        await until(lambda: heard == ["on"])

    assert signal.getsignal(signal.SIGCONT) == before
    signal.raise_signal(signal.SIGCONT)
    assert heard == ["on"]
