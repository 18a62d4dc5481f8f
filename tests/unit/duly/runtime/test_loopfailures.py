import io

import pytest

from duly.errors import BrokerError
from duly.runtime import logs
from duly.runtime.loopfailures import LoopFailures
from duly.runtime.settings import LogSettings
from duly.testing.clock import FrozenClock


@pytest.fixture
def lines():
    stream = io.StringIO()
    logs.configure(LogSettings(), service="test", stream=stream)
    return lambda: stream.getvalue().splitlines()


def test_a_loop_that_fails_each_second_is_logged_once_a_minute(lines):
    clock = FrozenClock()
    failures = LoopFailures("janitor", clock=clock)

    for _ in range(121):
        failures.failed(BrokerError("refused"))
        clock.advance(1)
    failures.succeeded()
    failures.succeeded()

    first, second, third, recovered = lines()
    start = "Background loop failed, retrying loop=janitor failures="
    assert [f"{start}{count} error=refused" in line for count, line in zip(
        (1, 61, 121), (first, second, third), strict=True
    )] == [True] * 3  # fmt: skip
    assert "traceback" not in first
    assert "Background loop recovered loop=janitor failures=121" in recovered


def test_an_error_of_another_class_is_logged_at_once_with_its_traceback(lines):
    failures = LoopFailures("janitor", clock=FrozenClock())

    failures.failed(BrokerError("refused"))
    failures.failed(ZeroDivisionError("x"))

    assert 'error="ZeroDivisionError: x" traceback=' in lines()[1]
