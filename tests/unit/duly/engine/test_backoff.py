from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from duly.engine.backoff import backoff
from duly.job import Policy

ERROR = ValueError("away")


def seconds(wait):
    return wait.total_seconds()


def test_full_jitter_stays_below_a_ceiling_that_doubles_up_to_the_cap():
    policy = Policy(backoff_base=timedelta(seconds=2), backoff_cap=timedelta(seconds=10))

    ceilings = [backoff(policy, attempt, ERROR, lambda: 1.0) for attempt in (1, 2, 3, 4, 1000)]

    assert [seconds(wait) for wait in ceilings] == [2, 4, 8, 10, 10]
    assert backoff(policy, 3, ERROR, lambda: 0.0) == timedelta(0)


def test_asynqs_formula_and_the_constant():
    assert seconds(backoff(Policy(backoff="asynq"), 3, ERROR, lambda: 0.0)) == 2**4 + 15
    constant = Policy(backoff="constant", backoff_base=timedelta(hours=1))
    assert backoff(constant, 7, ERROR) == constant.backoff_cap


def test_a_function_is_asked_with_the_attempt_and_its_error():
    asked = []

    def by_error(attempt, error):
        asked.append((attempt, error))
        return timedelta(seconds=attempt)

    assert seconds(backoff(Policy(backoff=by_error), 3, ERROR)) == 3
    assert asked == [(3, ERROR)]


def test_a_functions_wait_does_not_exceed_the_cap():
    policy = Policy(backoff=lambda *_: timedelta.max, backoff_cap=timedelta(minutes=1))

    assert backoff(policy, 1, ERROR) == timedelta(minutes=1)


@pytest.mark.parametrize(
    "function",
    [
        lambda *_: timedelta(seconds=-1),
        lambda *_: 5,
        lambda *_: None,
        lambda: None,
        lambda *_: 1 / 0,
    ],
    ids=["negative", "a number", "nothing", "wrong arguments", "raises"],
)
def test_a_broken_function_gives_way_to_full_jitter_and_is_told_once(function):
    policy = Policy(backoff=function)

    with capture_logs() as lines:
        waits = [backoff(policy, 1, ERROR, lambda: 0.5) for _ in range(3)]

    assert [seconds(wait) for wait in waits] == [1, 1, 1]
    assert [line["log_level"] for line in lines] == ["error"]
