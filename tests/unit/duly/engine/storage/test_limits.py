from datetime import timedelta

import pytest
from pydantic import ValidationError

from duly.engine.storage.limits import limit_of
from duly.engine.storage.scripts import Limit
from duly.job import Policy, Rate


@pytest.mark.parametrize(
    ("policy", "limit"),
    [
        (Policy(), None),
        (Policy(max_running=3), Limit(3)),
        (Policy(rate=Rate(100, per=timedelta(minutes=1))), Limit(0, 600_000, 1)),
        (Policy(max_running=1, rate=Rate(10, burst=5)), Limit(1, 100_000, 5)),
        # Never more than was asked for: a third of a second, rounded up.
        (Policy(rate=Rate(3)), Limit(0, 333_334, 1)),
        (Policy(rate=Rate(1_000_000, per=timedelta(microseconds=1))), Limit(0, 1, 1)),
    ],
)
def test_a_policy_sets_its_limit(policy, limit):
    assert limit_of(policy) == limit


@pytest.mark.parametrize(
    "options", [{"count": 0}, {"count": 1, "per": timedelta(0)}, {"count": 1, "burst": 0}]
)
def test_a_rate_by_which_nothing_begins_is_refused(options):
    with pytest.raises(ValidationError):
        Rate(**options)


def test_a_limit_by_which_nothing_runs_is_refused():
    with pytest.raises(ValidationError):
        Policy(max_running=0)
