"""Clocks of machines jump and differ: leases, due times and slots go by the broker's clock."""

import re
import shutil
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from duly.testing.environment import in_ci, inherited
from duly.testing.history import What
from duly.testing.processes import spawn, stop
from duly.testing.waiting import until

pytestmark = pytest.mark.timeout(400)
SECONDS = 90.0
LEASE_SECONDS = 5
"""More than any stall of a loaded machine, which would cost a lease without any clock's fault."""


@pytest.fixture
def jump(tmp_path):
    """Environment of a process whose clock `jump("+1h")` sets, at once, as often as wanted."""
    library = next(iter(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), None)
    if library is None or not shutil.which("faketime"):
        text = "no libfaketime: install Debian's faketime"
        pytest.fail(text) if in_ci() else pytest.skip(text)
    file = tmp_path / "faketime"

    def set_to(offset):
        fresh = file.with_suffix(".new")
        fresh.write_text(offset + "\n")
        fresh.replace(file)

    set_to("+0")
    set_to.environment = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    return set_to


@pytest.mark.slow
@pytest.mark.parametrize("offset", ["+1h", "-1h"])
async def test_a_worker_whose_clock_jumps_keeps_its_lease_and_its_due_times(floor, jump, offset):
    floor.worker("jumping", lease_seconds=LEASE_SECONDS, environment=jump.environment)
    await floor.enqueue(2, seconds=6)
    await floor.happened(What.START, 2)

    jump(offset)
    floor.worker("steady", lease_seconds=LEASE_SECONDS)
    await floor.enqueue(4, failures=1)
    await floor.enqueue(2, delay=timedelta(milliseconds=500))

    await floor.happened(What.END, 8)
    await floor.idle()
    found = await floor.verdict()
    assert found.good, found
    assert found.starts == 2 + 8 + 2
    assert (await floor.inspector.queue("default")).crashed == 0


@pytest.mark.slow
async def test_schedulers_whose_clocks_differ_and_jump_claim_each_slot_once(floor, jump):
    def scheduler(name, environment):
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
                **environment,
            },
        )
        floor.stack.callback(stop, process, grace_seconds=0.1)
        return log

    logs = [scheduler("jumping", jump.environment), scheduler("steady", {})]
    offsets = iter(["+1h", "-5m", "+0", "+30s"])

    def claimed():
        found = [re.findall(r" Tick .*?slot=(\S+)", log.read_text()) for log in logs]
        return sorted(slot for slots in found for slot in slots)

    for count in (2, 4, 6, 8):
        await until(lambda count=count: len(claimed()) >= count, timeout=SECONDS)
        jump(next(offsets))

    slots = claimed()
    assert len(set(slots)) == len(slots)
    ticks = await floor.inspector.ticks("check-pending-orders", limit=100)
    times = [tick.slot for tick in ticks]
    assert len(set(times)) == len(times)
    assert max(times) - min(times) < timedelta(minutes=1), "no clock but the broker's was believed"
