from datetime import timedelta

import pytest
from pydantic import ValidationError

from duly.job import LONGEST_DURATION, Aggregate, Job, Policy, is_name


@pytest.mark.parametrize("name", ["a", "a.b-c_9", "x" * 64])
def test_a_name_is_one(name):
    assert is_name(name)
    assert type(Job)("Made", (Job,), {"__module__": __name__}, kind=name).kind == name


@pytest.mark.parametrize("name", ["", "a\n", "a\r\n", "A", "a b", "x" * 65, "\u0131", "a\u2028"])
def test_no_name_is_none(name):
    assert not is_name(name)
    with pytest.raises(TypeError, match="must match"):
        type(Job)("Made", (Job,), {"__module__": __name__}, kind=name)


@pytest.mark.parametrize("field", ["timeout", "unique_for", "retention", "lifetime", "backoff_cap"])
@pytest.mark.parametrize("value", [timedelta.max, -timedelta(1), LONGEST_DURATION + timedelta(1)])
def test_a_policy_bounds_its_durations(field, value):
    with pytest.raises(ValidationError):
        Policy(**{field: value})
    assert getattr(Policy(**{field: LONGEST_DURATION}), field) == LONGEST_DURATION


def test_the_terms_of_a_group_are_bounded():
    for field in ("grace", "max_delay"):
        with pytest.raises(ValidationError):
            Aggregate(**{field: timedelta.max})
