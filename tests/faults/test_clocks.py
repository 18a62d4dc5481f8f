"""Clocks of machines jump and differ: leases, due times and slots go by the broker's clock."""

import re
import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from duly.task import TaskState
from duly.testing.environment import in_ci, inherited
from duly.testing.history import What
from duly.testing.processes import spawn, stop
from duly.testing.waiting import until

pytestmark = pytest.mark.timeout(400)
SECONDS = 90.0
LEASE_SECONDS = 5
"""More than any stall of a loaded machine, which would cost a lease without any clock's fault."""
SHORT_LEASE = 2
"""Shorter than the tasks that run meanwhile, so that a lease that a clock costs runs out."""


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


@pytest.mark.fault("clock jumps")
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
    assert (await floor.inspector.queues.get("default")).crashed == 0


@pytest.mark.fault("clock jumps")
@pytest.mark.slow
@pytest.mark.parametrize("offset", ["+1h", "-1h", "+400d"])
@pytest.mark.parametrize("when", ["from the start", "while it works"])
async def test_no_deadline_and_no_delay_goes_by_a_workers_clock(floor, jump, offset, when):
    """A deadline of ten minutes does not pass by a step of an hour, nor does a delay."""
    if when == "from the start":
        jump(offset)
    worker = floor.worker("jumping", lease_seconds=SHORT_LEASE, environment=jump.environment)
    await floor.arrived(worker)
    jump(offset)
    soon = datetime.now(UTC) + timedelta(minutes=10)

    await floor.enqueue(4, deadline=soon)
    await floor.enqueue(2, failures=1, deadline=soon)
    await floor.enqueue(2, seconds=SHORT_LEASE * 1.5, deadline=soon)
    later = await floor.enqueue(1, delay=timedelta(hours=1, minutes=30))
    await floor.happened(What.END, 8)

    report = await floor.inspector.queues.get("default")
    assert (report.archived, report.quarantined, report.scheduled) == (0, 0, 1)
    assert report.crashed == 0
    assert later[0] not in {event.task for event in floor.events(What.START)}


@pytest.mark.fault("clock jumps")
@pytest.mark.slow
@pytest.mark.parametrize("offset", ["+400d", "-400d"])
async def test_a_scheduler_whose_clock_is_wrong_drops_nothing_and_takes_nobody_for_dead(
    floor, jump, offset
):
    """The archive keeps tasks for 90 days, and a worker's lease here is two seconds."""
    (kept,) = await floor.enqueue(1, delay=timedelta(hours=1))
    await floor.inspector.tasks.archive("default", kept)
    floor.worker("steady", lease_seconds=SHORT_LEASE)
    held = await floor.enqueue(2, held=True)
    await floor.happened(What.START, 2)

    jump(offset)
    log = scheduler(floor, "wrong", jump.environment)
    for count in (3, 6):
        await until(lambda count=count: len(slots_of(log)) >= count, timeout=SECONDS)
        jump("+0" if count == 3 else offset)
    floor.go()
    await floor.happened(What.END, 2)

    assert floor.count(What.START) == len(held)
    assert (await floor.inspector.tasks.get("default", kept)).state is TaskState.ARCHIVED
    assert "Tasks of a dead server recovered" not in log.read_text()
    assert "Background loop failed" not in log.read_text()


def scheduler(floor, name, environment):
    """Start a scheduler that ticks each second; return its log."""
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
            "DULY_WORKER__LEASE": f"{SHORT_LEASE}s",
            **environment,
        },
    )
    floor.stack.callback(stop, process, grace_seconds=0.1)
    return log


def slots_of(log):
    return re.findall(r" Tick .*?slot=(\S+)", log.read_text())


@pytest.mark.fault("clock jumps")
@pytest.mark.slow
async def test_schedulers_whose_clocks_differ_and_jump_claim_each_slot_once(floor, jump):
    logs = [scheduler(floor, "jumping", jump.environment), scheduler(floor, "steady", {})]
    offsets = iter(["+1h", "-5m", "+0", "+30s"])

    def claimed():
        return sorted(slot for log in logs for slot in slots_of(log))

    for count in (2, 4, 6, 8):
        await until(lambda count=count: len(claimed()) >= count, timeout=SECONDS)
        jump(next(offsets))

    slots = claimed()
    assert len(set(slots)) == len(slots)
    ticks = await floor.inspector.schedules.ticks("check-pending-orders", limit=100)
    times = [tick.slot for tick in ticks]
    assert len(set(times)) == len(times)
    assert max(times) - min(times) < timedelta(minutes=1), "no clock but the broker's was believed"
