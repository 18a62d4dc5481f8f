"""The broker's time on this machine: no step of any wall clock moves it at once."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from duly.engine.storage.broker_time import BrokerTime

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
NOON_MS = 1_767_614_400_000


@dataclass
class Machine:
    """A machine's two clocks, and a broker's."""

    wall: datetime = NOON
    seconds: float = 100.0
    broker_ms: int = NOON_MS

    def now(self):
        return self.wall

    def monotonic(self):
        return self.seconds

    def passes(self, seconds):
        self.wall += timedelta(seconds=seconds)
        self.seconds += seconds
        self.broker_ms += round(seconds * 1000)


@pytest.fixture
def machine():
    return Machine()


@pytest.fixture
def time(machine):
    return BrokerTime(machine)


@pytest.mark.parametrize("step", [timedelta(hours=1), timedelta(hours=-1), timedelta(days=365)])
@pytest.mark.parametrize("sampled", [True, False], ids=["after a sample", "without a sample"])
def test_a_step_of_the_wall_clock_changes_nothing(machine, time, step, sampled):
    if sampled:
        time.saw(machine.broker_ms)
    machine.passes(5)

    machine.wall += step

    assert time.now_ms() == NOON_MS + 5_000
    time.saw(machine.broker_ms)
    assert time.now_ms() == NOON_MS + 5_000


@pytest.mark.parametrize("off_ms", [3_600_000, -3_600_000, 7, -7])
def test_the_first_sample_is_believed(machine, time, off_ms):
    time.saw(machine.broker_ms + off_ms)

    assert time.now_ms() == NOON_MS + off_ms


@pytest.mark.parametrize("jump_ms", [600_000, 15_000, -15_000, -600_000, 900, -900])
def test_a_jump_of_the_broker_moves_the_time_by_no_more_than_has_passed(machine, time, jump_ms):
    time.saw(machine.broker_ms)
    told = [time.now_ms()]
    for _ in range(4):
        machine.passes(5)
        time.saw(machine.broker_ms + jump_ms)
        told.append(time.now_ms())

    assert told == sorted(told)
    assert all(0 <= after - before <= 10_050 for before, after in pairwise(told))
    assert abs(told[-1] - machine.broker_ms) <= min(abs(jump_ms), 20_200)


@pytest.mark.parametrize("jump_ms", [600_000, -600_000, 3_600_000])
def test_after_a_jump_and_its_return_the_time_is_right_again_soon(machine, time, jump_ms):
    time.saw(machine.broker_ms)
    machine.passes(5)
    time.saw(machine.broker_ms + jump_ms)
    for _ in range(2):
        machine.passes(5)
        time.saw(machine.broker_ms)

    machine.passes(5)

    assert abs(time.now_ms() - machine.broker_ms) <= 100


@pytest.mark.parametrize("jump_ms", [28_800_000, -28_800_000])
def test_a_jump_that_lasts_is_adopted(machine, time, jump_ms):
    time.saw(machine.broker_ms)
    for _ in range(8):
        machine.passes(5)
        time.saw(machine.broker_ms + jump_ms)

    assert time.now_ms() == machine.broker_ms + jump_ms


def test_jitter_of_answers_never_makes_it_go_back(machine, time):
    time.saw(machine.broker_ms)
    told = []
    for late_ms in (0, 40, 3, 49, 0, 30):
        machine.passes(0.01)
        time.saw(machine.broker_ms - late_ms)
        told.append(time.now_ms())

    assert told == sorted(told)
