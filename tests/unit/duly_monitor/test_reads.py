"""Reading side by side."""

import pytest

from duly.errors import BrokerDownError
from duly_monitor.reads import read_all


async def answer(value):
    return value


async def fail(value):
    raise BrokerDownError(value)


async def test_answers_come_in_the_order_of_the_calls():
    assert await read_all([answer(number) for number in range(250)]) == list(range(250))


async def test_the_first_failure_is_raised_after_all_have_ended():
    with pytest.raises(BrokerDownError, match="one"):
        await read_all([answer(1), fail("one"), fail("two"), answer(2)])
