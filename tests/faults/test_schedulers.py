"""Schedulers hang and go on: each slot is one task, and somebody is always there to claim it."""

import re
import signal
import sys
import time
from datetime import timedelta
from itertools import pairwise

import pytest

from duly.testing.environment import inherited
from duly.testing.processes import spawn, stop
from duly.testing.waiting import until

pytestmark = pytest.mark.timeout(600)
SECONDS = 90.0


@pytest.fixture
def start(floor):
    def begin(name):
        log = floor.folder / f"{name}.log"
        process = spawn(
            [sys.executable, "-m", "duly_scheduler"],
            log=log,
            folder=floor.folder,
            environment={
                **inherited(),
                "DULY_REDIS__PORT": str(floor.settings.port),
                "DULY_METRICS__HOST": "127.0.0.1",
                "DULY_METRICS__PORT": "0",
                "DULY_LOG__LEVEL": "DEBUG",
                "DULY_SCHEDULER__INTERVAL": "1s",
            },
        )
        floor.stack.callback(stop, process, grace_seconds=0.1)
        return process, log

    return begin


@pytest.mark.fault("several schedulers")
@pytest.mark.slow
async def test_a_scheduler_that_hangs_and_goes_on_claims_no_slot_again(floor, start, stopwatch):
    began, counted = time.monotonic(), stopwatch()
    (first, first_log), (second, second_log) = start("first"), start("second")

    def claimed(*logs):
        return [
            slot for log in logs for slot in re.findall(r" Tick .*?slot=(\S+)", log.read_text())
        ]

    async def more(*logs):
        count = len(claimed(*logs)) + 3
        await until(lambda: len(claimed(*logs)) >= count, timeout=SECONDS)

    await more(first_log, second_log)
    first.send_signal(signal.SIGSTOP)
    await more(second_log)
    first.send_signal(signal.SIGCONT)
    second.send_signal(signal.SIGSTOP)
    await more(first_log)
    second.send_signal(signal.SIGCONT)
    await more(first_log, second_log)

    slots = claimed(first_log, second_log)
    assert len(set(slots)) == len(slots), "no slot was claimed twice"
    ticks = await floor.inspector.schedules.ticks("check-pending-orders", limit=1000)
    times = sorted(tick.slot for tick in ticks)
    assert len(set(times)) == len(times)
    # Each second its slot, on an idle machine; one that stalls or is starved may miss a few.
    stalled = time.monotonic() - began - (stopwatch() - counted)
    assert max(b - a for a, b in pairwise(times)) <= timedelta(seconds=4 + stalled)
