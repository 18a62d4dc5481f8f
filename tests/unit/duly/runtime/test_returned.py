import asyncio
import functools

import pytest

from duly.runtime.returned import is_generator, result_at_once, result_of


async def awaited():
    return 7


def generates():
    yield 7


async def generates_too():
    yield 7


class Generates:
    def __call__(self):
        yield 7


class GeneratesToo:
    async def __call__(self):
        yield 7


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (generates, True),
        (generates_too, True),
        (functools.partial(generates), True),
        (Generates(), True),
        (GeneratesToo(), True),
        (awaited, False),
        (print, False),
    ],
)
def test_what_yields_is_known_before_it_is_called(function, expected):
    assert is_generator(function) is expected


async def test_whatever_is_to_be_awaited_is_awaited():
    async def twice():
        return awaited()

    for returned in (7, awaited(), twice(), asyncio.create_task(awaited())):
        assert await result_of(returned) == 7


@pytest.mark.parametrize("function", [generates, generates_too])
async def test_a_generator_is_no_result(function):
    with pytest.raises(TypeError, match="generator, whose body does not run"):
        await result_of(function())
    with pytest.raises(TypeError, match="generator, whose body does not run"):
        result_at_once(function())


def test_without_a_loop_nothing_is_awaited():
    assert result_at_once(7) == 7
    with pytest.raises(TypeError, match="returned a coroutine, which nothing awaits in a process"):
        result_at_once(awaited())
