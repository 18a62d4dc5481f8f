"""Waiting ends with the condition or with a telling error."""

import pytest

from duly.testing.waiting import NotInTimeError, until, wait_until


async def test_until_returns_the_first_true_answer():
    answers = iter([None, 0, "yes"])

    assert await until(lambda: next(answers)) == "yes"


async def test_until_awaits_asynchronous_conditions():
    async def ready():
        return 7

    assert await until(ready) == 7


async def test_until_reports_the_last_answer():
    with pytest.raises(NotInTimeError, match=r"is empty: not true within 0.02 s; last seen: \[\]"):
        await until(list, timeout=0.02, what="the queue is empty")


async def test_until_asks_once_even_with_no_time_left():
    assert await until(lambda: True, timeout=0)


def test_wait_until_blocks():
    answers = iter([False, True])

    assert wait_until(lambda: next(answers), timeout=1)


def test_wait_until_gives_up():
    with pytest.raises(NotInTimeError):
        wait_until(lambda: None, timeout=0.01)
